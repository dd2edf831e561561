"""A set knows its captcha: what was typed or edited once is known from then on, and what no longer fits is never mixed.

`checkout` is a copy of the project whose captcha_config.py has small defaults, so that nothing needs to be typed.
"""

import contextlib
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import captcha_evaluate
import captcha_export
import captcha_train
from captcha_cli import UserError
from captcha_config import Config
from captcha_runs import checkpoint_files
from captcha_runs.checkpoint_files import finish_setting_aside
from captcha_runs.checkpoints import Checkpoints
from captcha_sets.drawing import produce
from captcha_sets.importing import import_images
from captcha_sets.manifest import SPLITS, VALIDATION, like_sets, read_manifest

import pytest
from conftest import DRAWING, ROOT, SMALL, TRAINING, Process, errors, files, in_folder, options, run
from test_producer import advised

DEFAULTS = {
    "characters": "0123", "length": 2, "width": 48, "height": 32, "font_sizes": (20,), "train_count": 60,
    "validation_count": 20, "images_per_shard": 40, "workers": 1, "channels": (4, 8), "batch_size": 16, "max_steps": 6,
    "warmup_steps": 2, "eval_every": 3, "save_every": 3,
}  # fmt: skip
LEARNING = ("channels", "batch_size", "max_steps", "warmup_steps", "eval_every", "save_every", "shift")


def edit(folder: Path, **defaults: object) -> None:
    """Change defaults in a checkout's captcha_config.py, as a person does with an editor."""
    path = folder / "captcha_config.py"
    text = path.read_text(encoding="utf-8")
    for name, value in defaults.items():
        field = re.compile(rf"(\n    {name}: [^=]+ = (?:drawing_)?option\(\s*).+?(, f?\")", re.S)
        text, found = field.subn(lambda match, value=value: f"{match[1]}{value!r}{match[2]}", text)
        assert found == 1, name
    path.write_text(text, encoding="utf-8")


def _run_copy(script: str, words: list[str]) -> None:
    """Run a script of the current folder, with the modules beside it instead of those that this process has loaded."""
    for name in [name for name in sys.modules if name.startswith("captcha_")]:
        del sys.modules[name]
    sys.path[:] = [str(Path.cwd()), *(path for path in sys.path if path != str(ROOT))]
    sys.argv = [str(Path.cwd() / script), *words]
    runpy.run_path(sys.argv[0], run_name="__main__")


def run_copy(folder: Path, script: str, *words: object) -> subprocess.CompletedProcess:
    """Run a script of a checkout, in the checkout."""
    process = Process(_run_copy, script, list(map(str, words)), cwd=folder)
    stdout, stderr = process.communicate()
    return subprocess.CompletedProcess([script, *words], process.returncode, stdout, stderr)


def copy(folder: Path, script: str, *words: object) -> str:
    """Run a script of a checkout to its end; returns what it prints."""
    done = run_copy(folder, script, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkout_once(tmp_path_factory):
    """A checkout with small defaults and both splits, drawn by the producer without an option."""
    folder = tmp_path_factory.mktemp("checkout")
    for path in (*ROOT.glob("captcha_*.py"), *ROOT.glob("captcha_*/")):
        if path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, folder)
    edit(folder, **DEFAULTS)
    copy(folder, "captcha_producer.py")
    return folder


@pytest.fixture
def checkout(checkout_once, tmp_path):
    """A checkout of the test's own, with both splits."""
    shutil.copytree(checkout_once, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture(scope="module")
def typed_once(tmp_path_factory):
    """A folder in which the captcha was typed for the producer alone, and the trainer has finished a run."""
    folder = tmp_path_factory.mktemp("typed")
    words = (*options(DRAWING), "--seed", 7, "--noise_dots", 5, "--drawer", Config.drawer)
    for script, *args in (("captcha_producer.py", *words), ("captcha_train.py", *options(LEARNING))):
        done = run(script, *args, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def typed(typed_once, tmp_path):
    shutil.copytree(typed_once, tmp_path, dirs_exist_ok=True)
    return tmp_path


def sets(folder: Path) -> dict[str, bytes]:
    """The files of the splits below a folder, pictures included."""
    names = ("images", "tfrecords")
    return {path: content for path, content in files(folder).items() if path.startswith(names)}


# What was typed is known


def test_the_manifest_names_what_was_typed_whether_it_is_a_default_or_not(typed):
    config = like_sets(in_folder(typed, Config()), ())
    captcha = ["characters", "length", "width", "height", "seed", "drawer", "font_sizes", "noise_dots"]
    assert read_manifest("train", config)["typed"].keys() == {*captcha, "train_count"}
    assert read_manifest(VALIDATION, config)["typed"].keys() == {*captcha, "validation_count"}


def test_the_manifest_keeps_what_captcha_config_said_of_what_was_typed(typed):
    kept = read_manifest("train", like_sets(in_folder(typed, Config()), ()))["typed"]
    assert (kept["length"], kept["noise_dots"], kept["font_sizes"]) == (4, 30, [40])


def test_what_differs_from_captcha_config_counts_as_typed(config):
    """As where a script of one's own draws the set."""
    assert set(read_manifest("train", config)["typed"]) == {
        "characters", "length", "width", "height", "font_sizes", "train_count",
    }  # fmt: skip


def test_the_trainer_trains_on_the_set_without_an_option(typed):
    """Already done by the fixture: this is its checkpoint."""
    metadata = checkpoint_files.newest(typed / "save", "ckpt")
    trained = metadata["config"]
    assert metadata["step"] == SMALL.max_steps
    assert (trained["characters"], trained["length"], trained["seed"], trained["noise_dots"]) == ("0123", 2, 7, 5)


def test_the_trainer_resumes_without_an_option(typed):
    for path in (typed / "save").glob("*-12.*"):
        path.unlink()
    done = run("captcha_train.py", *options(LEARNING), cwd=typed)
    assert done.returncode == 0, done.stderr
    assert "resuming from step 10, up to step 12" in done.stdout


@pytest.mark.parametrize(
    ("script", "args", "said"),
    [
        ("captcha_evaluate.py", (), "on 37 captchas (validation split)"),
        ("captcha_evaluate.py", ("--fresh", 20), "on 20 captchas (fresh captchas, seed 1)"),
        ("captcha_sets.sheet", ("train",), "train: 100 captchas of 48x32, drawn with seed 7"),
        ("captcha_export.py", (), "save/model.tflite: "),
        ("captcha_producer.py", (), "train: 100 captchas are in tfrecords/ already"),
        ("captcha_producer.py", ("--update",), "validation: 37 captchas are in tfrecords/ already"),
        ("captcha_train.py", (*options(LEARNING), "--length", 2, "--seed", 7), "step 12 is reached"),
    ],
    ids=["evaluate", "evaluate fresh", "sheet", "export", "producer", "producer --update", "the same typed again"],
)
def test_the_other_commands_need_no_option_either(typed, script, args, said):
    before = sets(typed)
    done = run(script, *args, cwd=typed)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert sets(typed) == before


def test_a_length_that_was_typed_now_is_compared_without_the_smallest_length_of_the_set(config):
    produce(
        VALIDATION,
        replace(config, length=3, min_length=2, tfrecords_dir=f"{config.tfrecords_dir}/varying"),
        images=False,
    )
    typed = replace(Config(), length=1, tfrecords_dir=f"{config.tfrecords_dir}/varying")
    like = like_sets(typed, ["length"])
    with pytest.raises(UserError, match="the set has length 3, not 1; min_length 2, not 0; change the config"):
        read_manifest(VALIDATION, like)


def test_a_split_that_is_missing_is_drawn_like_the_other_one(typed):
    before = sets(typed)
    (typed / "tfrecords" / "validation.json").unlink()
    done = run("captcha_producer.py", "--validation_count", 37, cwd=typed)
    assert done.returncode == 0, done.stderr
    assert sets(typed).keys() == before.keys()
    records = [name for name in before if name.endswith(".tfrecord")]
    assert [name for name in records if sets(typed)[name] != before[name]] == []


# What is typed now and differs is refused


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--length", 3), "the set has length 2, not 3"),
        (("--seed", 8), "the set has seed 7, not 8"),
        (("--width", 64, "--height", 16), "the set has width 48, not 64; height 32, not 16"),
        (("--min_length", 1), "the set has min_length 0, not 1"),
        (("--characters", "01234"), "the set has characters '0123', not '01234'"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_the_trainer_refuses_what_was_typed_now_and_differs(typed, args, message):
    before = files(typed)
    done = run("captcha_train.py", *options(LEARNING), *args, cwd=typed)
    (line,) = errors(done.stderr)
    assert line.startswith(f"captcha_train.py: error: tfrecords/train.json: {message}; change the config to match, or")
    words = advised(line)
    assert words[0] == "--replace" and " ".join(map(str, args)) in " ".join(words)
    assert (done.returncode, files(typed)) == (2, before)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--length", 3), "the train split has length 2, not 3"),
        (("--font_sizes", 18, 22), "the train split has font_sizes [20], not [18, 22]"),
        (("--noise_dots", 6), "the train split has noise_dots 5, not 6"),
        (("--train_count", 99), "the train split has train_count 100, not 99"),
        (("--validation_count", 36), "the validation split has validation_count 37, not 36"),
        (("--oversample_characters", "3"), "the train split has oversample_characters '', not '3'"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_the_producer_refuses_what_was_typed_now_and_differs(typed, args, message):
    before = files(typed)
    done = run("captcha_producer.py", *args, cwd=typed)
    assert errors(done.stderr) == [
        f"captcha_producer.py: error: tfrecords: {message}; add --update to draw anew what no longer fits, --replace to"
        " draw all anew, or set another --tfrecords_dir and --images_dir"
    ]
    assert (done.returncode, files(typed)) == (2, before)


def test_the_advised_command_makes_the_set_that_was_typed(typed):
    done = run("captcha_train.py", "--length", 3, cwd=typed)
    words = advised(errors(done.stderr)[0])
    assert run("captcha_producer.py", *words, cwd=typed).returncode == 0
    config = like_sets(in_folder(typed, Config()), ())
    assert (config.length, config.seed, config.noise_dots, config.train_count) == (3, 7, 5, 100)
    done = run("captcha_train.py", *options(LEARNING), "--length", 3, "--save_dir", "other", cwd=typed)
    assert done.returncode == 0, done.stderr


# What was edited in captcha_config.py since


@pytest.mark.parametrize(
    ("edited", "message"),
    [
        ({"length": 3}, "tfrecords/train.json: the set has length 2, not 3; change the config to match, or"),
        ({"characters": "3210"}, "tfrecords/train.json: the set has characters '0123', not '3210'; "),
        ({"min_length": 1}, "tfrecords/train.json: the set has min_length 0, not 1; "),
        ({"seed": 2, "font_sizes": (18,)}, "tfrecords/train.json: the set has seed 1, not 2; font_sizes [20], not [18"),
        ({"noise_curves": 3}, "tfrecords/train.json: the set has noise_curves 1, not 3; "),
        ({"train_count": 61}, "tfrecords/train.json: the set has train_count 60, not 61; "),
        ({"validation_count": 21}, "tfrecords/validation.json: the set has validation_count 20, not 21; "),
        ({"oversample_characters": "3"}, "tfrecords/train.json: the set has oversample_characters '', not '3'; "),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_the_trainer_refuses_a_set_from_before_the_edit(checkout, edited, message):
    edit(checkout, **edited)
    before = files(checkout)
    done = run_copy(checkout, "captcha_train.py")
    (line,) = errors(done.stderr)
    assert line.startswith(f"captcha_train.py: error: {message}")
    assert line.endswith("replace the set: python captcha_producer.py --replace")  # all the rest is edited
    assert (done.returncode, files(checkout)) == (2, before)


@pytest.mark.parametrize("edited", [{"length": 3}, {"seed": 2, "train_count": 40}], ids=["length", "seed, count"])
def test_the_advised_command_makes_the_trainer_work_again(checkout, edited):
    edit(checkout, **edited)
    command = errors(run_copy(checkout, "captcha_train.py").stderr)[0].rpartition("replace the set: ")[2]
    python, *words = shlex.split(command)
    assert python == "python"
    copy(checkout, *words)
    assert "starting at step 0, up to step 6" in copy(checkout, "captcha_train.py")


def test_what_was_typed_for_the_set_stays_when_another_field_is_edited(checkout):
    copy(checkout, "captcha_producer.py", "--replace", "--length", 3)
    edit(checkout, seed=2)
    (line,) = errors(run_copy(checkout, "captcha_train.py").stderr)
    assert "the set has seed 1, not 2; change" in line and advised(line) == ["--replace", "--length", "3"]
    copy(checkout, "captcha_producer.py", *advised(line))
    assert "starting at step 0" in copy(checkout, "captcha_train.py")
    trained = checkpoint_files.newest(checkout / "save", "ckpt")["config"]
    assert (trained["length"], trained["seed"]) == (3, 2)


@pytest.mark.parametrize("length", [3, 2], ids=["another value", "the default"])
def test_what_was_typed_for_the_set_counts_no_more_once_that_field_is_edited(checkout, length):
    copy(checkout, "captcha_producer.py", "--replace", "--length", length)
    edit(checkout, length=4)
    (line,) = errors(run_copy(checkout, "captcha_train.py").stderr)
    assert f"the set has length {length}, not 4; change" in line and advised(line) == ["--replace"]
    said = copy(checkout, "captcha_producer.py", "--update")
    assert said.startswith(f"train: has length {length}, not 4; drawing it anew\n")


@pytest.mark.parametrize("edited", [{"batch_size": 8}, {"workers": 2}, {"images_per_shard": 7}], ids=str)
def test_an_edit_that_decides_nothing_of_the_captchas_leaves_the_sets_as_they_are(checkout, edited):
    edit(checkout, **edited)
    before = sets(checkout)
    assert copy(checkout, "captcha_producer.py", "--update").count("already") == 2
    assert sets(checkout) == before


def test_one_edit_and_the_commands_of_make_train_train_the_new_captcha(checkout):
    """The producer with --update, the trainer with --set-aside, and two evaluations, as the Makefile has them."""
    rule = (ROOT / "Makefile").read_text().partition("\ntrain:")[2].partition("\n\n")[0]
    commands = [shlex.split(line)[1:] for line in rule.splitlines()[1:]]
    assert [words[0] for words in commands] == ["captcha_producer.py", "captcha_train.py", *2 * ["captcha_evaluate.py"]]
    commands[-1][-1] = "20"  # instead of 20,000 fresh captchas
    for length in (2, 3):
        edit(checkout, length=length)
        said = [copy(checkout, *words) for words in commands]
        trained = checkpoint_files.newest(checkout / "save", "ckpt")
        assert (trained["config"]["length"], trained["step"]) == (length, 6)
        assert ["on 20 captchas" in text for text in said[2:]] == [True, True]
    assert "the run there no longer fits (length is 3, was 2; " in said[1]
    assert checkpoint_files.newest(checkout / "save" / "before-1", "ckpt")["config"]["length"] == 2


# Drawing anew what no longer fits


def test_update_draws_both_splits_anew_where_neither_fits(checkout):
    edit(checkout, length=3)
    before = files(checkout / "tfrecords")
    said = copy(checkout, "captcha_producer.py", "--update").splitlines()
    assert said[:2] == [f"{split}: has length 2, not 3; drawing it anew" for split in SPLITS]
    now = files(checkout / "tfrecords")
    assert now.keys() == before.keys() and all(now[name] != before[name] for name in before)


@pytest.mark.parametrize(
    ("edited", "anew"),
    [({"train_count": 50}, "train"), ({"oversample_characters": "3"}, "train"), ({"validation_count": 21}, VALIDATION)],
    ids=["train_count", "oversample_characters", "validation_count"],
)
def test_update_keeps_what_fits_byte_for_byte(checkout, edited, anew):
    edit(checkout, **edited)
    before = sets(checkout)
    copy(checkout, "captcha_producer.py", "--update")
    now = sets(checkout)
    changed = {path for path in before | now if before.get(path) != now.get(path)}
    assert f"tfrecords/{anew}.json" in changed and all(anew in path for path in changed)


def test_update_draws_what_was_typed_now(typed):
    done = run("captcha_producer.py", "--update", "--length", 3, cwd=typed)
    assert done.returncode == 0, done.stderr
    config = like_sets(in_folder(typed, Config()), ())
    assert (config.length, config.seed, config.train_count) == (3, 7, 100)  # the rest is as it was
    assert [read_manifest(split, config)["length"] for split in SPLITS] == [3, 3]


def test_update_draws_a_split_that_is_missing(checkout):
    (checkout / "tfrecords" / "train.json").unlink()
    before = sets(checkout)
    copy(checkout, "captcha_producer.py", "--update")
    assert (checkout / "tfrecords" / "train.json").exists()
    after = sets(checkout)
    kept, earlier = ({path: each[path] for path in each if VALIDATION in path} for each in (after, before))
    assert kept == earlier


@pytest.mark.parametrize("other", [("--replace",), ("--source", "mine")], ids=["replace", "source"])
def test_update_is_not_for_imports_nor_for_replacing_all(tmp_path, other):
    done = run("captcha_producer.py", "--update", *other, cwd=tmp_path)
    assert errors(done.stderr) == [
        "captcha_producer.py: error: --update draws what no longer fits; leave it out with --replace and with --source"
    ]
    assert done.returncode == 2


# Imported sets are never replaced by drawing


@pytest.fixture(scope="module")
def imported_once(drawn, tmp_path_factory):
    """A folder with both splits, imported from images of 48x32 with two of the characters 0123."""
    folder = tmp_path_factory.mktemp("imported")
    shutil.copytree(drawn / "images" / "train", folder / "mine")
    import_images(folder / "mine", SPLITS, in_folder(folder, replace(Config(), width=48, height=32)))
    return folder


@pytest.fixture
def imported(imported_once, tmp_path):
    shutil.copytree(imported_once, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--replace",), "is not replaced by drawn captchas; set other folders, or remove the set yourself"),
        (("--replace", "--length", 3), "is not replaced by drawn captchas; set other folders"),
        (("--update", "--length", 3), "has length 2, not 3; import it again with --source and --replace, or set"),
        (("--length", 3), "has length 2, not 3; import it again with --source and --replace, or set another"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_the_producer_draws_nothing_in_the_place_of_imported_images(imported, words, message):
    before = files(imported)
    done = run("captcha_producer.py", *words, cwd=imported)
    (line,) = errors(done.stderr)
    assert "the train split" in line and "imported from " in line and message in line
    assert (done.returncode, files(imported)) == (2, before)


@pytest.mark.parametrize("words", [(), ("--update",), ("--seed", 5), ("--noise_dots", 0, "--update")], ids=str)
def test_imported_images_fit_whatever_the_drawing_is_to_be(imported, words):
    before = files(imported)
    done = run("captcha_producer.py", *words, cwd=imported)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("already") == 2
    assert files(imported) == before


def test_a_script_that_draws_does_not_replace_them_either(imported):
    before = files(imported)
    with pytest.raises(
        UserError, match=r"the validation split was imported from .*/mine, and is not replaced by drawn"
    ):
        produce(VALIDATION, in_folder(imported))
    assert files(imported) == before


def test_an_import_replaces_an_import_where_that_is_asked_for(imported):
    done = run("captcha_producer.py", "--source", "mine", "--replace", "--validation_share", 0.5, cwd=imported)
    assert done.returncode == 0, done.stderr
    assert "validation: 50 captchas" in done.stdout


# What the evaluation and the export compare


def test_a_network_is_scored_on_any_validation_split_of_its_captcha(trained):
    """Drawn with another seed, in another style, and of another count."""
    other = replace(in_folder(trained), seed=5, noise_dots=0, font_sizes=(18,), validation_count=21)
    produce(VALIDATION, other)
    assert len(captcha_evaluate.predict(in_folder(trained)).labels) == 21
    assert captcha_export.export(in_folder(trained))


@pytest.mark.parametrize("fields", [{"length": 3}, {"width": 64}, {"characters": "0124"}, {"min_length": 1}], ids=str)
@pytest.mark.parametrize("use", [captcha_evaluate.predict, captcha_export.export], ids=["evaluation", "export"])
def test_a_network_is_not_scored_on_a_validation_split_of_another_captcha(trained, fields, use):
    produce(VALIDATION, replace(in_folder(trained), **fields))
    (name,) = fields
    with pytest.raises(UserError, match=rf"validation\.json: does not fit the model: the set has {name} "):
        use(in_folder(trained))


# A run that no longer fits is set aside


@contextlib.contextmanager
def opened(config: Config, set_aside: bool = False) -> Iterator[Checkpoints]:
    """The checkpoints of a run, as the trainer opens them; of a new run, its variables are not needed."""
    manifests = {split: read_manifest(split, config) for split in SPLITS}
    with Checkpoints(config, manifests, set_aside=set_aside) as checkpoints:
        if not checkpoints.step:
            checkpoints.restore(None, ())
        yield checkpoints


def slower(folder: Path) -> Config:
    """The config of another run than the one in the folder."""
    return replace(in_folder(folder), learning_rate=0.001)


def run_in(folder: Path) -> dict[str, bytes]:
    """The files of the run in a save folder, without those of the runs that were set aside in it."""
    return {path: content for path, content in files(folder).items() if not path.startswith((".", "before-"))}


def test_all_of_the_run_is_moved_to_a_folder_in_it(trained):
    before = run_in(trained / "save")
    assert {"ckpt-12.index", "ckpt-12.json", "log.jsonl"} < before.keys()
    with opened(slower(trained), set_aside=True) as checkpoints:
        assert checkpoints.step == 0
    assert run_in(trained / "save") == {}
    assert files(trained / "save" / "before-1") == before


def test_it_is_said_in_one_line(trained, capsys):
    config = slower(trained)
    with opened(config, set_aside=True):
        pass
    assert capsys.readouterr().out == (
        f"{config.save_dir}: the run there no longer fits (learning_rate is 0.001, was 0.008); it was moved to"
        f" {config.save_dir}/before-1\n"
    )


def test_exports_and_event_files_go_along(trained):
    captcha_export.export(in_folder(trained), ("litert", "saved_model"))
    before = run_in(trained / "save")
    assert {"model.tflite", "saved_model/saved_model.pb"} < before.keys()
    assert any(path.startswith("events.out.tfevents") for path in before)
    with opened(slower(trained), set_aside=True):
        pass
    assert files(trained / "save" / "before-1") == before


def test_other_folders_stay_where_they_are(trained):
    """They may be other runs."""
    for name in ("digits", "before-the-summer", "before-1"):
        shutil.copytree(trained / "save", trained / name)
    for name in ("digits", "before-the-summer", "before-1"):
        (trained / name).rename(trained / "save" / name)
    before = {path: content for path, content in files(trained / "save").items() if "/" in path}
    with opened(slower(trained), set_aside=True):
        pass
    now = files(trained / "save")
    assert before.items() <= now.items()
    assert {path.partition("/")[0] for path in now.keys() - before.keys()} == {"before-2"}


def test_other_files_stay_where_they_are(trained):
    for name in ("captcha_train.py", "notes.txt"):
        (trained / "save" / name).write_text("mine")
    with opened(slower(trained), set_aside=True):
        pass
    assert all((trained / "save" / name).read_text() == "mine" for name in ("captcha_train.py", "notes.txt"))


def test_the_second_one_is_before_2(trained):
    for rate in (0.001, 0.002):
        with opened(replace(in_folder(trained), learning_rate=rate), set_aside=True):
            pass
        shutil.copytree(trained / "save" / "before-1", trained / "save", dirs_exist_ok=True)
    assert files(trained / "save" / "before-1") == files(trained / "save" / "before-2") == run_in(trained / "save")


def test_a_run_on_other_sets_no_longer_fits(trained):
    config = replace(in_folder(trained), train_count=90)
    produce("train", config)
    with opened(config, set_aside=True) as checkpoints:
        assert checkpoints.step == 0
    assert (trained / "save" / "before-1" / "ckpt-12.json").exists()


def test_a_run_that_fits_is_resumed(trained, capsys):
    before = files(trained)
    with opened(in_folder(trained), set_aside=True) as checkpoints:
        assert checkpoints.step == 12
    assert (files(trained), capsys.readouterr().out) == (before, "")


def test_a_run_that_is_finished_is_continued_with_more_steps(trained):
    with opened(replace(in_folder(trained), max_steps=20), set_aside=True) as checkpoints:
        assert (checkpoints.step, checkpoints.cycle_start) == (12, 12)
    assert not (trained / "save" / "before-1").exists()


def test_where_there_is_no_run_nothing_is_moved(config, capsys):
    with opened(config, set_aside=True) as checkpoints:
        assert checkpoints.step == 0
    assert files(Path(config.save_dir)) == {} and capsys.readouterr().out == ""


def test_without_set_aside_the_trainer_refuses_and_names_it(trained):
    before = files(trained)
    done = run("captcha_train.py", *options(TRAINING), "--learning_rate", 0.001, cwd=trained)
    assert errors(done.stderr) == [
        "captcha_train.py: error: save/ckpt-12: cannot be resumed: learning_rate is 0.001, was 0.008; change that back,"
        " move this run to save/before-<n> with --set-aside (make train does that), or set another --save_dir"
    ]
    assert (done.returncode, files(trained)) == (2, before)


def test_with_set_aside_the_trainer_trains_and_both_runs_can_be_scored(trained):
    done = run("captcha_train.py", *options(TRAINING), "--learning_rate", 0.001, "--set-aside", cwd=trained)
    assert done.returncode == 0, done.stderr
    moved, _, began = done.stdout.splitlines()[:3]
    assert moved.endswith("(learning_rate is 0.001, was 0.008); it was moved to save/before-1")
    assert began == "starting at step 0, up to step 12"
    for folder in ("save", "save/before-1"):
        done = run("captcha_evaluate.py", "--save_dir", folder, cwd=trained)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{folder}/best-")


def test_a_run_is_not_set_aside_for_one_that_cannot_start(trained):
    before = files(trained / "save")
    next((trained / "tfrecords").glob("train-*.tfrecord")).unlink()
    (trained / "tfrecords" / ".train.pixels.npy").unlink()
    with pytest.raises(UserError, match="the shard is missing"):
        captcha_train.train(slower(trained), set_aside=True)
    assert files(trained / "save") == before


def set_aside_killed_before(call: int, config: Config) -> None:
    """Set a run aside; SIGKILL before the n-th move, of which the last one gives the folder its name."""
    calls = []

    def counted(move):
        def moved(path: Path, target: Path) -> Path:
            calls.append(path)
            if len(calls) == call:
                signal.raise_signal(signal.SIGKILL)
            return move(path, target)

        return moved

    Path.replace, Path.rename = counted(Path.replace), counted(Path.rename)
    checkpoint_files.set_aside(Path(config.save_dir))


@pytest.mark.parametrize("call", [1, 2, 7, -1], ids=["first", "second", "seventh", "last"])
@pytest.mark.parametrize("changed", [True, False], ids=["the new run", "the run that was set aside"])
def test_killed_in_between_the_next_start_finishes_the_move(trained, call, changed):
    before = run_in(trained / "save")
    process = Process(set_aside_killed_before, call if call > 0 else len(before) + 1, in_folder(trained), cwd=trained)
    assert process.wait() == -signal.SIGKILL
    assert not (trained / "save" / "before-1").exists()
    with opened(slower(trained) if changed else in_folder(trained)) as checkpoints:
        assert checkpoints.step == 0
    assert run_in(trained / "save") == {}
    assert files(trained / "save" / "before-1") == before
    assert not (trained / "save" / checkpoint_files.ASIDE).exists()


def test_where_none_was_killed_there_is_nothing_to_finish(trained):
    before = files(trained / "save")
    finish_setting_aside(trained / "save")
    assert files(trained / "save") == before
