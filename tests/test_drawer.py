"""Captchas that another function draws: the same in every process, or known not to be; and no file runs code."""

import itertools
import random
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import captcha_data
import captcha_evaluate
import captcha_predict
from captcha_cli import UserError
from captcha_config import Config
from captcha_runs import scores
from captcha_sets import styles
from captcha_sets.draw import check_trusted, draw
from captcha_sets.drawing import produce
from captcha_sets.manifest import VALIDATION, read_manifest
from captcha_sets.pool import draw_many, is_repeatable

import matplotlib
import numpy as np
import pytest
from conftest import DRAWING, SMALL, TRAINING, errors, files, in_folder, options, run
from PIL import Image, ImageDraw

PLAIN = """
from PIL import Image, ImageDraw

def draw(text, config, rng):
    image = Image.new("RGB", (config.width, config.height), (rng.randrange(200, 256), 255, 255))
    ImageDraw.Draw(image).text((5 + rng.randrange(9), 5), text, fill="black")
    return image
"""
GLOBALS = """
import random
import numpy as np
from PIL import Image

def draw(text, config, rng):
    noise = np.random.randint(0, 200, (config.height, config.width, 3))
    return Image.fromarray((noise + random.randrange(50)).astype(np.uint8))
"""
AT_IMPORT = """
import random
import numpy as np
from PIL import Image

COLOURS = [random.randrange(256) for _ in range(50)]
NOISE = np.random.randint(0, 256, (32, 48, 3)).astype(np.uint8)

def draw(text, config, rng):
    image = Image.fromarray(NOISE)
    image.paste((rng.choice(COLOURS), 0, 0), (0, 0, 10, 10))
    return image
"""
SECRETS = """
import secrets
from PIL import Image

def draw(text, config, rng):
    size = config.width, config.height
    return Image.frombytes("L", size, secrets.token_bytes(config.width * config.height))
"""
COUNTER = """
import itertools
from PIL import Image

numbers = itertools.count()

def draw(text, config, rng):
    return Image.new("RGB", (config.width, config.height), (next(numbers) % 256, 0, 0))
"""
HASH = """
from PIL import Image

def draw(text, config, rng):
    return Image.new("RGB", (config.width, config.height), (hash(text) % 256, hash(text) // 256 % 256, 0))
"""
MARK = """
from pathlib import Path

Path(__file__).with_name("imported").touch()
"""
REPEATABLE = {"rng": PLAIN, "global random numbers": GLOBALS, "random numbers at import": AT_IMPORT}
NOT_REPEATABLE = {"secrets": SECRETS, "a counter": COUNTER, "hash()": HASH}
names = (f"drawer_{number}" for number in itertools.count())


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A function (source) → the name of a drawer in a new module of the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(source: str) -> str:
        name = next(names)
        (tmp_path / f"{name}.py").write_text(source)
        return f"{name}:draw"

    return write


@pytest.fixture
def with_drawer(module):
    """A function (source, fields) → the small config with this drawer."""
    return lambda source, **fields: replace(SMALL, drawer=module(source), **fields)


def parametrized(sources):
    return pytest.mark.parametrize("source", sources.values(), ids=sources.keys())


# One captcha


def test_the_function_gets_the_text_the_config_and_the_random_numbers_of_the_captcha(with_drawer):
    config = with_drawer(PLAIN)
    text, image = draw(3, "train", config)
    rng = random.Random("1/train/3")
    assert "".join(rng.choices("0123", k=2)) == text
    expected = Image.new("RGB", (48, 32), (rng.randrange(200, 256), 255, 255))
    ImageDraw.Draw(expected).text((5 + rng.randrange(9), 5), text, fill="black")
    assert image.tobytes() == expected.tobytes()


def test_the_texts_are_those_that_the_library_would_draw(with_drawer):
    config = with_drawer(SECRETS)
    assert [draw(i, "train", config)[0] for i in range(20)] == [draw(i, "train", SMALL)[0] for i in range(20)]


@parametrized(REPEATABLE)
def test_a_captcha_does_not_depend_on_those_drawn_before_it(with_drawer, source):
    config = with_drawer(source)
    alone = draw(5, "train", config)[1].tobytes()
    for index in range(5):
        draw(index, "train", config)
    assert draw(5, "train", config)[1].tobytes() == alone


@parametrized(REPEATABLE)
def test_another_index_split_or_seed_draws_another_captcha(with_drawer, source):
    config = with_drawer(source)
    drawn = [draw(i, "train", config) for i in range(3)]
    drawn += [draw(0, "validation", config), draw(0, "train", replace(config, seed=2))]
    assert len({image.tobytes() for _, image in drawn}) == 5


@parametrized(REPEATABLE)
def test_the_random_numbers_of_the_program_go_on_as_if_nothing_was_drawn(with_drawer, source):
    config = with_drawer(source)
    random.seed(1)
    np.random.seed(1)
    expected = random.random(), np.random.random()
    random.seed(1)
    np.random.seed(1)
    draw(0, "train", config)  # imports the module, too
    assert (random.random(), np.random.random()) == expected


def test_the_random_numbers_of_the_program_go_on_where_the_function_raises(with_drawer):
    config = with_drawer("import random\n\ndef draw(text, config, rng):\n    random.random()\n    raise ValueError")
    state = random.getstate()
    with pytest.raises(UserError):
        draw(0, "train", config)
    assert random.getstate() == state


def test_an_image_of_a_canvas_size_is_resized(with_drawer):
    source = "from PIL import Image\n\ndef draw(text, config, rng):\n    return Image.linear_gradient('L')\n"
    image = draw(0, "train", with_drawer(source, canvas_sizes=("100x20", "256x256")))[1]
    expected = Image.linear_gradient("L").convert("RGB").resize((48, 32), Image.Resampling.BICUBIC)
    assert image.tobytes() == expected.tobytes()


def test_what_is_transparent_in_its_image_is_white_as_in_a_file(with_drawer):
    source = "from PIL import Image\n\ndef draw(text, config, rng):\n    return Image.new('RGBA', (48, 32))\n"
    assert draw(0, "train", with_drawer(source))[1].getextrema() == ((255, 255),) * 3


# Many captchas


@parametrized(REPEATABLE)
def test_one_worker_and_two_write_the_same_bytes(with_drawer, tmp_path, source):
    config = with_drawer(source, train_count=60)
    for workers in (1, 2):
        folder = in_folder(tmp_path / str(workers), config)
        assert produce("train", replace(folder, workers=workers))["repeatable"]
    assert files(tmp_path / "1") == files(tmp_path / "2")


@parametrized(REPEATABLE)
def test_two_processes_draw_the_same(with_drawer, source):
    assert is_repeatable("train", with_drawer(source))


@parametrized(NOT_REPEATABLE)
def test_a_set_that_another_process_would_draw_otherwise_says_so(with_drawer, tmp_path, source):
    config = in_folder(tmp_path, with_drawer(source, train_count=5))
    produce("train", config)
    assert read_manifest("train", config)["repeatable"] is False


def test_captchas_that_are_not_drawn_alike_again_are_not_drawn_on_the_fly(with_drawer, tmp_path):
    config = in_folder(tmp_path, with_drawer(SECRETS, validation_count=5))
    manifest = produce(VALIDATION, config)
    with pytest.raises(UserError) as caught:
        captcha_data.check_drawable(manifest, config)
    assert str(caught.value) == (
        f"on_the_fly: {config.drawer} is not deterministic, so a stopped run could not be resumed;"
        " leave out --on_the_fly"
    )


def test_captchas_that_are_drawn_alike_again_are_drawn_on_the_fly(with_drawer, tmp_path):
    config = in_folder(tmp_path, with_drawer(GLOBALS, validation_count=5, batch_size=8))
    produce(VALIDATION, config)
    images, labels = next(captcha_data.on_the_fly_batches(0, config).as_numpy_iterator())
    for i in range(8):
        text, image = draw(i, "train", config)
        assert "".join(config.characters[label] for label in labels[i]) == text
        assert np.array_equal(images[i, :, :, 0], np.round(np.asarray(image).mean(axis=2)))


def test_what_the_function_prints_does_not_disturb_the_workers(with_drawer):
    source = PLAIN.replace("    return", "    print('drawing', text)\n    return")
    assert len(list(draw_many(range(5), "train", with_drawer(source)))) == 5


def test_a_program_that_the_function_starts_does_not_disturb_the_workers(with_drawer):
    """It reads and prints where the workers get their requests and answer."""
    program = "    subprocess.run(['sh', '-c', 'cat; echo drawn'], check=True)\n    return"
    source = "import subprocess\n" + PLAIN.replace("    return", program)
    assert len(list(draw_many(range(5), "train", with_drawer(source)))) == 5


# What is wrong with a function

NOTHING = "def draw(text, config, rng):\n    return None\n"
SIZE = "from PIL import Image\n\ndef draw(text, config, rng):\n    return Image.new('L', (160, 60))\n"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "def draw(text, config, rng):\n    raise ValueError('no\\ninspiration')\n",
            "drawer: {0} fails for the text {2!r} with ValueError: no inspiration ({1}.py, line 2); correct it",
        ),
        (
            "draw = 5\n",
            "drawer: {0} fails for the text {2!r} with TypeError: 'int' object is not callable (draw.py, line ",
        ),
        (NOTHING, "drawer: {} returns a value of type NoneType; it must return a Pillow image"),
        (SIZE, "drawer: {} returns an image of 160x60, not 48x32; name its sizes: --canvas_sizes 160x60"),
        ("def other():\n    pass\n", "drawer: {} cannot be imported (AttributeError: module '{}' has no attribute"),
        ("import no_such_package\n", "drawer: {} cannot be imported (ModuleNotFoundError: No module named 'no_such_"),
        ("def draw(:\n", "drawer: {} cannot be imported (SyntaxError: "),
        ("raise KeyError('key')\n", "drawer: {} cannot be imported (KeyError: 'key'); name a function as module:"),
    ],
    ids=["raises", "is no function", "no image", "another size", "no function", "package", "syntax", "import raises"],
)
def test_an_error_of_the_function_is_one_line_and_nothing_is_written(module, tmp_path, source, message):
    name = module(source)
    message = message.format(name, name.partition(":")[0], draw(0, "train", SMALL)[0])
    before = files(tmp_path)
    done = run("captcha_producer.py", *options(DRAWING), "--drawer", name, cwd=tmp_path)
    (line,) = errors(done.stderr)
    assert line.startswith(f"captcha_producer.py: error: {message}")
    assert done.returncode == 2
    assert {path for path in files(tmp_path) if "__pycache__" not in path} == before.keys()


def test_an_error_in_the_middle_of_a_split_leaves_the_earlier_one_as_it_was(module, folder):
    text = draw(70, "train", replace(SMALL, length=5))[0]
    name = module(PLAIN.replace("    image =", f"    assert text != {text!r}\n    image ="))
    before = files(folder)
    words = ("--length", 5, "--drawer", name, "--splits", "train", "--replace")
    done = run("captcha_producer.py", *options(DRAWING), *words, cwd=folder)
    (line,) = errors(done.stderr)
    assert f"drawer: {name} fails for the text {text!r} with AssertionError" in line
    assert {path: content for path, content in files(folder).items() if "__pycache__" not in path} == before


@pytest.mark.parametrize("name", ["no_such_module:draw", "no_such_module", ":draw", "", "captcha_sets.library:nothing"])
def test_a_name_without_a_function_is_refused(tmp_path, name):
    done = run("captcha_producer.py", *options(DRAWING), "--drawer", name, cwd=tmp_path)
    (line,) = errors(done.stderr)
    assert line.startswith(f"captcha_producer.py: error: drawer: {name} cannot be imported (")
    assert line.endswith("; name a function as module:function, of a module in the current folder or an installed one")
    assert (done.returncode, files(tmp_path)) == (2, {})


# No file runs code


def test_no_other_function_of_this_project_is_a_drawer_that_a_file_may_name():
    with pytest.raises(UserError, match=r"if you trust that code, add --drawer captcha_sets\.draw:draw"):
        check_trusted("captcha_sets.draw:draw", SMALL)


@pytest.fixture(scope="module")
def strange_once(tmp_path_factory):
    """A folder in which captchas of another drawer were drawn and trained on. The module notes when it is imported."""
    folder = tmp_path_factory.mktemp("strange")
    (folder / "strange.py").write_text(MARK + GLOBALS)
    done = run("captcha_producer.py", *options(DRAWING), "--drawer", "strange:draw", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "imported").unlink()
    names = [name for name in TRAINING if name not in DRAWING]
    done = run("captcha_train.py", *options(tuple(names)), cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "printed.txt").write_text(done.stdout)
    return folder


@pytest.fixture
def strange(strange_once, tmp_path):
    shutil.copytree(strange_once, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_training_reading_and_evaluating_import_no_drawer(strange):
    for script, *args in (
        ("captcha_evaluate.py",),
        ("captcha_export.py",),
        ("captcha_predict", "images/validation"),
        ("captcha_sets.sheet", "train"),
        ("captcha_producer.py",),  # both splits are there
    ):
        done = run(script, *args, cwd=strange)
        assert done.returncode == 0, done.stderr
    assert not (strange / "imported").exists()  # by none of these, nor by the trainer before


def test_the_trainer_advises_the_evaluation_with_the_drawer(strange):
    advice = "python captcha_evaluate.py --save_dir save --fresh 20000 --drawer strange:draw"
    assert advice in (strange / "printed.txt").read_text()


@pytest.mark.parametrize(
    ("script", "args"),
    [
        ("captcha_evaluate.py", ("--fresh", 5)),
        ("captcha_evaluate.py", ("--fresh", 5, "--model", "save")),
        ("captcha_producer.py", ("--update", "--seed", 2)),
        ("captcha_train.py", ("--on_the_fly", "--save_dir", "other")),
    ],
    ids=["checkpoint", "model", "producer", "trainer"],
)
def test_a_drawer_that_only_a_file_names_is_not_imported(strange, script, args):
    before = files(strange)
    done = run(script, *args, cwd=strange)
    (line,) = errors(done.stderr)
    assert line == (
        f"{script}: error: drawer: these captchas are drawn by strange:draw; if you trust that code, add --drawer"
        " strange:draw"
    )
    assert done.returncode == 2
    assert files(strange) == before  # without "imported"


def test_where_the_drawer_is_typed_fresh_captchas_are_drawn_with_it(strange):
    done = run("captcha_evaluate.py", "--fresh", 20, "--drawer", "strange:draw", cwd=strange)
    assert done.returncode == 0, done.stderr
    assert " on 20 captchas (fresh captchas, seed 1)" in done.stdout
    assert (strange / "imported").exists()


def test_where_the_drawer_is_typed_a_split_that_is_missing_is_drawn_with_it(strange):
    before = files(strange / "tfrecords")
    (strange / "tfrecords" / "validation.json").unlink()
    done = run("captcha_producer.py", "--drawer", "strange:draw", "--validation_count", 37, cwd=strange)
    assert done.returncode == 0, done.stderr
    now = files(strange / "tfrecords")
    assert {name for name in before if now[name] != before[name]} <= {"validation.json"}
    assert read_manifest(VALIDATION, in_folder(strange, replace(SMALL, drawer="strange:draw")))["repeatable"]


def test_the_librarys_captchas_are_drawn_for_a_network_of_another_drawers_where_that_is_typed(strange):
    done = run("captcha_evaluate.py", "--fresh", 5, "--drawer", Config.drawer, "--font_sizes", 20, cwd=strange)
    assert done.returncode == 0, done.stderr
    assert not (strange / "imported").exists()


# The captchas of a report

STOCK = """
from captcha.image import ImageCaptcha

def draw(text, config, rng):
    return ImageCaptcha(config.width, config.height, font_sizes=config.font_sizes).generate_image(text)
"""


def test_a_bug_in_a_drawer_of_the_project_is_not_reported_as_the_users_error(monkeypatch):
    monkeypatch.setattr(styles, "GROUNDS", (lambda *_: {}["no such ground"],))
    fonts = tuple(str(path) for path in Path(matplotlib.get_data_path(), "fonts", "ttf").glob("DejaVuSans.ttf"))
    with pytest.raises(KeyError, match="no such ground"):
        draw(0, "train", Config(drawer="captcha_sets.styles:draw", fonts=fonts))


def test_a_report_shows_the_captchas_that_were_scored_although_they_cannot_be_drawn_again(module, tmp_path):
    config = Config(save_dir=str(tmp_path / "save"), drawer=module(STOCK), workers=1)
    assert not is_repeatable(captcha_evaluate.FRESH, config)
    results = captcha_evaluate.predict(config, fresh=60, model="digits", typed={"drawer"})
    misread, uncertain = scores.gallery(results).values()
    assert len(uncertain) == 20
    for entry in misread + uncertain:
        read = captcha_predict.read(entry["image"], model="digits", details=True)
        assert (read.text, read.confidence) == (entry["prediction"], pytest.approx(entry["confidence"], abs=1e-4))
