"""A moving average of a network's weights. Until the learning rate has fallen, it reads better than the weights do.

The weights of single steps scatter around a better network (Polyak and Juditsky 1992,
https://doi.org/10.1137/0330046); their average is nearer to it.
"""

import keras
import tensorflow as tf

DECAY = 0.95  # at most: an average of about the last 20 steps


@tf.function(autograph=False)
def update(averaged: keras.Model, model: keras.Model, steps: tf.Tensor) -> None:
    """Move the weights and statistics of `averaged` towards those of `model`, which has just made a step.

    Args:
      steps: float32 scalar, how many steps the model has made. At the beginning the average is of fewer steps: the
        decay is at most (1 + steps) / (10 + steps), as in tf.train.ExponentialMovingAverage.
    """
    rate = 1.0 - tf.minimum(DECAY, (1.0 + steps) / (10.0 + steps))
    for average, weight in zip(averaged.variables, model.variables, strict=True):
        average.value.assign_add((weight.value - average.value) * rate)
