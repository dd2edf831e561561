"""The training batches of a set that is larger than memory: its images are decoded once, onto the disk.

batches(manifest, first_step, config)       as captcha_data.training_batches, for any number of images
order(manifest, config)                     in what order they come, in words

In each epoch the shards are shuffled and then read in windows: as many of them at a time as the memory budget allows.
Within a window all images are shuffled. So every image comes once an epoch, (seed, step) decide which images a step
gets, and to go on after a stop takes no more than reading one window. A window is small where the whole set is
large: its shards, though, are others in every epoch.
"""

import contextlib
import hashlib
import itertools
import math
import uuid
from collections.abc import Iterator

import captcha_data
from captcha_config import Config, UserError
from captcha_draw import track

import tensorflow as tf
from tensorflow.io.gfile import exists, join, listdir, makedirs, remove, rename

WINDOWS = 4  # in memory at a time: one is used, one waits, one is being read, one is being shuffled


def order(manifest: dict, config: Config) -> str:
    """What else but the seed decides the order. A run cannot go on in another."""
    if captcha_data.fits(manifest, config):
        return "all shuffled together"
    return f"shuffled in windows of {config.memory_budget / WINDOWS:g} MiB"


def batches(
    manifest: dict, first_step: int, config: Config, part: tf.distribute.InputContext | None = None
) -> tf.data.Dataset:
    """Batches for the steps first_step, first_step + 1, … without end, for a set of any size.

    Args, yields: as captcha_data.training_batches. Each machine reads all images, and passes on those of its part.
    Raises:
      UserError: a shard is missing or damaged, or takes more than a window; a label is not of the config's characters;
        the decoded images cannot be written beside the set.
      tf.errors.DataLossError: while iterating: what was decoded was damaged since.
    """
    part = part or tf.distribute.InputContext()
    replicas = part.num_replicas_in_sync // part.num_input_pipelines  # of this machine
    size, shape = config.batch_size // part.num_replicas_in_sync, (config.height, config.width, 1)
    seed = tf.constant(config.seed, tf.int64)
    counts = [shard["records"] for shard in manifest["shards"]]
    most = int(config.memory_budget * captcha_data.MIB / WINDOWS / (config.height * config.width))  # images in a window
    if max(counts) > most:
        raise UserError(
            f"{manifest['split']}: a shard of {max(counts)} images takes more than a {WINDOWS}th of memory_budget"
            f" {config.memory_budget} MiB; raise it, or produce the set with --images_per_shard {most}"
        )
    paths = _decode(manifest, config)

    def permutation(count: tf.Tensor, epoch: tf.Tensor, what: tf.Tensor) -> tf.Tensor:
        return captcha_data.shuffled(tf.range(count), tf.stack([seed, epoch, what]), count - 1)

    def windows() -> Iterator[tuple[list[str], int, int, int]]:
        """Paths of a window's shards, its epoch and number, and how many of its images were used before."""
        first, skip = divmod(first_step * config.batch_size, sum(counts))
        for epoch in itertools.count(first):
            shards = permutation(*(tf.constant(number, tf.int64) for number in (len(paths), epoch, 1))).numpy()
            for number, window in enumerate(_windows(shards, counts, most)):
                images = sum(counts[i] for i in window)
                if skip < images:
                    yield [paths[i] for i in window], epoch, number, skip
                skip = max(0, skip - images)

    def read(files: tf.Tensor, epoch: tf.Tensor, number: tf.Tensor, skip: tf.Tensor) -> tf.Tensor:
        """The window's records in their order."""
        records = tf.data.TFRecordDataset(files).batch(most).get_single_element()
        return tf.gather(records, permutation(tf.size(records, tf.int64), epoch, number + 2)[skip:])

    def parts(step: tf.Tensor, records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """A batch's parts that are this machine's."""
        mine = part.input_pipeline_id * replicas + tf.range(replicas, dtype=tf.int64)
        return tf.repeat(step, replicas), mine * size, tf.gather(tf.reshape(records, [-1, size]), mine)

    def batch_of(step: tf.Tensor, start: tf.Tensor, records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        plain = tf.io.decode_raw(records, tf.uint8, fixed_length=4 * config.length + math.prod(shape))
        labels = tf.bitcast(tf.reshape(plain[:, : 4 * config.length], [size, config.length, 4]), tf.int32)
        images = tf.reshape(plain[:, 4 * config.length :], [size, *shape])
        return captcha_data.augmented(images, step, start, config), labels

    number = tf.TensorSpec([], tf.int64)
    signature = (tf.TensorSpec([None], tf.string), number, number, number)
    records = tf.data.Dataset.from_generator(windows, output_signature=signature).map(read).prefetch(1)
    records = records.rebatch(config.batch_size, drop_remainder=True)
    turns = tf.data.Dataset.zip(tf.data.Dataset.counter(first_step), records).map(parts).unbatch()
    return turns.map(batch_of, tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def _windows(order: list[int], counts: list[int], most: int) -> Iterator[list[int]]:
    """Cut an order of shards where the next one would make a window of more than `most` images."""
    window, taken = [], 0
    for i in order:
        if taken + counts[i] > most:
            yield window
            window, taken = [], 0
        window.append(i)
        taken += counts[i]
    yield window


def folder(split: str, config: Config) -> str:
    """Where the decoded images of a split are: beside its shards."""
    return join(config.tfrecords_dir, f".{split}.decoded")


def _decode(manifest: dict, config: Config) -> list[str]:
    """For each shard a file of its images as plain pixels, made where it is not there yet; returns their paths.

    A record is the labels, int32, and the grey pixels, uint8: reading it costs next to nothing.
    """
    split, where = manifest["split"], folder(manifest["split"], config)
    shards = captcha_data.check_shards(split, manifest, config)
    keys = [f"{shard['sha256']} {config.characters}" for shard in manifest["shards"]]  # all that decides the content
    names = [f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.tfrecord" for key in keys]
    paths = [join(where, name) for name in names]
    try:
        makedirs(where)
        there = set(listdir(where))
        missing = [i for i, name in enumerate(names) if name not in there]
        total = sum(manifest["shards"][i]["records"] for i in missing)
        progress = track(range(total), total, f"decoding {split}, once")
        for i in missing:
            if exists(paths[i]):  # by now: other workers may be at it, too
                continue
            new = f"{paths[i]}.{uuid.uuid4().hex}"
            with tf.io.TFRecordWriter(new) as writer:
                for images, labels in captcha_data.decoded(split, shards[i : i + 1], config):
                    for image, label, _ in zip(images, labels.astype("<i4"), progress, strict=False):
                        writer.write(label.tobytes() + image.tobytes())
            with contextlib.suppress(tf.errors.NotFoundError):  # another worker has all, and has swept this away
                rename(new, paths[i], overwrite=True)
        for name in set(listdir(where)) - set(names):  # of an earlier set, or of a process that was killed
            with contextlib.suppress(tf.errors.NotFoundError):  # another worker does so, too
                remove(join(where, name))
    except tf.errors.OpError as error:
        raise UserError(
            f"{where}: the decoded images cannot be written ({error.message}); make room for them, or raise"
            " memory_budget"
        ) from error
    return paths
