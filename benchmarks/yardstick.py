"""The unit that times of training are given in: a step of the network that this project's ancestor had.

    python benchmarks/yardstick.py

128x64 in colour, three 5x5 convolutions of 48, 64 and 128 filters, a dense layer of 2,048, batches of 64, Adam,
float32, no XLA. The ancestor took 10,000 of these steps to read about 70 %. It imports nothing of the trainer, so that
work on the trainer's step does not change the unit. Machines differ and drift; the ratio hardly does.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import layers

BATCH_SIZE = 64
FILTERS = (48, 64, 128)
UNITS = 2048


def network() -> keras.Model:
    """float32 images [batch, 64, 128, 3] → logits [batch, 4, 10]."""
    model = keras.Sequential([keras.Input((64, 128, 3))])
    for filters in FILTERS:
        model.add(layers.Conv2D(filters, 5, padding="same", activation="relu"))
        model.add(layers.MaxPooling2D(2, padding="same"))
    model.add(layers.Flatten())
    model.add(layers.Dense(UNITS, activation="relu"))
    model.add(layers.Dense(40))
    model.add(layers.Reshape((4, 10)))
    return model


def train_step(model: keras.Model) -> Callable:
    """A function (images, labels) → (loss, norm of its gradient)."""
    adam = keras.optimizers.Adam(1e-5)
    adam.build(model.trainable_variables)

    @tf.function
    def step(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, model(images, training=True))
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        adam.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss, tf.linalg.global_norm(gradients)

    return step


def yardstick_seconds(steps: int = 5) -> float:
    """Seconds of one step: the median of `steps`, after a first one that traces."""
    step = train_step(network())
    rng = np.random.default_rng(1)
    images = tf.constant(rng.random((BATCH_SIZE, 64, 128, 3), np.float32))
    labels = tf.constant(rng.integers(0, 10, (BATCH_SIZE, 4)), tf.int32)
    seconds = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        float(step(images, labels)[0])
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    print(f"yardstick step: {yardstick_seconds():.3f} s")
