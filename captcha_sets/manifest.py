"""The manifest of a split: what its captchas are, and which shards hold them.

describe(split, config, shards)                 the manifest's content; it is written last
open_manifest(split, config)                    the manifest of a split, or an error that says how to draw it
read_manifest(split, config)                    the same, of captchas like the config's
make_command(split, config, manifest)           the command that makes a split
"""

import hashlib
import os
import shlex
from importlib.metadata import version

from captcha_cli import UserError
from captcha_config import Config
from captcha_sets.draw import TRAIN
from captcha_sets.files import reason, verified

import tensorflow as tf
from tensorflow.io.gfile import GFile, exists, join  # paths may be on any file system that TensorFlow knows

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
        manifest = verified(read_text(path))
    except tf.errors.NotFoundError as error:
        where = path if "://" in path else os.path.abspath(path)
        raise UserError(f"{where}: there is no such set; draw it: {make_command(split, config)}") from error
    except tf.errors.OpError as error:
        raise UserError(f"{path}: cannot be read ({reason(error)})") from error
    except ValueError as error:
        again = make_command(split, config, {})
        raise UserError(f"{path}: is not a complete manifest ({error}); make the set again: {again}") from error
    if manifest.get("format") != FORMAT:
        again = make_command(split, config, manifest)
        raise UserError(f"{path}: is of another version of this project; make the set again: {again}")
    return manifest


def read_text(path: str) -> str:
    """The content of a file on any file system that TensorFlow knows."""
    with GFile(path, "rb") as file:
        return file.read().decode()


def make_command(split: str, config: Config, manifest: dict | None = None) -> str:
    """The command that makes a split like the config's, in place of the one that `manifest` describes, if any.

    If the existing set has the config's characters and size, the command makes the same files again.
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
        words = ["python", "captcha_producer.py"]
        values["images_dir"] = config.images_dir
    if replaces:
        words.append("--replace")
    if imported:
        words += ["--source", manifest["source"]]
    if not imported or manifest.get("splits") == [split]:  # the images of one source may have been divided into both
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
