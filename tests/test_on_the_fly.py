"""Captchas that are drawn beside each step."""

import subprocess
from dataclasses import replace

import captcha_data
import captcha_draw
import captcha_endless
import captcha_model
import captcha_train
from captcha_config import UserError

import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL, TRAINING, checkpoint_values, command, options, own_lines, run

MANIFEST = {"split": "validation", "source": None, "fonts": [], "font_sizes": [20]}


def taken(steps: int, first_step: int = 0, **part: int) -> tuple[np.ndarray, np.ndarray]:
    part = tf.distribute.InputContext(**part)
    batches = captcha_endless.batches(MANIFEST, first_step, SMALL, part).take(steps).as_numpy_iterator()
    return tuple(np.concatenate(column) for column in zip(*batches, strict=True))


def test_captcha_i_of_the_training_split_is_at_its_place(config):
    images, labels = taken(3)
    assert images.shape == (48, 32, 48, 1) and images.dtype == np.uint8
    for i in (0, 17, 47):
        text, image = captcha_draw.draw(i, "train", SMALL)
        assert "".join(SMALL.characters[label] for label in labels[i]) == text
        assert np.array_equal(images[i : i + 1], captcha_model.grey(np.asarray(image)[None]))


def test_it_goes_on_at_any_step():
    for whole, rest in zip(taken(3), taken(1, first_step=2), strict=True):
        assert np.array_equal(whole[-16:], rest)


def test_machines_draw_a_batch_between_them():
    whole, _ = taken(1)
    split = {"num_input_pipelines": 2, "num_replicas_in_sync": 2}
    parts = [taken(1, **split, input_pipeline_id=i)[0] for i in range(2)]
    assert all(len(part) == 8 for part in parts)
    assert sorted(image.tobytes() for part in parts for image in part) == sorted(image.tobytes() for image in whole)


def start(folder, *words) -> subprocess.Popen:
    """A trainer that has come to step 6."""
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command("captcha_train.py", *words), cwd=folder, text=True, **both)
    assert any(line.startswith("step 6/") for line in process.stdout)
    return process


def test_a_worker_that_is_killed_ends_the_trainer_with_one_line(folder):
    process = start(folder, *options(TRAINING, replace(SMALL, max_steps=100_000)), "--endless")
    subprocess.run(["pkill", "-KILL", "-f", "spawn_main", "-P", str(process.pid)], check=True)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert own_lines(said) == [
        "captcha_train.py: error: a process that draws was killed; make room in memory, or use fewer (--workers)"
    ]


def test_training_needs_no_training_set_and_killed_ends_as_undisturbed(config, folder):
    for path in (folder / "tfrecords").glob("train*"):
        path.unlink()
    words = (*options(TRAINING, replace(config, max_steps=30)), "--endless", "--save_dir")
    process = start(folder, *words, "killed")
    process.kill()
    process.communicate()
    for save in ("killed", "undisturbed"):
        done = run("captcha_train.py", *words, save, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert "endless images of 48x32" in done.stdout
        assert ("going on from step" in done.stdout) == (save == "killed")
    assert checkpoint_values(folder / "killed", "ckpt-30") == checkpoint_values(folder / "undisturbed", "ckpt-30")


def test_a_run_does_not_become_endless(config):
    captcha_train.train(replace(config, max_steps=2))
    with pytest.raises(UserError, match="endless is True, was False; the train set is another one"):
        captcha_train.train(replace(config, max_steps=4, endless=True))


def test_images_of_ones_own_cannot_be_drawn(config, monkeypatch):
    manifest = captcha_data.read_manifest("validation", config) | {"source": "photos"}
    monkeypatch.setattr(captcha_data, "read_manifest", lambda split, config: manifest)
    with pytest.raises(UserError, match="endless: the validation set has the images of photos, which cannot be drawn"):
        captcha_train.train(replace(config, endless=True))
