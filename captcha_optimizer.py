"""What a step does with the gradient: Muon for matrices and kernels, AdamW for the rest; warm-up, then a cosine."""

import math

from captcha_config import Config

import keras
from keras import KerasTensor, Variable, ops

MOMENTUM = 0.9  # in so few steps better than the usual 0.95


class Muon(keras.optimizers.Muon):
    """Keras's Muon, which leaves the kernels of convolutions to AdamW; here they are matrices, too.

    All directions of a matrix's update are made equally long, so that what is rarely seen is learnt as fast as what is
    common (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/). A kernel is taken as the matrix
    [rows * columns * filters in, filters out].
    """

    def _should_use_adamw(self, variable: Variable) -> bool:
        return len(variable.shape) != 4 and super()._should_use_adamw(variable)

    def zeropower_via_newtonschulz5(self, x: KerasTensor, steps: int) -> KerasTensor:
        matrix = super().zeropower_via_newtonschulz5(ops.reshape(x, (-1, x.shape[-1])), steps)
        return ops.reshape(matrix, x.shape)

    def lr_adjust(self, x: KerasTensor) -> KerasTensor:
        return x * self.rms_rate * math.sqrt(max(math.prod(x.shape[:-1]), x.shape[-1]))  # as Keras does for a matrix


def build(model: keras.Model, config: Config) -> keras.Optimizer:
    """The optimizer with a state for each of the model's weights; the learning rate ends at 0."""
    warmup_steps = min(config.warmup_steps, config.max_steps - 1)
    learning_rate = keras.optimizers.schedules.CosineDecay(
        0.0, config.max_steps - warmup_steps, warmup_target=config.learning_rate, warmup_steps=warmup_steps
    )
    decay = {"weight_decay": config.weight_decay, "adam_weight_decay": config.weight_decay}
    optimizer = Muon(learning_rate, momentum=MOMENTUM, exclude_layers=["classifier"], **decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    if config.precision == "float16":
        # Its gradients would vanish otherwise (Micikevicius et al. 2017, https://arxiv.org/abs/1710.03740).
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)  # before a restore, so that there is something to restore into
    return optimizer
