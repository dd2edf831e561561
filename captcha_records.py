"""A set on the disk: shards of TFRecords, and a manifest that is written last and says what they hold.

plan(split, count, images_per_shard)            which captcha is in which shard
write_shard(path, indices, items)               a shard; returns its line in the manifest
manifest(split, count, config, shards)          what is in the set
only_producer(folder, split), replace(...)      one at a time; put a set in an earlier one's place
"""

import contextlib
import os
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from captcha_config import Config, UserError
from captcha_draw import file_label
from captcha_seal import sha256, sync, write_sealed

import filelock
import tensorflow as tf


def split_of(path: Path | str) -> str:
    """The split that a folder is named as. Raises UserError where that is no name for one."""
    name = os.path.basename(os.path.abspath(path))
    if not re.fullmatch(r"[\w-]+", name):
        raise UserError(f"{path}: the folder's name is the split's; use letters, digits, _ and - in it")
    return name


def versions() -> dict[str, str]:
    """Of the libraries that decide the pixels."""
    return {name: version(name) for name in ("captcha", "pillow")}


def plan(split: str, count: int, images_per_shard: int) -> list[tuple[str, range]]:
    """(file name, indices) of each shard. The number of images in a shard is fixed, so workers do not matter."""
    starts = range(0, count, images_per_shard)
    return [
        (f"{split}-{i:05}-of-{len(starts):05}.tfrecord", range(start, min(start + images_per_shard, count)))
        for i, start in enumerate(starts)
    ]


def write_shard(path: Path, indices: range, items: Iterator[tuple[str, bytes]], images_dir: Path | None = None) -> dict:
    """Write a shard of the next len(indices) of `items`, (text, PNG) pairs.

    Args:
      indices: the captchas' places in the set.
      images_dir: a folder to write the PNG files to as well.
    Returns:
      The shard's line in the manifest.
    Raises:
      UserError: the shard cannot be written.
    """

    def feature(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    try:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for index in indices:
                text, encoded = next(items)
                features = {  # the names are those of TensorFlow's OCR data sets
                    "image/encoded": feature(encoded),
                    "image/format": feature(b"png"),
                    "image/text": feature(text.encode()),
                    "image/index": tf.train.Feature(int64_list=tf.train.Int64List(value=[index])),
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString(deterministic=True))
                if images_dir:
                    (images_dir / f"{index:08}_{file_label(text)}.png").write_bytes(encoded)
    except tf.errors.OpError as error:
        raise UserError(f"{path}: cannot be written ({error.message})") from error
    sync(path)
    return {
        "name": path.name,
        "records": len(indices),
        "bytes": path.stat().st_size,
        "sha256": sha256(path),
    }


def manifest(split: str, count: int, config: Config, shards: list[dict], origin: dict | None = None) -> dict:
    """What is in a set of `count` captchas, or in the `shards` of it.

    Args:
      shards: their lines, as write_shard returns them.
      origin: of images of one's own, where they came from ("source") and how many of which size ("sizes").
    """
    return {
        "split": split,
        **(origin or {"source": None, "sizes": {f"{config.width}x{config.height}": count}}),
        "count": count,
        "characters": config.characters,
        "length": config.length,
        "height": config.height,
        "width": config.width,
        "fonts": config.fonts,
        "font_sizes": config.font_sizes,
        "often": config.often,
        "seed": config.seed,
        "versions": versions(),
        "shards": shards,
    }


def only_producer(folder: Path, split: str) -> contextlib.AbstractContextManager:
    """Keep other producers from the split in `folder`. Raises UserError where one is at work."""
    try:
        return filelock.FileLock(folder / f".{split}.lock", timeout=0).acquire()
    except filelock.Timeout as error:
        raise UserError(f"{folder}: another producer is making {split}; wait for it or stop it") from error


def replace(records_dir: Path, split: str, values: dict, new_records: Path) -> None:
    """Put the new shards in the old ones' place, and `values` as their manifest: it goes first and comes last."""
    (records_dir / f"{split}.json").unlink(missing_ok=True)
    sync(records_dir)
    for old in records_dir.glob(f"{split}-*.tfrecord"):
        if re.fullmatch(rf"{split}-\d{{5,}}-of-\d{{5,}}\.tfrecord", old.name):
            old.unlink()
    for shard in values["shards"]:
        (new_records / shard["name"]).rename(records_dir / shard["name"])
    sync(records_dir)
    write_sealed(records_dir / f"{split}.json", values)
