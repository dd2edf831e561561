"""The network, its loss and its metrics.

logits = inference(images, config)      images → logits for each position
loss(logits, labels)                    the loss of each captcha
evaluation(logits, labels, config)      which captchas, and which characters, are correct
logits, labels = predict(forward, ...)  the network's logits for many batches
"""

import math
from collections.abc import Callable, Iterable

from captcha_config import Config
from captcha_predict.decode import classes, decode, probabilities
from captcha_sets.pixels import grey

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

FINDER_WIDTH = 7  # columns that are looked at to find a character
BLOCK = 8  # most pixels of a row that are averaged at once


def inference(images: keras.KerasTensor, config: Config, pool_first: bool = True) -> keras.KerasTensor:
    """Build the network.

    Args:
      images: uint8 [batch, height, width, channels], raw pixels, grey or RGB.
      pool_first: whether pooling comes before normalization, which then has a quarter of the values to process: this
        saves a third of a training step. The other order lets a converter fold normalization into the convolution.
    Returns:
      logits: float32 [batch, length, classes]. Where lengths vary, the last class is the end: no character there.
    """
    x = ops.cast(images, "float32") if config.input_color else grey(images)
    mean, variance = ops.moments(x, axes=(1, 2, 3), keepdims=True)
    x = (x - mean) / ops.sqrt(variance + 1.0)  # dark and pale ink look the same now
    if config.input_downsampling:
        x = _halved(x)  # [batch, 32, 64, 1]
    x = _convolutions(x, config, pool_first)  # [batch, 4, 16, 64]

    # 16 columns: each sees some 8 pixels of the captcha's width, and what is around them.
    _, rows, columns, filters = x.shape
    x = layers.Permute((2, 1, 3))(x)
    x = layers.Reshape((columns, rows * filters))(x)  # [batch, 16, 256]

    # Where is each character? Each column says how much of a character it holds.
    finders, units = config.head_units
    amounts = layers.Conv1D(finders, FINDER_WIDTH, padding="same", activation="relu", name="finder")(x)
    amounts = _amounts(amounts, columns, config)  # [batch, 16, 1]
    weights = layers.Identity(dtype="float32", name="position_weights")(
        _weights(amounts, config.length)
    )  # [batch, 4, 16]

    # Which one is it? One classifier serves all positions: a 7 learnt at one is known at the others.
    values = layers.Dense(units, activation="relu", name="values")(x)  # [batch, 16, 64]
    context = ops.matmul(weights, values)  # [batch, 4, 64]
    return layers.Dense(len(classes(config)), dtype="float32", name="classifier")(context)


def _halved(x: keras.KerasTensor) -> keras.KerasTensor:
    """The mean of each 2x2 pixels, [batch, height / 2, width / 2, channels].

    Pooling images of one channel is slow. In TensorFlow, a convolution of 8 pixels at once, with weights of 1/4 and 0,
    takes a tenth of the time.
    """
    _, height, width, channels = x.shape
    if height % 2 or width % 2:
        return layers.AveragePooling2D(2, padding="same")(x)
    block = math.gcd(width, BLOCK)
    pairs = np.kron(np.eye(block // 2), [[1 / 4], [1 / 4]])  # [8, 4]
    kernel = np.tile(np.kron(pairs, np.eye(channels)), (2, 1, 1, 1))  # [2, 1, 8 * channels, 4 * channels]
    x = ops.reshape(x, (-1, height, width // block, block * channels))
    x = ops.conv(x, kernel.astype("float32"), strides=(2, 1))
    return ops.reshape(x, (-1, height // 2, width // 2, channels))


def _amounts(x: keras.KerasTensor, columns: int, config: Config) -> keras.KerasTensor:
    """How much of a character each column holds, float32 [batch, columns, 1]; at first the same for all columns.

    Where all captchas have the same length, the amounts add up to it, except with config.count_freely.
    """
    length = sum(config.lengths) / len(config.lengths)
    bias = keras.initializers.Constant(np.log(np.expm1(length / columns)))  # softplus gives length / columns
    amounts = layers.Dense(
        1, "softplus", kernel_initializer="zeros", bias_initializer=bias, dtype="float32", name="amounts"
    )(x)
    if config.min_length or config.count_freely:
        return amounts
    return amounts * (length / (ops.sum(amounts, axis=1, keepdims=True) + keras.config.epsilon()))


def _weights(amounts: keras.KerasTensor, length: int) -> keras.KerasTensor:
    """Which columns belong to which position: continuous integrate-and-fire.

    Counted from the left, position p takes what there is between p and p + 1 characters (Dong and Xu 2020,
    https://arxiv.org/abs/1905.11235).

    Args:
      amounts: float32 [batch, columns, 1].
    Returns:
      float32 [batch, length, columns]. A position's weights add up to 1, or to less where the captcha ends in it.
    """
    columns = amounts.shape[1]
    until = ops.matmul(np.tri(columns, dtype="float32"), amounts)  # characters up to the right edge of a column
    before = until - amounts  # up to its left edge
    position = np.arange(length, dtype="float32")  # [length]
    weights = ops.relu(ops.minimum(until, position + 1) - ops.maximum(before, position))  # [batch, columns, length]
    return ops.transpose(weights, (0, 2, 1))


def _convolutions(x: keras.KerasTensor, config: Config, pool_first: bool) -> keras.KerasTensor:
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    poolings = 3 if config.input_downsampling else 4
    for i, filters in enumerate(config.channels):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        normalize = layers.BatchNormalization(momentum=0.9, synchronized=replicas > 1)
        if i >= poolings:
            x = normalize(x)
        else:
            pool = layers.MaxPooling2D((2, 2) if i < poolings - 1 else (2, 1), padding="same")
            x = normalize(pool(x)) if pool_first else pool(normalize(x))
        x = layers.Activation("silu")(x)
    return x


def build(config: Config, channels: int = 0, pool_first: bool = True) -> keras.Model:
    """The network as a model of images with `channels` channels; 0: as many as training images have.

    Its weights depend on neither `channels` nor `pool_first`. They are float32; the layers compute in config.precision.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.precision if config.precision == "float32" else f"mixed_{config.precision}")
    try:
        images = keras.Input((config.height, config.width, channels or config.input_channels), dtype="uint8")
        return keras.Model(images, inference(images, config, pool_first))
    finally:
        keras.config.set_dtype_policy(before)


def loss(logits: tf.Tensor, labels: tf.Tensor, label_smoothing: float = 0.0) -> tf.Tensor:
    """Softmax cross-entropy, averaged over the positions of each captcha.

    Args:
      logits: float32 [batch, length, classes].
      labels: int32 [batch, length], each from 0 to classes - 1.
      label_smoothing: share of each label that is spread evenly over all classes (Szegedy et al. 2015,
        https://arxiv.org/abs/1512.00567, section 7).
    Returns:
      float32 [batch], nats.
    """
    count = logits.shape[-1]
    targets = tf.one_hot(labels, count) * (1.0 - label_smoothing) + label_smoothing / count
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits), axis=-1)


def evaluation(logits: np.ndarray, labels: np.ndarray, config: Config) -> tuple[np.ndarray, np.ma.MaskedArray]:
    """What is correct.

    Args:
      logits: float32 [batch, length, classes].
      labels: int [batch, length].
    Returns:
      captchas: bool [batch], True where every character is correct.
      characters: bool [batch, length]; masked where neither the captcha nor the prediction has a character.
    """
    predicted, _ = decode(probabilities(np.asarray(logits), config), config)
    return correct(predicted, labels, config)


def correct(predicted: np.ndarray, labels: np.ndarray, config: Config) -> tuple[np.ndarray, np.ma.MaskedArray]:
    """What is correct, as `evaluation` returns it, of predicted labels, int [batch, length]."""
    labels, end = np.asarray(labels), len(config.characters)
    characters = predicted == labels
    return characters.all(axis=-1), np.ma.array(characters, mask=(predicted == end) & (labels == end))


@tf.function(reduce_retracing=True)
def forward(model: keras.Model, images: tf.Tensor) -> tf.Tensor:
    """The logits of a batch, outside training."""
    return model(images, training=False)


def predict(logits_of: Callable, batches: Iterable) -> tuple[np.ndarray, np.ndarray]:
    """Run a network over all batches once.

    Args:
      logits_of: a function from the images of a batch to its logits.
      batches: of (images, labels), as captcha_data.evaluation_batches yields them.
    Returns:
      logits: float32 [count, length, classes].
      labels: int32 [count, length].
    """
    pairs = [(np.asarray(logits_of(images)), np.asarray(labels)) for images, labels in batches]
    return tuple(np.concatenate(part) for part in zip(*pairs, strict=True))
