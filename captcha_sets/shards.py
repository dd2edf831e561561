"""The shards of a split: TFRecord files with a fixed number of captchas each.

plan(split, count, images_per_shard)            which captchas are in which shard
write_shard(path, indices, items)               one shard; returns its entry in the manifest
check_shards(manifest, config)                  the paths of the shards, once they are what the manifest says
examples(manifest, config)                      what is in them: (text, PNG file), in order
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from captcha_cli import UserError
from captcha_config import Config
from captcha_sets.draw import file_label
from captcha_sets.files import reason, sha256, sync, verified, with_checksum
from captcha_sets.manifest import make_command, read_text

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.io.gfile import GFile, join, stat  # paths may be on any file system that TensorFlow knows


def plan(split: str, count: int, images_per_shard: int) -> list[tuple[str, range]]:
    """(file name, indices) of each shard. A shard's size does not depend on the number of workers."""
    starts = range(0, count, images_per_shard)
    return [
        (f"{split}-{i:05}-of-{len(starts):05}.tfrecord", range(start, min(start + images_per_shard, count)))
        for i, start in enumerate(starts)
    ]


def is_shard(name: str, split: str) -> bool:
    """Whether a file has the name of a shard of this split."""
    return bool(re.fullmatch(rf"{split}-\d{{5,}}-of-\d{{5,}}\.tfrecord", name))


def image_name(index: int, text: str) -> str:
    """The name of a captcha's PNG file."""
    return f"{index:08}_{file_label(text)}.png"


def is_image(name: str) -> bool:
    """Whether a file has a name that image_name gives."""
    return bool(re.fullmatch(r"\d{8,}_.+\.png", name))


def write_shard(path: Path, indices: range, items: Iterator[tuple[str, bytes]], images_dir: Path | None = None) -> dict:
    """Write a shard of the next len(indices) of `items`, (text, PNG file) pairs.

    Args:
      indices: of the captchas in the split.
      images_dir: a folder to write the PNG files to as well.
    Returns:
      The shard's entry in the manifest.
    Raises:
      UserError: the shard cannot be written.
    """
    try:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for index in indices:
                text, encoded = next(items)
                writer.write(_example(index, text, encoded).SerializeToString(deterministic=True))
                if images_dir:
                    (images_dir / image_name(index, text)).write_bytes(encoded)
    except tf.errors.OpError as error:
        raise UserError(f"{path}: cannot be written ({reason(error)})") from error
    sync(path)
    return {"name": path.name, "records": len(indices), "bytes": path.stat().st_size, "sha256": sha256(path)}


def _example(index: int, text: str, encoded: bytes) -> tf.train.Example:
    def bytes_feature(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    features = {  # the names are those of TensorFlow's OCR data sets
        "image/encoded": bytes_feature(encoded),
        "image/format": bytes_feature(b"png"),
        "image/text": bytes_feature(text.encode()),
        "image/index": tf.train.Feature(int64_list=tf.train.Int64List(value=[index])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features))


def check_shards(manifest: dict, config: Config) -> list[str]:
    """The paths of the shards. Raises UserError unless they are what the manifest says.

    Files that were checked before, and have the same size and time since, are not read again: the checksum in each
    record finds flipped bits. (That checksum alone would not do: it misses a file cut between two records.)
    """
    split = manifest["split"]
    again = f"copy that file again, or make the set again: {make_command(split, config, manifest)}"
    memory = join(config.tfrecords_dir, f".{split}.checked")
    try:
        checked = verified(read_text(memory))
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
            raise UserError(f"{path}: cannot be read ({reason(error)})") from error
        if status.length != shard["bytes"]:
            raise UserError(f"{path}: has {status.length} bytes, the manifest says {shard['bytes']}; {again}")
        if found != shard["sha256"]:
            raise UserError(f"{path}: its sha256 is not the manifest's, so the file was damaged or replaced; {again}")
    if now != checked:
        with contextlib.suppress(tf.errors.OpError), GFile(memory, "w") as file:
            file.write(with_checksum(now))  # a set on a read-only disk is checked each time
    return [join(config.tfrecords_dir, name) for name in now]


def examples(manifest: dict, config: Config) -> Iterator[tuple[str, bytes]]:
    """(text, PNG file) of each captcha of a split, in order. Raises UserError where the split is damaged."""
    split, paths, done = manifest["split"], check_shards(manifest, config), 0
    again = f"make the set again: {make_command(split, config, manifest)}"
    try:
        for record in tf.data.TFRecordDataset(paths).as_numpy_iterator():
            yield _text_and_image(record)
            done += 1
    except tf.errors.OpError as error:
        raise UserError(f"{split}: cannot be read after {done} records ({reason(error)}); {again}") from error
    except ValueError as error:
        raise UserError(f"{split}: record {done} is not a captcha ({error}); {again}") from error
    if done != manifest["count"]:
        raise UserError(f"{split}: has {done} records, the manifest says {manifest['count']}; {again}")


def _text_and_image(record: bytes) -> tuple[str, bytes]:
    """What is in a record. Raises ValueError where it is not one of ours."""
    try:
        features = tf.train.Example.FromString(record).features.feature
    except DecodeError as error:
        raise ValueError("it is no Example") from error
    encoded, text = (features[name].bytes_list.value for name in ("image/encoded", "image/text"))
    if len(encoded) != 1 or len(text) != 1:
        raise ValueError("it does not have one image and one text")
    return text[0].decode(), encoded[0]
