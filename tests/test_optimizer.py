"""What a step does with the gradient."""

from dataclasses import replace

import captcha_model
from captcha_runs import optimizer

import keras
import numpy as np
import pytest
from conftest import SMALL

RNG = np.random.default_rng(1)
RATE = 0.1


def stepped(of: keras.Optimizer, value: np.ndarray, gradients: list[np.ndarray]) -> np.ndarray:
    """The value after a step with each of the gradients."""
    variable = keras.Variable(value)
    for gradient in gradients:
        of.apply([keras.ops.convert_to_tensor(gradient.reshape(value.shape))], [variable])
    return variable.numpy()


def reference(value: np.ndarray, gradients: list[np.ndarray]) -> np.ndarray:
    """Muon in NumPy, in double precision, as its author describes it."""
    value, momentum = value.astype(np.float64), np.zeros_like(value, np.float64)
    for gradient in gradients:
        momentum = 0.9 * momentum + gradient
        x = gradient + 0.9 * momentum  # Nesterov's
        x /= np.linalg.norm(x)
        for _ in range(5):
            a = x @ x.T
            x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
        value = value - RATE * 0.2 * np.sqrt(max(value.shape)) * x
    return value


def test_a_matrix_moves_as_the_author_of_muon_describes_it():
    value, *gradients = RNG.normal(size=(4, 18, 5)).astype(np.float32)
    assert stepped(optimizer.Muon(RATE), value, gradients) == pytest.approx(reference(value, gradients), abs=2e-4)


@pytest.mark.skipif(keras.version() < "3.13", reason="Keras's own Muon was another one then")
def test_a_matrix_moves_as_by_keras_own_muon():
    value, *gradients = RNG.normal(size=(4, 18, 5)).astype(np.float32)
    keras_muon = keras.optimizers.Muon(RATE, momentum=optimizer.MOMENTUM, weight_decay=None)
    ours = stepped(optimizer.Muon(RATE), value, gradients)
    assert ours == pytest.approx(stepped(keras_muon, value, gradients), abs=1e-5)


def test_a_kernel_moves_as_the_matrix_of_its_filters():
    value, *gradients = RNG.normal(size=(4, 18, 5)).astype(np.float32)
    matrix = stepped(optimizer.Muon(RATE), value, gradients)
    kernel = stepped(optimizer.Muon(RATE), value.reshape(3, 3, 2, 5), gradients)
    assert np.array_equal(kernel.reshape(18, 5), matrix)


def test_all_directions_of_a_kernels_update_are_about_equally_long():
    """Five iterations end between 0.7 and 1.2 (Jordan et al. 2024); the gradient's lengths differ by a factor of 50."""
    u, v = (np.linalg.qr(RNG.normal(size=(size, 5)))[0] for size in (18, 5))
    gradient = (u * [1, 0.5, 0.1, 0.05, 0.02] @ v.T).astype(np.float32)
    moved = stepped(optimizer.Muon(1.0), np.zeros((3, 3, 2, 5), np.float32), [gradient])
    lengths = np.linalg.svd(moved.reshape(18, 5), compute_uv=False) / (0.2 * np.sqrt(18))
    assert lengths.min() > 0.6 and lengths.max() < 1.25


def test_a_vector_moves_as_the_authors_of_adam_describe_it():
    """In double precision."""
    value, *gradients = RNG.normal(size=(4, 7)).astype(np.float32)
    expected, m, v = value.astype(np.float64), 0.0, 0.0
    for step, gradient in enumerate(gradients, 1):
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * np.square(gradient, dtype=np.float64)
        expected -= RATE * m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-7)
    assert stepped(optimizer.Muon(RATE), value, gradients) == pytest.approx(expected, abs=5e-6)


def test_kernels_and_matrices_are_muons_and_the_rest_is_adamws():
    model = captcha_model.build(SMALL)
    muon = optimizer.build(model, SMALL)
    velocities = [variable.shape for variable in muon.variables if "velocity" in variable.path]
    by_adamw = [
        variable.shape
        for variable in model.trainable_variables
        if len(variable.shape) == 1 or "classifier" in variable.path
    ]
    assert velocities == by_adamw and 0 < len(by_adamw) < len(model.trainable_variables)


def test_weights_decay_and_biases_and_normalization_do_not():
    model = captcha_model.build(SMALL)
    model.get_layer("amounts").kernel.assign(keras.ops.ones((16, 1)))  # begins at zero
    muon = optimizer.build(model, replace(SMALL, weight_decay=0.5, warmup_steps=0))
    before = [variable.numpy() for variable in model.trainable_variables]
    muon.apply([keras.ops.zeros(variable.shape) for variable in model.trainable_variables])
    for variable, was in zip(model.trainable_variables, before, strict=True):
        decays = not any(name in variable.path for name in ("bias", "gamma", "beta"))
        assert (np.abs(variable.numpy()).sum() < np.abs(was).sum()) == decays, variable.path


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero():
    config = replace(SMALL, max_steps=40, warmup_steps=10, learning_rate=0.02)
    rates = [float(optimizer.Cycle(config)(step)) for step in range(41)]
    assert rates[0] == 0 and rates[40] == pytest.approx(0, abs=1e-9) and rates[5] == pytest.approx(0.01)
    assert max(rates) == rates[10] == pytest.approx(0.02)
    assert rates[25] == pytest.approx(0.01)


def test_a_later_cycle_has_the_same_shape_over_fewer_steps():
    config = replace(SMALL, max_steps=40, warmup_steps=10, learning_rate=0.02)
    cycle = optimizer.Cycle(config, start=20)
    assert cycle(18) == 0  # float16: steps that overflowed did not count
    rates = [float(cycle(step)) for step in range(20, 41)]
    assert rates[0] == 0 and max(rates) == rates[10] == pytest.approx(0.02) and rates[-1] == pytest.approx(0, abs=1e-9)
