"""The score of a network: exact, of every captcha once, and the same whatever file the network is in."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import captcha_data
import captcha_evaluate
import captcha_export
import captcha_model
import captcha_train
from captcha_cli import UserError
from captcha_config import Config
from captcha_runs import checkpoint_files, scores
from captcha_runs.checkpoint_files import BEST
from captcha_sets.draw import draw
from captcha_sets.manifest import SPLITS, VALIDATION, read_manifest

import numpy as np
import pytest
from conftest import SMALL, Process, errors, in_folder, run


@pytest.fixture(scope="module")
def network(drawn, tmp_path_factory):
    """The config of a network that reads some of its captchas, and not all."""
    config = replace(in_folder(tmp_path_factory.mktemp("network")), tfrecords_dir=str(drawn / "tfrecords"))
    captcha_train.train(replace(config, max_steps=60, eval_every=60, save_every=60))
    captcha_export.export(config)
    return config


def score(config, *args, **kwargs):
    return scores.score(captcha_evaluate.predict(config, *args, **kwargs))


def restored(config, channels=1):
    model = captcha_model.build(config, channels)
    checkpoint_files.restore(checkpoint_files.newest(Path(config.save_dir), BEST), model)
    return model


def test_the_score_is_that_of_the_saved_network_counted_by_hand(network):
    records = captcha_data.open_pixels(read_manifest(VALIDATION, network), network)
    correct = np.argmax(restored(network)(records["image"]), axis=-1) == records["labels"]
    scored = score(network)
    assert scored["count"] == 37
    assert scored["captcha_accuracy"] == correct.all(axis=1).sum() / 37
    assert scored["character_accuracy"] == correct.sum() / 74
    assert 0 < scored["captcha_accuracy"] < scored["character_accuracy"] < 1
    assert scored["by_position"] == (correct.sum(axis=0) / 37).tolist()
    assert sum(count for _, _, count in scored["confusions"]) == (~correct).sum()


def test_fresh_captchas_are_scored_as_if_they_were_a_split(network):
    config = replace(network, seed=5)
    drawn = [draw(i, captcha_evaluate.FRESH, config) for i in range(300)]
    logits = restored(network, channels=3)(np.stack([np.asarray(image) for _, image in drawn]))
    texts = ["".join(network.characters[label] for label in labels) for labels in np.argmax(logits, axis=-1)]
    scored = score(config, fresh=300)
    assert scored["count"] == 300
    assert scored["captcha_accuracy"] == sum(a == b for a, (b, _) in zip(texts, drawn, strict=True)) / 300


def test_fresh_captchas_are_in_no_split_of_the_same_seed():
    fresh = {draw(i, captcha_evaluate.FRESH, SMALL)[1].tobytes() for i in range(200)}
    splits = {draw(i, split, SMALL)[1].tobytes() for split in SPLITS for i in range(200)}
    assert len(fresh) == 200
    assert not fresh & splits


def test_fresh_captchas_are_drawn_as_those_of_the_training_were(network):
    """With the font sizes that are in the checkpoint, not those of today's config."""
    results = captcha_evaluate.predict(replace(network, font_sizes=(12,)), fresh=3)
    like = replace(network, font_sizes=SMALL.font_sizes)
    assert [image.tobytes() for image in results.images(range(3))] == [
        draw(i, captcha_evaluate.FRESH, like)[1].tobytes() for i in range(3)
    ]


def test_characters_and_size_are_those_of_the_checkpoint_not_of_todays_config(network):
    today = Config(save_dir=network.save_dir, tfrecords_dir=network.tfrecords_dir)
    assert score(today)["count"] == 37


def test_a_checkpoint_and_its_export_score_the_same(network):
    checkpoint = score(network, fresh=200)
    exported = score(network, fresh=200, model=network.save_dir)
    assert exported.pop("model") == str(Path(network.save_dir, "model.tflite"))
    assert checkpoint.pop("model").startswith(str(Path(network.save_dir, "best-")))
    for name in ("thresholds", "calibration"):  # float32 adds up in another order
        for ours, theirs in zip(checkpoint.pop(name), exported.pop(name), strict=True):
            assert ours == pytest.approx(theirs, abs=1e-3)
    assert checkpoint.pop("calibration_error") == pytest.approx(exported.pop("calibration_error"), abs=1e-3)
    assert checkpoint == exported


def test_the_gallery_shows_what_was_misread_and_what_was_least_certain(network):
    results = captcha_evaluate.predict(network)
    misread, uncertain = scores.gallery(results).values()
    wrong = int((~results.correct).sum())
    assert len(misread) == min(wrong, scores.MAX_MISREAD)
    assert all(entry["truth"] != entry["prediction"] for entry in misread)
    assert all(entry["truth"] == entry["prediction"] for entry in uncertain)
    for entries, most_certain_first in ((misread, True), (uncertain, False)):
        confidences = [entry["confidence"] for entry in entries]
        assert confidences == sorted(confidences, reverse=most_certain_first)


def test_json_is_one_object_and_nothing_else(network):
    words = ("--json", "--fresh", 50, "--seed", 3, "--save_dir", network.save_dir)
    done = run("captcha_evaluate.py", *words, cwd=Path(network.tfrecords_dir).parent)
    scored = json.loads(done.stdout)
    assert {"captcha_accuracy", "character_accuracy", "count", "source"} <= scored.keys()
    assert (scored["count"], scored["source"]) == (50, "fresh captchas, seed 3")


def test_both_measures_are_printed_with_the_count_and_an_interval(network):
    words = ("--save_dir", network.save_dir, "--tfrecords_dir", network.tfrecords_dir)
    lines = run("captcha_evaluate.py", *words, cwd=Path(network.save_dir)).stdout.splitlines()
    assert lines[0] == f"{network.save_dir}/best-60 on 37 captchas (validation split)"
    interval = r"\(95 % interval +\d+\.\d\d% to \d+\.\d\d%\)"
    assert re.fullmatch(rf"captcha accuracy +\d+\.\d\d%  {interval}", lines[1])
    assert re.fullmatch(r"character accuracy +\d+\.\d\d%", lines[2])
    assert [line for line in lines if line != line.rstrip()] == []


def evaluate_without_matplotlib(config: Config) -> None:
    """Evaluate where nothing of matplotlib and Jinja2 can be imported (Keras imports the former where it can)."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("matplotlib", "jinja2")]:
        del sys.modules[name]
    sys.modules |= {"matplotlib": None, "jinja2": None}
    sys.argv = ["captcha_evaluate.py", "--save_dir", config.save_dir, "--tfrecords_dir", config.tfrecords_dir]
    captcha_evaluate.main()
    assert "captcha_runs.report" not in sys.modules


def test_without_a_report_it_needs_no_matplotlib(network, tmp_path):
    process = Process(evaluate_without_matplotlib, network, cwd=tmp_path)
    printed, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert "captcha accuracy" in printed


def test_without_a_checkpoint_it_says_how_to_get_one(config):
    with pytest.raises(UserError, match=r"there is no checkpoint; train one: python captcha_train\.py"):
        captcha_evaluate.predict(config)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--seed", 7), "--seed is for fresh captchas; say how many: --fresh 20000"),
        (("--workers", 1), "--workers is for fresh captchas; say how many: --fresh 20000"),
        (
            ("--model", "digits", "--save_dir", "x"),
            "--save_dir names a checkpoint, and --model an exported model; leave one of them out",
        ),
    ],
)
def test_an_option_without_effect_is_refused(words, message, tmp_path):
    done = run("captcha_evaluate.py", *words, cwd=tmp_path)
    assert (done.returncode, errors(done.stderr)) == (2, [f"captcha_evaluate.py: error: {message}"])


@pytest.mark.parametrize("count", [-1, 10**9 + 1])
def test_a_number_of_fresh_captchas_out_of_range_is_refused(tmp_path, count):
    done = run("captcha_evaluate.py", f"--fresh={count}", cwd=tmp_path)
    message = f"--fresh {count} is out of range; it must be from 0 to 1000000000"
    assert (done.returncode, done.stderr) == (2, f"captcha_evaluate.py: error: {message}\n")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["digits", "letters", "capitals"])
def test_the_confidence_of_the_shipped_models_can_be_trusted(model, tmp_path):
    scored = score(Config(seed=11, save_dir=str(tmp_path)), fresh=4000, model=model)
    assert scored["calibration_error"] < 0.01
    # Of 4,000 captchas, accuracies near 100 % vary by 0.1 % from one seed to another.
    assert scored["captcha_accuracy"] > {"digits": 0.997, "letters": 0.985, "capitals": 0.98}[model]
    (at_95,) = [row for row in scored["thresholds"] if 0.945 < row["share_read"] < 0.955]
    assert at_95["accuracy"] >= {"digits": 0.999, "letters": 0.99, "capitals": 0.99}[model]


@pytest.mark.slow
def test_four_letters_and_digits_at_100x60_need_no_change_of_code(tmp_path):
    captcha = ("--characters", "0123456789abcdefghijklmnopqrstuvwxyz", "--width", "100", "--height", "60")
    done = run("captcha_producer.py", *captcha, "--train_count", 300, "--validation_count", 60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    few = ("--max_steps", 20, "--eval_every", 20, "--batch_size", 32)
    done = run("captcha_train.py", *captcha, *few, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    scored = json.loads(run("captcha_evaluate.py", "--json", "--fresh", 40, cwd=tmp_path).stdout)
    assert (scored["count"], scored["source"]) == (40, "fresh captchas, seed 1")
