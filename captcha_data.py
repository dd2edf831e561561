"""The input pipeline: TFRecords → batches of images and labels.

manifest = read_manifest(split, config)     what the producer says there is
images, labels = load(split, config)        the whole split, checked, decoded once
training_batches(images, labels, ...)       shuffled, moved; the order depends on (seed, step) alone
evaluation_batches(images, labels, ...)     once over everything
"""

import contextlib
import hashlib
import math
import shlex
from pathlib import Path

from captcha_config import Config, UserError
from captcha_model import grey
from captcha_seal import read_sealed, sha256, write_sealed

import numpy as np
import tensorflow as tf

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
            f"{Path(config.tfrecords_dir, f'{split}.json')}: the set was drawn with {'; '.join(different)}; set the"
            f" config to match, or produce it: {_command(split, config)}"
        )
    return manifest


def open_manifest(split: str, config: Config) -> dict:
    """The manifest of a split, whatever captchas it holds. Raises UserError where there is no whole one."""
    path = Path(config.tfrecords_dir) / f"{split}.json"
    make = f"produce it: {_command(split, config)}"
    try:
        return read_sealed(path)
    except FileNotFoundError as error:
        raise UserError(f"{path.absolute()}: there is no such set; {make}") from error
    except ValueError as error:
        raise UserError(f"{path}: is not a whole manifest ({error}); {make}") from error


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
    needed = count * config.height * config.width * channels
    if needed > config.memory_budget * MIB:
        raise UserError(
            f"{split}: {count} decoded images take {needed // MIB + 1} MiB, more than memory_budget"
            f" {config.memory_budget} MiB; raise it (--memory_budget), or produce fewer captchas"
        )
    paths = check_shards(split, manifest, config)
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(list(config.characters), np.arange(len(config.characters), dtype=np.int32)),
        default_value=-1,
    )
    records = tf.data.TFRecordDataset(paths)
    records = records.map(lambda record: _parse(record, table, config, channels), tf.data.AUTOTUNE)
    images = np.empty((count, config.height, config.width, channels), np.uint8)
    labels = np.empty((count, config.length), np.int32)
    end = 0
    try:
        for batch_images, batch_labels, texts in records.batch(256).prefetch(2):
            start, end = end, end + len(texts)
            if end > count:
                break
            images[start:end], labels[start:end] = batch_images, batch_labels
            wrong = np.flatnonzero((labels[start:end] < 0).any(axis=1))
            if wrong.size:
                text = texts[wrong[0]].numpy().decode(errors="replace")
                raise UserError(
                    f"{split}: record {start + wrong[0]} is labelled {text!r}, which is not {config.length} of the"
                    f" characters {config.characters!r}; produce the set again"
                )
    except tf.errors.OpError as error:
        what = error.message.partition("\n")[0][:200]
        raise UserError(f"{split}: cannot be read after {end} records ({what}); produce it again") from error
    if end != count:
        raise UserError(f"{split}: has not the {count} records that the manifest says; produce the set again")
    return images, labels


def check_shards(split: str, manifest: dict, config: Config) -> list[str]:
    """Raise UserError unless the shards are those that the manifest speaks of; returns their paths.

    Files that were checked before, and have the same size and time since, are not read again: bit rot shows in the
    checksum that each record has. (That alone would not do: it misses a file cut between two records.)
    """
    again = "produce the set again, or copy that file again"
    folder = Path(config.tfrecords_dir)
    memory = folder / f".{split}.checked"
    try:
        checked = read_sealed(memory)
    except (OSError, ValueError):
        checked = {}
    now = {}
    for shard in manifest["shards"]:
        path = folder / shard["name"]
        try:
            status = path.stat()
            now[shard["name"]] = [status.st_size, status.st_mtime_ns, status.st_ino, shard["sha256"]]
            if checked.get(shard["name"]) == now[shard["name"]]:
                continue
            found = sha256(path)
        except FileNotFoundError as error:
            raise UserError(f"{path}: the shard is missing; {again}") from error
        if status.st_size != shard["bytes"]:
            raise UserError(f"{path}: has {status.st_size} bytes, the manifest says {shard['bytes']}; {again}")
        if found != shard["sha256"]:
            raise UserError(f"{path}: its sha256 is not the manifest's: the file was damaged or exchanged; {again}")
    if now != checked:
        with contextlib.suppress(OSError):  # a set on a disk that cannot be written is checked each time
            write_sealed(memory, now)
    return [str(folder / name) for name in now]


def _parse(record: tf.Tensor, table: tf.lookup.StaticHashTable, config: Config, channels: int):
    """One serialized Example → (image, labels, text). A text of another length gets labels of -1."""
    features = tf.io.parse_single_example(
        record,
        {"image/encoded": tf.io.FixedLenFeature([], tf.string), "image/text": tf.io.FixedLenFeature([], tf.string)},
    )
    image = tf.io.decode_png(features["image/encoded"], channels=3)
    image = tf.ensure_shape(image, (config.height, config.width, 3))
    characters = tf.strings.unicode_split(features["image/text"], "UTF-8")
    right_length = tf.size(characters) == config.length
    labels = tf.cond(right_length, lambda: table.lookup(characters), lambda: tf.fill([config.length], -1))
    image = tf.cast(grey(image), tf.uint8) if channels == 1 else image
    return image, tf.ensure_shape(labels, [config.length]), features["image/text"]


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
        # A random permutation that is computed, not stored. (tf.random.experimental.index_shuffle takes one seed only.)
        index = tf.raw_ops.RandomIndexShuffle(index=position % count, seed=seed, max_index=last)
        return _augmented(tf.gather(images, index), step, start, config), tf.gather(labels, index)

    turns = tf.data.Dataset.counter(start=first_step * replicas)
    return turns.map(batch_of, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def _augmented(images: tf.Tensor, step: tf.Tensor, start: tf.Tensor, config: Config) -> tf.Tensor:
    """Shift, turn and zoom each image another way; what enters at an edge mirrors what is there.

    The images are those of the step's batch from `start` on.
    """
    count, seed, shape = tf.shape(images, tf.int64)[0], tf.constant(config.seed, tf.int64), [config.batch_size, 2]
    by = tf.random.stateless_uniform(shape, [seed, step], -config.shift, config.shift + 1, tf.int32)
    how = tf.random.stateless_uniform(shape, [seed, -1 - step], -1.0, 1.0)
    down, right = tf.unstack(tf.cast(by[start : start + count], tf.float32), axis=1)  # [images], pixels
    turn, zoom = tf.unstack(how[start : start + count], axis=1)
    angle, zoom = turn * math.radians(config.rotate), 1.0 + zoom * config.zoom
    cos, sin = tf.cos(angle) * zoom, tf.sin(angle) * zoom
    x, y = (config.width - 1) / 2, (config.height - 1) / 2  # the middle stays where it is, but for the shift
    rows = [cos, -sin, x - x * cos + y * sin + right, sin, cos, y - x * sin - y * cos + down, 0.0, 0.0]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([tf.broadcast_to(row, [count]) for row in rows], axis=1),  # where each pixel comes from
        output_shape=[config.height, config.width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )


def evaluation_batches(images: np.ndarray, labels: np.ndarray, batch_size: int) -> tf.data.Dataset:
    """Everything once, in order; the last batch holds what is left.

    Yields:
      (uint8 [batch, height, width, channels], int32 [batch, length]).
    """
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch_size).prefetch(tf.data.AUTOTUNE)
