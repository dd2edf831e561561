"""What a step does with the gradient: Muon for matrices and kernels, AdamW for the rest; and the learning rate."""

import math

from captcha_config import Config

import keras
from keras import KerasTensor, Variable, ops

MOMENTUM = 0.9  # in so few steps better than the usual 0.95


class Muon(keras.optimizers.Muon):
    """Keras's Muon, extended to the kernels of convolutions, which it leaves to AdamW.

    Muon makes all directions of a matrix's update equally long, so that rare things are learnt as fast as common ones
    (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/). A kernel is taken as the matrix
    [rows * columns * filters in, filters out]. The three methods are hooks of Keras's own class; requirements.txt
    pins versions that call them, and a test sees that they do.
    """

    def _should_use_adamw(self, variable: Variable) -> bool:
        return len(variable.shape) != 4 and super()._should_use_adamw(variable)

    def zeropower_via_newtonschulz5(self, x: KerasTensor, steps: int) -> KerasTensor:
        matrix = super().zeropower_via_newtonschulz5(ops.reshape(x, (-1, x.shape[-1])), steps)
        return ops.reshape(matrix, x.shape)

    def lr_adjust(self, x: KerasTensor) -> KerasTensor:
        return x * self.rms_rate * math.sqrt(max(math.prod(x.shape[:-1]), x.shape[-1]))  # as Keras does for a matrix


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
        return self._cosine(step - self._start)

    def get_config(self) -> dict:
        return {"start": self._start, "cosine": self._cosine.get_config()}


def build(model: keras.Model, config: Config, cycle_start: int = 0) -> keras.Optimizer:
    """The optimizer, with a state for each of the model's weights.

    Args:
      cycle_start: the step at which the learning rate's schedule begins.
    """
    decay = {"weight_decay": config.weight_decay, "adam_weight_decay": config.weight_decay}
    schedule = Cycle(config, cycle_start)
    optimizer = Muon(schedule, momentum=MOMENTUM, exclude_layers=["classifier"], **decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    if config.precision == "float16":
        # Its gradients would vanish otherwise (Micikevicius et al. 2017, https://arxiv.org/abs/1710.03740).
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)  # before a restore, so that there is something to restore into
    return optimizer
