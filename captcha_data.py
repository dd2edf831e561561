"""The input pipeline: TFRecords → batches of images and labels.

records = open_pixels(manifest, config)         a split: checked, decoded once, mapped from the disk
training_batches(records, first_step, config)   shuffled and augmented; (seed, step) alone decide a batch
on_the_fly_batches(first_step, config, ...)     the same, of captchas drawn on demand
evaluation_batches(records, batch_size)         every image once
iterate(strategy, dataset_of)                   batches for every device of a machine
"""

import contextlib
import functools
import gc
import math
import sys
from collections.abc import Callable, Iterator

from captcha_cli import UserError
from captcha_config import Config
from captcha_sets.draw import TRAIN, check_drawing
from captcha_sets.pixels import arrays, open_pixels, seen, verified_records
from captcha_sets.pool import draw_many

import numpy as np
import tensorflow as tf

__all__ = ["check_drawable", "evaluation_batches", "iterate", "on_the_fly_batches", "open_pixels", "training_batches"]

SHUFFLE_ROUNDS = 12  # of TensorFlow's index shuffle; its default of 4 leaves runs of neighbours where seeds are small


def training_batches(
    records: np.memmap,
    first_step: int,
    config: Config,
    part: tf.distribute.InputContext | None = None,
    raised: list[Exception] | None = None,
) -> tf.data.Dataset:
    """Batches for the steps first_step, first_step + 1, … without end.

    Which images a step gets, and how they are augmented, depends on (config.seed, step) alone, so that resuming
    needs only the step's number. First shuffle, then repeat: every image comes once before any comes again.

    Args:
      records: of the training split.
      part: which replicas this machine feeds, where there are several. A batch is cut into one part per replica, and
        comes as these parts, one after the other: together they are the batch that a single device would get.
      raised: a list that collects exceptions of Python code, before TensorFlow turns them into errors of its own.
    Yields:
      images: uint8 [batch / replicas, height, width, channels].
      labels: int32 [batch / replicas, length].
    """
    part = part or tf.distribute.InputContext()
    replicas = part.num_replicas_in_sync // part.num_input_pipelines  # on this machine
    count, size = len(records), config.batch_size // part.num_replicas_in_sync
    last = tf.constant(count - 1, tf.int64)
    shapes = ([size, config.height, config.width, config.input_channels], [size, config.length])

    def read(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with _noted(raised):
            return verified_records(records, index)

    def batch_of(turn: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        step, replica = turn // replicas, part.input_pipeline_id * replicas + turn % replicas
        start = replica * size
        place = step * config.batch_size + start + tf.range(size, dtype=tf.int64)  # [size], through all epochs
        epoch = place // count
        seed = tf.stack([tf.fill([size], tf.constant(config.seed, tf.int64)), epoch, tf.zeros_like(epoch)], axis=1)
        index = shuffled(place % count, seed, last)
        images, labels = tf.numpy_function(read, [index], (tf.uint8, tf.int32), stateful=False)
        images, labels = (tf.ensure_shape(*pair) for pair in zip((images, labels), shapes, strict=True))
        return augmented(images, step, start, config, raised), labels

    turns = tf.data.Dataset.counter(start=first_step * replicas)
    return turns.map(batch_of, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def shuffled(index: tf.Tensor, seed: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
    """The images at given places of an epoch: a random permutation of 0 to `last`, computed and not stored.

    Args:
      index: int64 [count].
      seed: int64 [3] or [count, 3]. (tf.random.experimental.index_shuffle takes only one.)
      last: int64 [].
    """
    return tf.raw_ops.RandomIndexShuffle(index=index, seed=seed, max_index=last, rounds=SHUFFLE_ROUNDS)


def augmented(
    images: tf.Tensor, step: tf.Tensor, start: tf.Tensor, config: Config, raised: list[Exception] | None = None
) -> tf.Tensor:
    """Shift, rotate and zoom each image at random. What enters at an edge mirrors what is beside it.

    Args:
      images: uint8 [count, height, width, channels], those of the step's batch from `start` on.
      raised: as in training_batches.
    """
    seed, shape = tf.constant(config.seed, tf.int64), [config.batch_size, 2]
    shifts = tf.random.stateless_uniform(shape, [seed, step], -config.shift, config.shift + 1, tf.int32)
    end = start + images.shape[0]
    if not (config.rotate or config.zoom):
        shift = functools.partial(_shifted, most=config.shift, raised=raised)
        shifted = tf.numpy_function(shift, [images, shifts[start:end]], tf.uint8, stateful=False)
        return tf.ensure_shape(shifted, images.shape)
    shares = tf.random.stateless_uniform(shape, [seed, -1 - step], -1.0, 1.0)
    up, left = tf.unstack(tf.cast(shifts, tf.float32), axis=1)  # [batch], pixels
    turn, zoom = tf.unstack(shares, axis=1)
    angle, zoom = turn * math.radians(config.rotate), 1.0 + zoom * config.zoom
    cos, sin = tf.cos(angle) * zoom, tf.sin(angle) * zoom
    x, y = (config.width - 1) / 2, (config.height - 1) / 2  # the centre only shifts
    rows = [cos, -sin, x - x * cos + y * sin + left, sin, cos, y - x * sin - y * cos + up, 0.0, 0.0]
    transforms = tf.stack([tf.broadcast_to(row, [config.batch_size]) for row in rows], axis=1)  # [batch, 8]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms[start:end],
        output_shape=[config.height, config.width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )


def _shifted(images: np.ndarray, shifts: np.ndarray, most: int, raised: list[Exception] | None) -> np.ndarray:
    """Shift each image by whole pixels. This takes a fifth of the time of TensorFlow's projective transform.

    Args:
      images: uint8 [count, height, width, channels].
      shifts: int32 [count, 2], up and left, from -most to most.
      raised: as in training_batches.
    """
    _, height, width, _ = images.shape
    with _noted(raised):
        padded = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)), "symmetric")
        windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
        top, left = most + shifts.T
        shifted = windows[np.arange(len(images)), top, left]  # [count, channels, height, width]
        return np.moveaxis(shifted, 1, -1)


def check_drawable(manifest: dict, config: Config) -> None:
    """Raise UserError if captchas like those of a split cannot be drawn on demand, or not reproducibly."""
    if manifest["source"] is not None:
        raise UserError(
            f"on_the_fly: the {manifest['split']} split was imported from {manifest['source']}, which cannot be drawn;"
            " leave out --on_the_fly"
        )
    if not manifest["repeatable"]:
        raise UserError(
            f"on_the_fly: {config.drawer} is not deterministic, so a stopped run could not be resumed;"
            " leave out --on_the_fly"
        )
    check_drawing(config)


def on_the_fly_batches(
    first_step: int,
    config: Config,
    part: tf.distribute.InputContext | None = None,
    raised: list[Exception] | None = None,
) -> tf.data.Dataset:
    """Like training_batches, but the captchas are drawn on demand, on config.workers processes.

    Captcha i of the training split belongs to step i // batch_size. They are not augmented: each is new anyway. Each
    machine draws its own part of a batch.

    Args:
      part, raised: as in training_batches.
    """
    part = part or tf.distribute.InputContext()
    size = config.batch_size // part.num_replicas_in_sync
    mine = range(first_step * config.batch_size + part.input_pipeline_id, sys.maxsize, part.num_input_pipelines)
    images = tf.TensorSpec([size, config.height, config.width, 3], tf.uint8)
    labels = tf.TensorSpec([size, config.length], tf.int32)

    def drawn() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        with _noted(raised), contextlib.closing(draw_many(mine, TRAIN, config)) as captchas:
            yield from arrays(captchas, size, config)

    batches = tf.data.Dataset.from_generator(drawn, output_signature=(images, labels))
    return batches.map(lambda images, labels: (seen(images, config), labels)).prefetch(tf.data.AUTOTUNE)


@contextlib.contextmanager
def _noted(raised: list[Exception] | None) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if raised is not None:
            raised.append(error)
        raise


def iterate(strategy: tf.distribute.Strategy, dataset_of: Callable) -> Iterator[tuple]:
    """Batches for the strategy's devices on this machine, without end.

    Args:
      dataset_of: a function (part, raised) → dataset, such as training_batches with its first arguments bound.
    Raises:
      Whatever Python code in the pipeline raised, as it was raised.
    """
    raised: list[Exception] = []
    batches = iter(strategy.distribute_datasets_from_function(lambda part: dataset_of(part, raised)))
    try:
        yield from batches
    except tf.errors.OpError:
        if not raised:
            raise
    finally:
        # It is part of a reference cycle. Left until Python ends, it would wait for its threads, and they for Python.
        del batches
        gc.collect()
    if raised:
        raise raised[0]


def evaluation_batches(records: np.memmap, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every record once, in order; the last batch holds what is left.

    Yields:
      images: uint8 [batch, height, width, channels].
      labels: int32 [batch, length].
    """
    for start in range(0, len(records), batch_size):
        yield verified_records(records, np.arange(start, min(start + batch_size, len(records))))
