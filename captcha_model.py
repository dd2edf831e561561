"""The network and its measures, in the classic vocabulary.

logits = inference(images, config)      images → a score for each character at each place
loss(logits, labels)                    what training makes small, for each captcha
evaluation(logits, labels)              which captchas, and which characters, are right
"""

from captcha_config import Config

import keras
import tensorflow as tf
from keras import layers, ops


def grey(images):
    """RGB or grey → grey: uint8 [..., channels] → float32 [..., 1] with whole numbers, so that uint8 keeps it."""
    return ops.round(ops.mean(ops.cast(images, "float32"), axis=-1, keepdims=True))


def inference(images: keras.KerasTensor, config: Config) -> keras.KerasTensor:
    """Build the network.

    Args:
      images: uint8 [batch, height, width, channels], raw pixels, grey or RGB.
    Returns:
      logits: float32 [batch, length, classes].
    """
    x = grey(images)  # the colour says nothing
    mean, variance = ops.moments(x, axes=(1, 2), keepdims=True)
    x = (x - mean) / ops.sqrt(variance + 1.0)  # dark or pale ink looks the same now
    x = layers.AveragePooling2D(2, padding="same")(x)  # [batch, 32, 64, 1]
    for i, filters in enumerate(config.channels):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.ReLU()(x)
        if i < 3:
            x = layers.MaxPooling2D((2, 2) if i < 2 else (2, 1), padding="same")(x)
    # [batch, 4, 16, 64]: 16 columns, each looks at some 8 pixels of the captcha's width, and around
    _, rows, columns, filters = x.shape
    x = layers.Permute((2, 1, 3))(x)
    x = layers.Reshape((columns, rows * filters))(x)  # [batch, 16, 256]
    x = layers.Dropout(config.dropout)(x)

    # Where is each character? A look at all columns together gives each place its weights over the columns.
    where = layers.Dense(16, activation="relu")(x)  # [batch, 16, 16]
    where = layers.Dense(columns * config.length)(layers.Flatten()(where))
    where = layers.Softmax(axis=-1)(layers.Reshape((config.length, columns))(where))  # [batch, 4, 16]

    # Which one is it? One classifier serves all places: what it learns of a 7 at one, it knows at the others.
    values = layers.Dense(64, activation="relu")(x)  # [batch, 16, 64]
    seen = ops.matmul(where, values)  # [batch, 4, 64]
    return layers.Dense(len(config.characters))(seen)


def build(config: Config, channels: int = 1) -> keras.Model:
    """The network as a model of images with that many channels. The weights do not depend on them."""
    images = keras.Input((config.height, config.width, channels), dtype="uint8")
    return keras.Model(images, inference(images, config))


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


def score(model: keras.Model, batches: tf.data.Dataset) -> tuple[int, int, int]:
    """Count what the model reads right. Every image counts once.

    Args:
      batches: of (images, labels), as captcha_data.evaluation_batches gives them.
    Returns:
      (captchas with all characters right, right characters, captchas).
    """
    captchas = characters = count = 0
    for images, labels in batches:
        right, which = _evaluation_step(model, images, labels)
        captchas, characters, count = captchas + int(right), characters + int(which), count + len(labels)
    return captchas, characters, count


@tf.function(reduce_retracing=True)
def _evaluation_step(model: keras.Model, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    right = evaluation(model(images, training=False), labels)
    return tuple(tf.math.count_nonzero(part) for part in right)
