"""The network and its measures, in the classic vocabulary.

logits = inference(images, config)      images → a score for each character at each place
loss(logits, labels)                    what training makes small, for each captcha
evaluation(logits, labels)              which captchas, and which characters, are right
temperature(logits, labels)             what makes their softmax a probability to be believed
"""

from collections.abc import Callable, Iterable

from captcha_config import Config

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops


def grey(images):
    """Colours or grey, uint8 [batch, height, width, channels] → float32 [batch, height, width, 1].

    The numbers are whole, so that uint8 keeps them.
    """
    images, channels = ops.cast(images, "float32"), images.shape[-1]
    if channels == 1:
        return images
    # The mean, as a convolution: in LiteRT a quarter of the time of adding the channels up.
    return ops.round(ops.conv(images, np.full((1, 1, channels, 1), 1 / channels, "float32")))


def inference(images: keras.KerasTensor, config: Config, pool_first: bool = True) -> keras.KerasTensor:
    """Build the network.

    Args:
      images: uint8 [batch, height, width, channels], raw pixels, grey or RGB.
      pool_first: whether pooling comes before normalization, which then has a quarter to do: a third off the time of a
        training step. The other way round a converter makes one of convolution and normalization.
    Returns:
      logits: float32 [batch, length, classes].
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync  # on how many devices a batch is spread
    x = grey(images)  # the colour says nothing
    mean, variance = ops.moments(x, axes=(1, 2), keepdims=True)
    x = (x - mean) / ops.sqrt(variance + 1.0)  # dark or pale ink looks the same now
    if not config.full_size:
        x = layers.AveragePooling2D(2, padding="same")(x)  # [batch, 32, 64, 1]
    poolings = 4 if config.full_size else 3
    for i, filters in enumerate(config.channels):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        normalize = [layers.BatchNormalization(momentum=0.9, synchronized=replicas > 1)]
        pool = [layers.MaxPooling2D((2, 2) if i < poolings - 1 else (2, 1), padding="same")] if i < poolings else []
        for layer in pool + normalize if pool_first else normalize + pool:
            x = layer(x)
        x = layers.Activation("silu")(x)
    # [batch, 4, 16, 64]: 16 columns, each looks at some 8 pixels of the captcha's width, and around
    _, rows, columns, filters = x.shape
    x = layers.Permute((2, 1, 3))(x)
    x = layers.Reshape((columns, rows * filters))(x)  # [batch, 16, 256]

    # Where is each character? A look at all columns together gives each place its weights over the columns.
    where = layers.Dense(16, activation="relu")(x)  # [batch, 16, 16]
    where = layers.Dense(columns * config.length)(layers.Flatten()(where))
    where = layers.Softmax(axis=-1)(layers.Reshape((config.length, columns))(where))  # [batch, 4, 16]

    # Which one is it? One classifier serves all places: what it learns of a 7 at one, it knows at the others.
    values = layers.Dense(64, activation="relu")(x)  # [batch, 16, 64]
    seen = ops.matmul(where, values)  # [batch, 4, 64]
    return layers.Dense(len(config.characters), dtype="float32", name="classifier")(seen)


def build(config: Config, channels: int = 1, pool_first: bool = True) -> keras.Model:
    """The network as a model of images with that many channels. The weights depend neither on them nor on pool_first.

    They are float32 whatever config.precision is; that is what the layers compute in.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.precision if config.precision == "float32" else f"mixed_{config.precision}")
    try:
        images = keras.Input((config.height, config.width, channels), dtype="uint8")
        return keras.Model(images, inference(images, config, pool_first))
    finally:
        keras.config.set_dtype_policy(before)


def loss(logits: tf.Tensor, labels: tf.Tensor, label_smoothing: float = 0.0) -> tf.Tensor:
    """Softmax cross-entropy, the mean over the places of each captcha.

    Args:
      logits: float32 [batch, length, classes].
      labels: int32 [batch, length], each from 0 to classes - 1.
      label_smoothing: share of each label that is spread evenly over all classes (Szegedy et al. 2015,
        https://arxiv.org/abs/1512.00567, section 7).
    Returns:
      float32 [batch], nats.
    """
    classes = logits.shape[-1]
    targets = tf.one_hot(labels, classes) * (1.0 - label_smoothing) + label_smoothing / classes
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits), axis=-1)


def evaluation(logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """What is right.

    Returns:
      captchas: bool [batch], True where all characters are right.
      characters: bool [batch, length].
    """
    characters = tf.equal(tf.argmax(logits, axis=-1, output_type=labels.dtype), labels)
    return tf.reduce_all(characters, axis=-1), characters


@tf.function(reduce_retracing=True)
def forward(model: keras.Model, images: tf.Tensor) -> tf.Tensor:
    """The logits of a batch, not in training."""
    return model(images, training=False)


def read_all(forward: Callable, batches: Iterable) -> tuple[np.ndarray, np.ndarray]:
    """Run a network over everything once.

    Args:
      forward: images of a batch → logits.
      batches: of (images, labels), as captcha_data.evaluation_batches gives them.
    Returns:
      logits: float32 [count, length, classes].
      labels: int32 [count, length].
    """
    pairs = [(np.asarray(forward(images)), np.asarray(labels)) for images, labels in batches]
    return tuple(np.concatenate(part) for part in zip(*pairs, strict=True))


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """What to divide logits by, so that their softmax says how often a reading is right.

    Guo et al. 2017 (https://arxiv.org/abs/1706.04599): the number that makes the loss least on captchas that training
    did not see; looked for in steps of 5 %. A smoothing as of one wrong character (Platt 1999) keeps it finite where
    all were read right.

    Args:
      logits: float32 [count, length, classes], labels: int32 [count, length], as read_all gives them.
    """
    candidates = np.geomspace(0.1, 10, 95, dtype=np.float32)
    logits, labels, smoothing = tf.constant(logits), tf.constant(labels), 1 / (labels.size + 1)
    losses = [float(tf.reduce_mean(loss(logits / divisor, labels, smoothing))) for divisor in candidates]
    return float(candidates[np.argmin(losses)])
