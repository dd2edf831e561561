"""The network between two trained ones."""

from dataclasses import replace

import captcha_model
import captcha_train
from captcha_cli import UserError
from captcha_runs import checkpoint_files, checkpoints, interpolation

import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL, errors, files, in_folder, run

STATISTICS = ("moving_mean", "moving_variance")


def weights(config) -> list[np.ndarray]:
    """The weights of the best network in config.save_dir, without the statistics of batch normalization."""
    metadata, trained = checkpoints.best(config, ())
    network = captcha_model.build(trained)
    checkpoint_files.restore(metadata, network)
    return [weight.numpy() for weight in network.weights if weight.name not in STATISTICS]


def test_its_weights_lie_between_those_of_the_two(trained):
    first = in_folder(trained)
    second = replace(first, save_dir=f"{trained}/second", init_from=first.save_dir, max_steps=4)
    assert captcha_train.train(second) == 0
    between = replace(first, save_dir=f"{trained}/between")
    interpolation.interpolate(trained / "save", trained / "second", 0.25, between)
    for a, b, found in zip(*map(weights, (first, second, between)), strict=True):
        np.testing.assert_allclose(found, 0.75 * a + 0.25 * b, rtol=1e-5, atol=1e-7)


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
