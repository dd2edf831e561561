"""What a step does with the gradient."""

from dataclasses import replace

import captcha_model
import captcha_optimizer

import keras
import numpy as np
import pytest
from conftest import SMALL

RNG = np.random.default_rng(1)


def stepped(optimizer: keras.Optimizer, value: np.ndarray, gradients: list[np.ndarray]) -> np.ndarray:
    variable = keras.Variable(value)
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient.reshape(value.shape))], [variable])
    return variable.numpy()


def test_a_kernel_moves_as_keras_moves_the_same_matrix():
    value, *gradients = RNG.normal(size=(4, 18, 5)).astype(np.float32)
    how = {"learning_rate": 0.1, "momentum": 0.9}
    matrix = stepped(keras.optimizers.Muon(**how), value, gradients)
    kernel = stepped(captcha_optimizer.Muon(**how), value.reshape(3, 3, 2, 5), gradients)
    assert kernel.reshape(18, 5) == pytest.approx(matrix, rel=1e-5)


def test_all_directions_of_a_kernels_update_are_about_equally_long():
    """The five iterations end between 0.7 and 1.2 (Jordan et al. 2024); those of the gradient are 1 to 50."""
    u, v = (np.linalg.qr(RNG.normal(size=(size, 5)))[0] for size in (18, 5))
    gradient = (u * [1, 0.5, 0.1, 0.05, 0.02] @ v.T).astype(np.float32)
    start = np.zeros((3, 3, 2, 5), np.float32)
    moved = stepped(captcha_optimizer.Muon(1.0, weight_decay=0.0, rms_rate=1 / np.sqrt(18)), start, [gradient])
    lengths = np.linalg.svd(moved.reshape(18, 5), compute_uv=False)
    assert lengths.min() > 0.6 and lengths.max() < 1.25


def test_kernels_and_matrices_are_muons_and_the_rest_is_adamws():
    model = captcha_model.build(SMALL)
    optimizer = captcha_optimizer.build(model, SMALL)
    for variable in model.trainable_variables:
        by_adamw = optimizer.adam_velocities[optimizer._get_variable_index(variable)] is not None
        assert by_adamw == (len(variable.shape) == 1 or "classifier" in variable.path), variable.path


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero():
    config = replace(SMALL, max_steps=40, warmup_steps=10, learning_rate=0.02)
    optimizer = captcha_optimizer.build(captcha_model.build(config), config)
    rates = []
    for step in range(41):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    assert rates[0] == 0 and rates[40] == pytest.approx(0, abs=1e-9) and rates[5] == pytest.approx(0.01)
    assert max(rates) == rates[10] == pytest.approx(0.02)
    assert rates[25] == pytest.approx(0.01)
