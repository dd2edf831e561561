"""The optimizer: Muon for matrices and kernels, AdamW for the rest; and the learning rate."""

import math

from captcha_config import Config

import keras
import tensorflow as tf
from keras import KerasTensor, Variable, ops

MOMENTUM = 0.9  # better than the usual 0.95 for so few steps
RMS_RATE = 0.2  # size of Muon's updates, so that one learning rate serves AdamW too (https://arxiv.org/abs/2502.16982)
ITERATIONS = 5  # of the orthogonalization
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7  # of AdamW
ADAMW_LAYER = "classifier"  # the last layer stays with AdamW


class Muon(keras.optimizers.Optimizer):
    """Muon for matrices and for the kernels of convolutions; AdamW for the classifier, biases and normalization.

    Muon makes all directions of a matrix's update about equally long, so that rare things are learnt as fast as common
    ones (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/). Keras's own Muon leaves the kernels to AdamW,
    and differs between the versions of Keras that Python 3.10 and 3.13 take.
    """

    def __init__(self, learning_rate: "Cycle | float", weight_decay: float = 0.0) -> None:
        super().__init__(learning_rate)
        self._decay = weight_decay  # Keras's own would trace the learning rate's schedule again for each variable

    def build(self, variables: list[Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._momentums = [self.add_variable_from_reference(variable, name="momentum") for variable in variables]
        self._velocities = [
            None if _is_matrix(variable) else self.add_variable_from_reference(variable, name="velocity")
            for variable in variables
        ]

    def update_step(self, gradient: KerasTensor, variable: Variable, learning_rate: KerasTensor) -> None:
        if len(variable.shape) > 1:  # neither biases nor normalization
            self.assign_sub(variable, variable * (self._decay * learning_rate))
        index = self._get_variable_index(variable)
        momentum, velocity = self._momentums[index], self._velocities[index]
        if velocity is None:
            self._muon_step(gradient, variable, learning_rate, momentum)
        else:
            self._adamw_step(gradient, variable, learning_rate, momentum, velocity)

    def _muon_step(self, gradient, variable, learning_rate, momentum) -> None:
        self.assign_add(momentum, gradient + momentum * (MOMENTUM - 1))
        nesterov = gradient + MOMENTUM * momentum
        matrix = ops.reshape(nesterov, (-1, variable.shape[-1]))  # a kernel: [rows * columns * filters in, filters out]
        update = ops.reshape(orthogonalized(matrix), variable.shape)
        self.assign_sub(variable, learning_rate * update * RMS_RATE * math.sqrt(max(matrix.shape)))

    def _adamw_step(self, gradient, variable, learning_rate, momentum, velocity) -> None:
        """Adam (Kingma and Ba 2015, https://arxiv.org/abs/1412.6980); update_step has applied the weight decay."""
        step = ops.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(  # a dozen operations in one, which the first step need not trace
            var=variable.handle,
            m=momentum.value.handle,
            v=velocity.value.handle,
            beta1_power=BETA_1**step,
            beta2_power=BETA_2**step,
            lr=learning_rate,
            beta1=BETA_1,
            beta2=BETA_2,
            epsilon=EPSILON,
            grad=gradient,
        )


def _is_matrix(variable: Variable) -> bool:
    return len(variable.shape) > 1 and ADAMW_LAYER not in variable.path


def orthogonalized(matrix: KerasTensor) -> KerasTensor:
    """The matrix [m, n] with singular values near 1."""
    if matrix.shape[0] <= matrix.shape[1]:
        return _newton_schulz(matrix)
    return ops.transpose(_newton_schulz(ops.transpose(matrix)))


@tf.function(autograph=False, input_signature=[tf.TensorSpec([None, None])])  # traced once for all matrices
def _newton_schulz(x: tf.Tensor) -> tf.Tensor:
    """Five steps of a quintic Newton-Schulz iteration. With m <= n, what it computes on the way is small, [m, m].

    The coefficients are those of Jordan et al. They leave the singular values between 0.7 and 1.2, which is enough.
    """
    x = x / (tf.norm(x) + 1e-7)  # so that no singular value exceeds 1
    for _ in range(ITERATIONS):
        square = tf.matmul(x, x, transpose_b=True)
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x


class Cycle(keras.optimizers.schedules.LearningRateSchedule):
    """A warm-up, then a cosine that reaches zero at max_steps; the whole begins at step `start`."""

    def __init__(self, config: Config, start: int = 0) -> None:
        steps = config.max_steps - start
        warmup_steps = min(config.warmup_steps, steps - 1)
        self._start = start
        self._cosine = keras.optimizers.schedules.CosineDecay(
            0.0, steps - warmup_steps, warmup_target=config.learning_rate, warmup_steps=warmup_steps
        )

    def __call__(self, step: KerasTensor) -> KerasTensor:
        return self._cosine(ops.maximum(step - self._start, 0))  # a step that overflowed does not count


def build(model: keras.Model, config: Config, cycle_start: int = 0) -> keras.Optimizer:
    """The optimizer, with a state for each of the model's weights.

    Args:
      cycle_start: the step at which the learning rate's schedule begins.
    """
    optimizer = Muon(Cycle(config, cycle_start), config.weight_decay)
    if config.precision == "float16":
        # Its gradients would vanish otherwise (Micikevicius et al. 2017, https://arxiv.org/abs/1710.03740).
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)  # before a restore, so that there is something to restore into
    return optimizer
