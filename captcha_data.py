"""The input pipeline: TFRecords → batches of images and labels.

manifest = read_manifest(split, config)     what the producer says there is
images, labels = load(split, config)        the whole split, checked, decoded once
training_batches(images, labels, ...)       shuffled, moved; the order depends on (seed, step) alone
                                            (captcha_stream does the same for sets larger than memory)
evaluation_batches(images, labels, ...)     once over everything
"""

import contextlib
import hashlib
import math
import os
import shlex
from collections.abc import Callable, Iterator

from captcha_config import Config, UserError
from captcha_model import grey
from captcha_seal import seal, sha256, unseal

import numpy as np
import tensorflow as tf
from tensorflow.io.gfile import GFile, join, stat  # paths may be on any file system that TensorFlow knows

MIB = 1 << 20


def read_manifest(split: str, config: Config) -> dict:
    """The manifest of a split, which must hold captchas like the config's.

    Raises:
      UserError: there is none, it is no manifest, or its captchas have other characters, length or size.
    """
    manifest = open_manifest(split, config)
    different = [
        f"{name} {manifest[name]!r}, not {getattr(config, name)!r}"
        for name in ("characters", "length", "width", "height")
        if manifest[name] != getattr(config, name)
    ]
    if different:
        raise UserError(
            f"{join(config.tfrecords_dir, f'{split}.json')}: the set was drawn with {'; '.join(different)}; set the"
            f" config to match, or produce it: {_command(split, config)}"
        )
    return manifest


def open_manifest(split: str, config: Config) -> dict:
    """The manifest of a split, whatever captchas it holds. Raises UserError where there is no whole one."""
    path = join(config.tfrecords_dir, f"{split}.json")
    make = f"produce it: {_command(split, config)}"
    try:
        return unseal(_read_text(path))
    except tf.errors.NotFoundError as error:
        where = path if "://" in path else os.path.abspath(path)
        raise UserError(f"{where}: there is no such set; {make}") from error
    except tf.errors.OpError as error:
        raise UserError(f"{path}: cannot be read ({error.message})") from error
    except ValueError as error:
        raise UserError(f"{path}: is not a whole manifest ({error}); {make}") from error


def _read_text(path: str) -> str:
    with GFile(path, "rb") as file:
        return file.read().decode()


def _command(split: str, config: Config) -> str:
    """What to type to produce a set like the config's."""
    words = ["python", "captcha_producer.py", "-n", 3000 if split == "validation" else 30000, "-p", f"images/{split}"]
    for name in ("characters", "length", "width", "height", "tfrecords_dir"):
        if getattr(config, name) != getattr(Config, name):
            words += [f"--{name}", getattr(config, name)]
    return shlex.join(map(str, words))


def fingerprint(manifest: dict) -> str:
    """A short text that is another one for every other set: a hash of its shards' hashes."""
    return hashlib.sha256("".join(shard["sha256"] for shard in manifest["shards"]).encode()).hexdigest()[:16]


def fits(manifest: dict, config: Config, channels: int = 1) -> bool:
    """Whether the decoded images of a set take no more than config.memory_budget."""
    return _bytes_of(manifest, channels) <= config.memory_budget * MIB


def _bytes_of(manifest: dict, channels: int) -> int:
    return manifest["count"] * manifest["height"] * manifest["width"] * channels


def load(split: str, config: Config, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Read, check and decode a whole split.

    Args:
      channels: 1: grey; 3: in its colours, RGB.
    Returns:
      images: uint8 [count, height, width, channels].
      labels: int32 [count, length], positions in config.characters.
    Raises:
      UserError: a shard is missing, is not the one in the manifest, or holds a label that is not in the characters;
        or the images do not fit config.memory_budget.
    """
    manifest = read_manifest(split, config)
    count = manifest["count"]
    if not fits(manifest, config, channels):
        raise UserError(
            f"{split}: {count} decoded images take {_bytes_of(manifest, channels) // MIB + 1} MiB, more than"
            f" memory_budget {config.memory_budget} MiB; raise it (--memory_budget), or produce fewer captchas"
        )
    paths = check_shards(split, manifest, config)
    images = np.empty((count, config.height, config.width, channels), np.uint8)
    labels = np.empty((count, config.length), np.int32)
    end = 0
    for batch_images, batch_labels in decoded(split, paths, config, channels):
        start, end = end, end + len(batch_labels)
        if end > count:
            break
        images[start:end], labels[start:end] = batch_images, batch_labels
    if end != count:
        raise UserError(f"{split}: has not the {count} records that the manifest says; produce the set again")
    return images, labels


def decoded(split: str, paths: list[str], config: Config, channels: int = 1) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Read shards in order, record by record.

    Yields:
      (images, labels), as load gives them, some at a time.
    Raises:
      UserError: a shard cannot be read, or a label is not of the characters.
    """
    batches = tf.data.TFRecordDataset(paths).batch(256).map(_parser(config, channels), tf.data.AUTOTUNE)
    end = 0
    try:
        for images, labels, texts in batches.prefetch(2):
            start, end = end, end + len(texts)
            wrong = np.flatnonzero((labels.numpy() < 0).any(axis=1))
            if wrong.size:
                text = texts[wrong[0]].numpy().decode(errors="replace")
                raise UserError(
                    f"{split}: record {start + wrong[0]} is labelled {text!r}, which is not {config.length} of the"
                    f" characters {config.characters!r}; produce the set again"
                )
            yield images.numpy(), labels.numpy()
    except tf.errors.OpError as error:
        what = error.message.partition("\n")[0][:200]
        raise UserError(f"{split}: cannot be read after {end} records ({what}); produce it again") from error


def check_shards(split: str, manifest: dict, config: Config) -> list[str]:
    """Raise UserError unless the shards are those that the manifest speaks of; returns their paths.

    Files that were checked before, and have the same size and time since, are not read again: bit rot shows in the
    checksum that each record has. (That alone would not do: it misses a file cut between two records.)
    """
    again = "produce the set again, or copy that file again"
    memory = join(config.tfrecords_dir, f".{split}.checked")
    try:
        checked = unseal(_read_text(memory))
    except (tf.errors.OpError, ValueError):
        checked = {}
    now = {}
    for shard in manifest["shards"]:
        path = join(config.tfrecords_dir, shard["name"])
        try:
            status = stat(path)
            now[shard["name"]] = [status.length, status.mtime_nsec, shard["sha256"]]
            if checked.get(shard["name"]) == now[shard["name"]]:
                continue
            found = sha256(path, GFile)
        except tf.errors.NotFoundError as error:
            raise UserError(f"{path}: the shard is missing; {again}") from error
        except tf.errors.OpError as error:
            raise UserError(f"{path}: cannot be read ({error.message})") from error
        if status.length != shard["bytes"]:
            raise UserError(f"{path}: has {status.length} bytes, the manifest says {shard['bytes']}; {again}")
        if found != shard["sha256"]:
            raise UserError(f"{path}: its sha256 is not the manifest's: the file was damaged or exchanged; {again}")
    if now != checked:
        with contextlib.suppress(tf.errors.OpError), GFile(memory, "w") as file:
            file.write(seal(now))  # a set on a disk that cannot be written is checked each time
    return [join(config.tfrecords_dir, name) for name in now]


def _parser(config: Config, channels: int = 1) -> Callable:
    """A function of serialized Examples, string [batch], for use in tf.data.

    It gives uint8 [batch, height, width, channels], int32 [batch, length] and the texts, string [batch]. What a text
    of another length, or with other characters, has for labels is -1.
    """
    places = tf.range(len(config.characters))
    entries = tf.lookup.KeyValueTensorInitializer(list(config.characters), places)
    table = tf.lookup.StaticHashTable(entries, default_value=-1)

    def decode(encoded: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.io.decode_png(encoded, channels=3), (config.height, config.width, 3))

    def parse(records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        string = tf.io.FixedLenFeature([], tf.string)
        features = tf.io.parse_example(records, {"image/encoded": string, "image/text": string})
        images = tf.map_fn(decode, features["image/encoded"], fn_output_signature=tf.uint8)
        characters = tf.strings.unicode_split(features["image/text"], "UTF-8")  # [batch, any number]
        right_length = characters.row_lengths() == config.length
        labels = table.lookup(characters.to_tensor("", shape=[None, config.length]))
        labels = tf.where(right_length[:, None], labels, -1)
        return tf.cast(grey(images), tf.uint8) if channels == 1 else images, labels, features["image/text"]

    return parse


def training_batches(
    images: np.ndarray,
    labels: np.ndarray,
    first_step: int,
    config: Config,
    part: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Batches for the steps first_step, first_step + 1, … without end.

    Which images a step gets, and how they are moved, depends on (config.seed, step) alone: going on after a stop
    takes no more than the number of the step. Every image comes once before any comes again.

    Args:
      part: where there are several replicas, which of them this machine feeds. A batch is cut into as many parts, in
        order, and comes as its parts, one after the other: together they are what a single device would get.
    Yields:
      (uint8 [batch / replicas, height, width, 1], int32 [batch / replicas, length]).
    """
    part = part or tf.distribute.InputContext()
    replicas = part.num_replicas_in_sync // part.num_input_pipelines  # of this machine
    count, size = len(images), config.batch_size // part.num_replicas_in_sync
    last = tf.constant(count - 1, tf.int64)
    images, labels = tf.constant(images), tf.constant(labels)

    def batch_of(turn: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        step, replica = turn // replicas, part.input_pipeline_id * replicas + turn % replicas
        start = replica * size
        position = step * config.batch_size + start + tf.range(size, dtype=tf.int64)  # [size], through all epochs
        epoch = position // count
        seed = tf.stack([tf.fill([size], tf.constant(config.seed, tf.int64)), epoch, tf.zeros_like(epoch)], axis=1)
        index = shuffled(position % count, seed, last)
        return augmented(tf.gather(images, index), step, start, config), tf.gather(labels, index)

    turns = tf.data.Dataset.counter(start=first_step * replicas)
    return turns.map(batch_of, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def shuffled(index: tf.Tensor, seed: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
    """Where a random permutation of 0 to last puts an index: it is computed, not stored.

    Args:
      index: int64 [count], seed: int64 [3] or [count, 3], last: int64 [].
    """
    # tf.random.experimental.index_shuffle takes one seed only; and its 4 rounds leave runs of neighbours where the
    # numbers of a seed are small, and alike.
    return tf.raw_ops.RandomIndexShuffle(index=index, seed=seed, max_index=last, rounds=12)


def augmented(images: tf.Tensor, step: tf.Tensor, start: tf.Tensor, config: Config) -> tf.Tensor:
    """Shift, turn and zoom each image another way; what enters at an edge mirrors what is there.

    The images are those of the step's batch from `start` on.
    """
    seed, shape = tf.constant(config.seed, tf.int64), [config.batch_size, 2]
    by = tf.random.stateless_uniform(shape, [seed, step], -config.shift, config.shift + 1, tf.int32)
    how = tf.random.stateless_uniform(shape, [seed, -1 - step], -1.0, 1.0)
    down, right = tf.unstack(tf.cast(by, tf.float32), axis=1)  # [batch], pixels
    turn, zoom = tf.unstack(how, axis=1)
    angle, zoom = turn * math.radians(config.rotate), 1.0 + zoom * config.zoom
    cos, sin = tf.cos(angle) * zoom, tf.sin(angle) * zoom
    x, y = (config.width - 1) / 2, (config.height - 1) / 2  # the middle stays where it is, but for the shift
    rows = [cos, -sin, x - x * cos + y * sin + right, sin, cos, y - x * sin - y * cos + down, 0.0, 0.0]
    transforms = tf.stack([tf.broadcast_to(row, [config.batch_size]) for row in rows], axis=1)  # where pixels come from
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms[start : start + tf.shape(images, tf.int64)[0]],
        output_shape=[config.height, config.width],
        fill_value=0.0,
        interpolation="BILINEAR"
        if config.rotate or config.zoom
        else "NEAREST",  # the same for whole pixels, and faster
        fill_mode="REFLECT",
    )


def evaluation_batches(images: np.ndarray, labels: np.ndarray, batch_size: int) -> tf.data.Dataset:
    """Everything once, in order; the last batch holds what is left.

    Yields:
      (uint8 [batch, height, width, channels], int32 [batch, length]).
    """
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch_size).prefetch(tf.data.AUTOTUNE)
