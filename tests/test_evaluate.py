import json
from dataclasses import replace

import captcha_data
import captcha_draw
import captcha_evaluate
import captcha_export
import captcha_model
import captcha_save
import captcha_train
from captcha_config import Config, UserError

import numpy as np
import pytest
from conftest import SMALL, run


@pytest.fixture
def trained(config):
    captcha_train.train(replace(config, max_steps=60, eval_every=60, save_every=60))
    return config


def test_the_validation_score_is_that_of_the_saved_model_counted_by_hand(trained, folder):
    score = captcha_evaluate.evaluate(trained)
    model = captcha_model.build(trained)
    captcha_save.restore(captcha_save.newest(folder / "save", captcha_save.BEST), model)
    images, labels = captcha_data.load("validation", trained)
    right = np.argmax(model(images), axis=-1) == labels
    assert score["count"] == 37
    assert score["captcha_accuracy"] == right.all(axis=1).sum() / 37
    assert score["character_accuracy"] == right.sum() / 74


def test_fresh_captchas_are_scored_as_if_they_were_a_split(trained, folder):
    score = captcha_evaluate.evaluate(replace(trained, seed=5), fresh=300)
    model = captcha_model.build(trained, channels=3)
    captcha_save.restore(captcha_save.newest(folder / "save", captcha_save.BEST), model)
    drawn = [captcha_draw.draw(i, captcha_evaluate.FRESH, replace(trained, seed=5)) for i in range(300)]
    read = np.argmax(model(np.stack([np.asarray(image) for _, image in drawn])), axis=-1)
    texts = ["".join(trained.characters[label] for label in labels) for labels in read]
    assert score["count"] == 300
    assert score["captcha_accuracy"] == sum(a == b for a, (b, _) in zip(texts, drawn, strict=True)) / 300


def test_fresh_captchas_are_in_no_split_of_the_same_seed():
    fresh = {captcha_draw.draw(i, captcha_evaluate.FRESH, SMALL)[1].tobytes() for i in range(200)}
    split = {captcha_draw.draw(i, "fresh", SMALL)[1].tobytes() for i in range(200)}
    assert len(fresh) == 200
    assert not fresh & split


def test_json_is_one_object_and_nothing_else(trained, folder):
    done = run("captcha_evaluate.py", "--json", "--fresh", 50, "--seed", 3, cwd=folder)
    score = json.loads(done.stdout)
    assert {"captcha_accuracy", "character_accuracy", "count", "source"} <= score.keys()
    assert (score["count"], score["source"]) == (50, "fresh captchas, seed 3")


def test_characters_and_size_are_those_of_the_checkpoint_not_of_todays_config(trained):
    today = Config(save_dir=trained.save_dir, tfrecords_dir=trained.tfrecords_dir)
    assert captcha_evaluate.evaluate(today)["count"] == 37


def test_both_measures_are_printed_with_the_count_and_an_interval(trained, folder):
    said = run("captcha_evaluate.py", cwd=folder).stdout
    assert "on 37 captchas (validation split)" in said
    assert "95 % interval" in said and "character accuracy" in said


def test_the_interval_is_wilsons():
    """Against the published example of Newcombe 1998, table I: 81 of 263 and 15 of 148."""
    assert captcha_evaluate.wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert captcha_evaluate.wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert captcha_evaluate.wilson_interval(100, 100)[1] == 1.0


def test_the_calibration_error_is_what_confidence_and_accuracy_differ_by():
    rng = np.random.default_rng(1)
    confidence = rng.random(30_000)
    right = rng.random(30_000) < confidence
    assert captcha_evaluate.calibration_error(confidence, right) < 0.01
    overconfident = rng.random(30_000) < confidence**2  # by the integral of x - x²
    assert captcha_evaluate.calibration_error(confidence, overconfident) == pytest.approx(1 / 6, abs=0.01)
    assert captcha_evaluate.calibration_error(np.ones(10), np.arange(10) < 7) == pytest.approx(0.3)


def test_the_thresholds_share_out_the_captchas():
    confidence = np.arange(1, 101) / 100
    right = confidence > 0.08  # the eight least certain are wrong
    found = captcha_evaluate.thresholds(confidence, right)
    assert [line["share_read"] for line in found] == [1, 0.99, 0.98, 0.95, 0.9]
    assert [line["threshold"] for line in found] == [0.01, 0.02, 0.03, 0.06, 0.11]
    assert [line["accuracy"] for line in found] == [92 / 100, 92 / 99, 92 / 98, 92 / 95, 90 / 90]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["digits", "letters", "capitals"])
def test_the_confidence_of_the_shipped_models_can_be_believed(model, tmp_path):
    score = captcha_evaluate.evaluate(Config(seed=11, save_dir=str(tmp_path)), fresh=4000, model=model)
    assert score["calibration_error"] < 0.01
    assert score["captcha_accuracy"] > {"digits": 0.998, "letters": 0.985, "capitals": 0.98}[model]
    (at_95,) = [line for line in score["thresholds"] if 0.945 < line["share_read"] < 0.955]
    assert at_95["accuracy"] >= {"digits": 0.999, "letters": 0.99, "capitals": 0.99}[model]


def test_a_checkpoint_and_its_export_score_the_same(trained, folder):
    captcha_export.export(trained)
    checkpoint = captcha_evaluate.evaluate(trained, fresh=200)
    exported = captcha_evaluate.evaluate(trained, fresh=200, model=folder / "save")
    assert exported.pop("model") == str(folder / "save" / "model.tflite")
    assert checkpoint.pop("model").startswith(str(folder / "save" / "best-"))
    for lines in ("thresholds", "calibration"):  # float32 adds up in another order
        for ours, theirs in zip(checkpoint.pop(lines), exported.pop(lines), strict=True):
            assert ours == pytest.approx(theirs, abs=1e-3)
    assert checkpoint.pop("calibration_error") == pytest.approx(exported.pop("calibration_error"), abs=1e-3)
    assert checkpoint == exported


def test_without_a_checkpoint_it_says_how_to_get_one(config):
    with pytest.raises(UserError, match=r"there is no checkpoint; train one: python captcha_train\.py"):
        captcha_evaluate.evaluate(config)


@pytest.mark.slow
def test_four_letters_and_digits_at_100x60_need_no_change_of_code(tmp_path):
    captcha = ("--characters", "0123456789abcdefghijklmnopqrstuvwxyz", "--width", "100", "--height", "60")
    for split, count in (("train", 300), ("validation", 60)):
        done = run("captcha_producer.py", "-n", count, "-p", f"images/{split}", *captcha, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    few = ("--max_steps", 20, "--eval_every", 20, "--batch_size", 32)
    done = run("captcha_train.py", *captcha, *few, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    score = json.loads(run("captcha_evaluate.py", "--json", "--fresh", 40, cwd=tmp_path).stdout)
    assert (score["count"], score["source"]) == (40, "fresh captchas, seed 1")
