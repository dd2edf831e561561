"""Captchas that are drawn during training, so that none is seen twice."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import captcha_data
import captcha_train
from captcha_cli import UserError
from captcha_config import Config
from captcha_sets.draw import draw
from captcha_sets.drawing import produce
from captcha_sets.importing import import_images
from captcha_sets.manifest import like_sets, read_manifest
from captcha_sets.pixels import grey

import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL, TRAINING, checkpoint_values, errors, in_folder, options, run, start, wait_for

DRAWN_TRAINING = tuple(name for name in TRAINING if name != "shift")  # what is drawn during training is not augmented


def batches(steps: int, first_step: int = 0, config: Config = SMALL, **part: int) -> list:
    """Pairs of arrays: images and labels."""
    part = tf.distribute.InputContext(**part)
    return list(captcha_data.on_the_fly_batches(first_step, config, part).take(steps).as_numpy_iterator())


def test_a_step_gets_the_next_captchas_of_the_training_split():
    images, labels = (np.concatenate(column) for column in zip(*batches(3), strict=True))
    assert images.shape == (48, 32, 48, 1) and images.dtype == np.uint8
    for i in (0, 17, 47):
        text, image = draw(i, "train", SMALL)
        assert "".join(SMALL.characters[label] for label in labels[i]) == text
        assert np.array_equal(images[i : i + 1], grey(np.asarray(image)[None]))


def test_for_a_network_that_sees_colour_they_are_in_colour():
    ((images, _),) = batches(1, config=replace(SMALL, input_color=True))
    assert np.array_equal(images, [np.asarray(draw(i, "train", SMALL)[1]) for i in range(16)])


def test_the_batches_of_a_step_do_not_depend_on_where_one_began():
    for through, resumed in zip(batches(3)[2], batches(1, first_step=2)[0], strict=True):
        assert np.array_equal(through, resumed)


def test_machines_draw_a_batch_between_them():
    ((whole, _),) = batches(1)
    job = {"num_input_pipelines": 2, "num_replicas_in_sync": 2}
    parts = [batches(1, **job, input_pipeline_id=i)[0][0] for i in range(2)]
    assert all(len(part) == 8 for part in parts)
    assert sorted(image.tobytes() for part in parts for image in part) == sorted(image.tobytes() for image in whole)


def test_they_are_drawn_as_the_validation_split_was(config):
    other = replace(config, font_sizes=(14,), noise_curves=3)
    produce("validation", other)
    like = like_sets(Config(tfrecords_dir=config.tfrecords_dir, batch_size=16), ("tfrecords_dir", "batch_size"))
    images, _ = next(captcha_data.on_the_fly_batches(0, like).as_numpy_iterator())
    expected = grey(np.asarray(draw(0, "train", other)[1])[None])
    assert np.array_equal(images[:1], expected)


UNGUARDED = """
import sys
from pathlib import Path

with open("runs.txt", "a") as runs:
    print("run", file=runs)
main = sys.modules["__main__"]

import captcha_data
from captcha_config import Config

batches = captcha_data.on_the_fly_batches(0, Config(workers=2))
for images, labels in batches.take(2):
    print(images.shape)
    for tasks in Path("/proc/self/task").glob("*/children"):
        for worker in tasks.read_text().split():
            libraries = Path(f"/proc/{worker}/maps").read_text()
            assert "_imaging" in libraries  # Pillow, so the worker is at work
            assert "tensorflow" not in libraries
            print("worker")
assert sys.modules["__main__"] is main
"""


def test_a_script_without_a_main_guard_can_train_on_them(tmp_path):
    """The threads of the pipeline start workers that import neither the script nor TensorFlow."""
    (tmp_path / "script.py").write_text(UNGUARDED)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == 2 * ["(64, 64, 128, 1)", "worker", "worker"]
    assert (tmp_path / "runs.txt").read_text().split() == ["run"]


def test_augmentation_is_refused(folder):
    done = run("captcha_train.py", "--on_the_fly", "--rotate", 5, cwd=folder)
    assert done.returncode == 2
    assert errors(done.stderr) == [
        "captcha_train.py: error: --rotate: images that are drawn on the fly are not augmented"
    ]


def test_a_killed_worker_ends_the_trainer_with_one_line(folder):
    words = (*options(DRAWN_TRAINING, replace(SMALL, max_steps=100_000)), "--on_the_fly", "--workers", 1)
    process = start("captcha_train.py", *words, cwd=folder)
    wait_for(process, "step 6/")
    (worker,) = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(worker), signal.SIGKILL)
    _, stderr = process.communicate()
    assert process.returncode == 2
    assert errors(stderr) == [
        "captcha_train.py: error: a process that draws was killed; free some memory, or use fewer processes (--workers)"
    ]


def test_it_needs_no_training_split_and_killed_ends_with_the_weights_of_an_undisturbed_run(config, folder):
    for path in (folder / "tfrecords").glob("*train*"):
        path.unlink()
    small = options(DRAWN_TRAINING, replace(config, max_steps=20, eval_every=20))
    words = (*small, "--on_the_fly", "--workers", 1, "--save_dir")
    process = start("captcha_train.py", *words, "killed", cwd=folder)
    wait_for(process, "step 6/")
    process.kill()
    process.wait()
    for save in ("killed", "undisturbed"):
        done = run("captcha_train.py", *words, save, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert "on-the-fly images of 48x32" in done.stdout
        assert ("resuming from step" in done.stdout) == (save == "killed")
    assert checkpoint_values(folder / "killed", "ckpt-20") == checkpoint_values(folder / "undisturbed", "ckpt-20")


def test_a_run_that_began_with_a_training_split_does_not_go_over_to_them(trained):
    config = replace(in_folder(trained), on_the_fly=True, max_steps=20)
    with pytest.raises(UserError, match="on_the_fly is True, was False; the train split has changed; change that ba"):
        captcha_train.train(config)


def test_which_characters_are_drawn_more_often_is_part_of_the_run(config):
    """There is no training split whose content would show it."""
    more = replace(config, oversample_characters="0")
    assert more.experiment() == config.experiment()
    assert replace(more, on_the_fly=True).experiment() != replace(config, on_the_fly=True).experiment()


def test_imported_images_cannot_be_drawn(folder, config):
    (folder / "images" / "validation").rename(folder / "photos")
    import_images(folder / "photos", ("validation",), config, images=False)
    assert read_manifest("validation", config)["source"] is not None
    with pytest.raises(
        UserError, match=r"on_the_fly: the validation split was imported from .*/photos, which cannot be drawn"
    ):
        captcha_train.train(replace(config, on_the_fly=True))
