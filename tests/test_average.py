"""The moving average of the weights, which is what a run evaluates, keeps and exports."""

from dataclasses import replace
from pathlib import Path

import captcha_model
import captcha_train
from captcha_runs import average

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL, checkpoint_values, in_folder


def constant_networks(*values: float) -> list[keras.Model]:
    """Networks in which every weight and statistic has that value."""
    networks = [captcha_model.build(SMALL) for _ in values]
    for network, value in zip(networks, values, strict=True):
        network.set_weights([np.full_like(weight, value) for weight in network.get_weights()])
    return networks


@pytest.mark.parametrize(("steps", "share"), [(1, 9 / 11), (26, 9 / 36), (1000, 0.05)])
def test_the_average_is_of_more_steps_later_on(steps, share):
    averaged, model = constant_networks(2.0, 6.0)
    average.update(averaged, model, tf.constant(steps, "float32"))
    for weight in averaged.get_weights():
        np.testing.assert_allclose(weight, 2.0 + 4.0 * share, rtol=1e-5)


def test_the_model_itself_stays_as_it_is():
    averaged, model = constant_networks(2.0, 6.0)
    average.update(averaged, model, tf.constant(5, "float32"))
    assert all((weight == 6.0).all() for weight in model.get_weights())


def test_a_checkpoint_has_the_average_to_read_with_and_the_weights_to_continue_with(folder):
    config = in_folder(folder, replace(SMALL, max_steps=12, save_every=1, keep_checkpoints=2))
    assert captcha_train.train(config) == 0
    (before, _), (after, weights) = (
        [values_of(folder / "save", f"ckpt-{step}", part) for part in ("model", "training")] for step in (11, 12)
    )
    assert not np.array_equal(after, weights)
    np.testing.assert_allclose(after, before + (weights - before) * 9 / 22, rtol=1e-4, atol=1e-6)


def values_of(save: Path, name: str, part: str) -> np.ndarray:
    """The first kernel in a part of a checkpoint."""
    return np.frombuffer(checkpoint_values(save, name)[f"{part}/0/.ATTRIBUTES/VARIABLE_VALUE"], np.float32)
