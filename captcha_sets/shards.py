"""A split on the disk: shards of TFRecords, and a manifest that is written last and says what they hold.

plan(split, count, images_per_shard)            which captchas are in which shard
write_shard(path, indices, items)               one shard; returns its entry in the manifest
describe(split, config, shards)                 the manifest's content
open_manifest(split, config)                    the manifest of a split, or an error that says how to draw it
read_manifest(split, config)                    the same, of captchas like the config's
check_shards(manifest, config)                  the paths of the shards, once they are what the manifest says
examples(manifest, config)                      what is in them: (text, PNG file), in order
"""

import contextlib
import hashlib
import os
import re
import shlex
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from captcha_cli import UserError
from captcha_config import Config
from captcha_sets.draw import TRAIN, file_label
from captcha_sets.files import sha256, sync, verified, with_checksum

import tensorflow as tf
from tensorflow.io.gfile import GFile, exists, join, stat  # paths may be on any file system that TensorFlow knows

VALIDATION = "validation"
SPLITS = (TRAIN, VALIDATION)
FORMAT = 2  # of the manifest
CAPTCHA_FIELDS = ("characters", "length", "width", "height")  # what a network is made for
DRAWING_FIELDS = (*CAPTCHA_FIELDS, "fonts", "font_sizes", "oversample_characters", "seed")


def count_of(split: str, config: Config) -> int:
    """How many captchas a split is to have."""
    return config.train_count if split == TRAIN else config.validation_count


def versions() -> dict[str, str]:
    """Versions of the libraries that decide the pixels."""
    return {name: version(name) for name in ("captcha", "pillow")}


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
        raise UserError(f"{path}: cannot be written ({error.message})") from error
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


def describe(split: str, config: Config, shards: list[dict], imported: dict | None = None) -> dict:
    """The manifest of a split.

    Args:
      shards: their entries, as write_shard returns them.
      imported: for imported images, where they came from ("source") and how many had which size ("sizes"); None: drawn.
    """
    count = sum(shard["records"] for shard in shards)
    origin = imported or {"source": None, "sizes": {f"{config.width}x{config.height}": count}}
    return {
        "format": FORMAT,
        "split": split,
        **origin,
        "count": count,
        **_drawing_values(split, config),
        "versions": versions(),
        "shards": shards,
    }


def _drawing_values(split: str, config: Config) -> dict:
    """The values of DRAWING_FIELDS that a split is drawn with, as JSON has them."""
    values = {name: getattr(config, name) for name in DRAWING_FIELDS}
    if split != TRAIN:
        values["oversample_characters"] = ""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def manifest_path(split: str, config: Config) -> str:
    """Where the manifest of a split is."""
    return join(config.tfrecords_dir, f"{split}.json")


def set_exists(split: str, config: Config) -> bool:
    """Whether there is a manifest of a split, complete or damaged."""
    return exists(manifest_path(split, config))


def read_manifest(split: str, config: Config) -> dict:
    """The manifest of a split of captchas like the config's.

    Raises:
      UserError: there is none, it is damaged, or its captchas have other characters, length or size.
    """
    manifest = open_manifest(split, config)
    different = differences(manifest, config, CAPTCHA_FIELDS)
    if different:
        raise UserError(
            f"{manifest_path(split, config)}: the set has {'; '.join(different)}; change the config to match, or"
            f" replace the set: {make_command(split, config, manifest)}"
        )
    return manifest


def differences(manifest: dict, config: Config, names: tuple[str, ...]) -> list[str]:
    """One text for each of the fields that is not the same in the manifest and in the config."""
    ours = _drawing_values(manifest["split"], config)
    return [f"{name} {manifest[name]!r}, not {ours[name]!r}" for name in names if manifest[name] != ours[name]]


def open_manifest(split: str, config: Config) -> dict:
    """The manifest of a split, whatever captchas it has. Raises UserError where there is none, or a damaged one."""
    path = manifest_path(split, config)
    try:
        manifest = verified(_read_text(path))
    except tf.errors.NotFoundError as error:
        where = path if "://" in path else os.path.abspath(path)
        raise UserError(f"{where}: there is no such set; draw it: {make_command(split, config)}") from error
    except tf.errors.OpError as error:
        raise UserError(f"{path}: cannot be read ({error.message})") from error
    except ValueError as error:
        again = make_command(split, config, {})
        raise UserError(f"{path}: is not a complete manifest ({error}); make the set again: {again}") from error
    if manifest.get("format") != FORMAT:
        again = make_command(split, config, manifest)
        raise UserError(f"{path}: is of another version of this project; make the set again: {again}")
    return manifest


def _read_text(path: str) -> str:
    with GFile(path, "rb") as file:
        return file.read().decode()


def make_command(split: str, config: Config, manifest: dict | None = None) -> str:
    """The command that makes a split like the config's, in place of the one that `manifest` describes, if any.

    Where that one has the config's characters and size, the command makes the same files again.
    """
    manifest, replaces = manifest or {}, manifest is not None
    names = (*DRAWING_FIELDS, f"{split}_count", "images_per_shard")
    values = {name: getattr(config, name) for name in names}
    if manifest.get("format") == FORMAT and not differences(manifest, config, CAPTCHA_FIELDS):
        values |= {name: manifest[name] for name in DRAWING_FIELDS}
        values |= {f"{split}_count": manifest["count"], "images_per_shard": manifest["shards"][0]["records"]}
    imported = manifest.get("source") is not None
    if imported:
        values = {name: values[name] for name in CAPTCHA_FIELDS}
    values["tfrecords_dir"] = config.tfrecords_dir
    if "://" in config.tfrecords_dir and not imported:
        words = ["python", "-m", "captcha_sets.beam"]  # the producer writes to this machine alone
    else:
        words = ["python", "captcha_producer.py"] + ["--replace"] * replaces
        values["images_dir"] = config.images_dir
    if imported:
        words += ["--source", manifest["source"]]
    if not imported or manifest.get("splits") == [split]:  # the images of one source may have become both
        words += ["--splits", split]
    for name, value in values.items():
        value = tuple(value) if isinstance(value, list) else value
        if value != getattr(Config, name):
            words += [f"--{name}", *(value if isinstance(value, tuple) else [value])]
    if values.get("images_dir") == Config.images_dir and config.tfrecords_dir != Config.tfrecords_dir:
        words.append("--no-images")  # that folder is for the pictures of another set
    return shlex.join(map(str, words))


def fingerprint(manifest: dict) -> str:
    """A short text that identifies a split: a hash of its shards' hashes."""
    return hashlib.sha256("".join(shard["sha256"] for shard in manifest["shards"]).encode()).hexdigest()[:16]


def check_shards(manifest: dict, config: Config) -> list[str]:
    """The paths of the shards. Raises UserError unless they are what the manifest says.

    Files that were checked before, and have the same size and time since, are not read again: the checksum in each
    record finds flipped bits. (That checksum alone would not do: it misses a file cut between two records.)
    """
    split = manifest["split"]
    again = f"copy that file again, or make the set again: {make_command(split, config, manifest)}"
    memory = join(config.tfrecords_dir, f".{split}.checked")
    try:
        checked = verified(_read_text(memory))
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
            raise UserError(f"{path}: its sha256 is not the manifest's, so the file was damaged or replaced; {again}")
    if now != checked:
        with contextlib.suppress(tf.errors.OpError), GFile(memory, "w") as file:
            file.write(with_checksum(now))  # a set on a read-only disk is checked each time
    return [join(config.tfrecords_dir, name) for name in now]


def examples(manifest: dict, config: Config) -> Iterator[tuple[str, bytes]]:
    """(text, PNG file) of each captcha of a split, in order. Raises UserError where the split is damaged."""
    split, paths, done = manifest["split"], check_shards(manifest, config), 0
    try:
        for record in tf.data.TFRecordDataset(paths).as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            encoded, text = (features[name].bytes_list.value[0] for name in ("image/encoded", "image/text"))
            yield text.decode(), encoded
            done += 1
    except tf.errors.OpError as error:
        reason = re.sub(r"\{\{.*?\}\} *| *\[Op:.*", "", error.message.partition("\n")[0])  # not TensorFlow's operations
        again = f"make the set again: {make_command(split, config, manifest)}"
        raise UserError(f"{split}: cannot be read after {done} records ({reason}); {again}") from error
