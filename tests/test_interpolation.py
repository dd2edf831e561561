"""The network between two trained ones."""

from dataclasses import replace

import captcha_model
import captcha_train
from captcha_cli import UserError
from captcha_runs import checkpoint_files, checkpoints, interpolation
from captcha_sets.drawing import produce
from captcha_sets.manifest import SPLITS

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL, errors, files, in_folder, run

STATISTICS = ("moving_mean", "moving_variance")


def weights(config) -> list[tuple[bool, np.ndarray]]:
    """The best network in config.save_dir: for each weight, whether it is a convolution's kernel, and its value.

    The statistics of batch normalization are left out.
    """
    metadata, trained = checkpoints.best(config, ())
    network = captcha_model.build(trained)
    checkpoint_files.restore(metadata, network)
    return [
        (isinstance(layer, keras.layers.Conv2D) and weight.name == "kernel", weight.numpy())
        for layer in network.layers
        for weight in layer.weights
        if weight.name not in STATISTICS
    ]


def test_its_weights_lie_between_those_of_the_two(trained):
    """The norm of a convolution's kernel, which normalization hides, is first made that of the first network."""
    first = in_folder(trained)
    second = replace(first, save_dir=f"{trained}/second", init_from=first.save_dir, max_steps=4)
    assert captcha_train.train(second) == 0
    between = replace(first, save_dir=f"{trained}/between")
    interpolation.interpolate(trained / "save", trained / "second", 0.25, between)
    for (is_kernel, a), (_, b), (_, found) in zip(*map(weights, (first, second, between)), strict=True):
        if is_kernel:
            b = b * np.linalg.norm(a) / np.linalg.norm(b)
        np.testing.assert_allclose(found, 0.75 * a + 0.25 * b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("different", [{"characters": "01234567"}, {"channels": (8, 8)}])
def test_networks_that_differ_are_refused(trained, different):
    first = in_folder(trained)
    second = replace(first, save_dir=f"{trained}/second", tfrecords_dir=f"{trained}/others", max_steps=1, **different)
    for split in SPLITS:
        produce(split, second, images=False)
    assert captcha_train.train(second) == 0
    with pytest.raises(UserError, match=f"differ in {next(iter(different))}; name two networks that do not"):
        interpolation.interpolate(trained / "save", trained / "second", 0.5, replace(first, save_dir=f"{trained}/new"))


def test_networks_of_varying_lengths_count_freely_whatever_their_config_says():
    fixed, free = (replace(SMALL, min_length=1, count_freely=each) for each in (False, True))
    assert interpolation._classes_and_layers(fixed) == interpolation._classes_and_layers(free)
    assert interpolation._classes_and_layers(fixed) != interpolation._classes_and_layers(SMALL)


def test_the_statistics_of_batch_normalization_are_those_of_the_images():
    network = captcha_model.build(SMALL)
    images = tf.constant(np.random.default_rng(1).integers(0, 256, (16, SMALL.height, SMALL.width, 1), np.uint8))
    interpolation.renew_statistics(network, [images, images])
    np.testing.assert_allclose(network(images, training=False), network(images, training=True), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("share", ["-0.1", "1.1", "nan"])
def test_a_share_out_of_range_is_refused(tmp_path, share):
    done = run("captcha_runs.interpolation", "a", "b", f"--share={share}", cwd=tmp_path)
    assert done.returncode == 2
    assert "is out of range; it must be from 0 to 1" in errors(done.stderr)[0]


def test_another_run_is_not_replaced(trained):
    before = files(trained / "save")
    message = r"save: holds the checkpoints of another run; write to another one \(--save_dir\)"
    with pytest.raises(UserError, match=message):
        interpolation.interpolate(trained / "save", trained / "save", 0.5, in_folder(trained))
    assert files(trained / "save") == before
