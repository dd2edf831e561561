"""Draw captchas, or take in labelled images: PNGs to look at, TFRecords to train on, a manifest of what there is.

    python captcha_producer.py -n 30000 -p images/train
    python captcha_producer.py -n 3000 -p images/validation
    python captcha_producer.py --source my_images -p images/train

The folder's name is the split's. A new set is built aside and takes an earlier one's place when it is complete.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

from captcha_config import Config, UserError, parse_args, run
from captcha_draw import check_fonts, draw_many, png, track
from captcha_open import labelled_images, open_image

import filelock
import tensorflow as tf
from PIL import Image

FIELDS = (
    "characters", "length", "width", "height", "fonts", "font_sizes", "seed", "images_per_shard", "workers",
    "tfrecords_dir",
)  # fmt: skip
DRAWN = ".drawn"  # lies in a folder of images that the producer filled, and so may replace


def produce(count: int, images_dir: Path, config: Config, *, images: bool = True) -> dict:
    """Draw a split and put it in the place of an earlier one of that name.

    Args:
      count: captchas to draw, 1 or more.
      images_dir: where the PNG files go; its last part is the split's name.
      config: the captcha, the seed and the folders.
      images: whether to write the PNG files.
    Returns:
      The manifest, as it is in <tfrecords_dir>/<split>.json.
    Raises:
      UserError: the characters cannot be drawn; images_dir holds files of somebody else; another producer is at work.
      OSError: a folder cannot be written. The earlier set is untouched then.
    """
    images_dir = Path(os.path.abspath(images_dir))
    check_fonts(config)
    drawn = track(draw_many(count, images_dir.name, config), count, f"drawing {images_dir.name}")
    return _write_set(drawn, count, images_dir, config, images, source=None)


def take_in(folder: Path, images_dir: Path, config: Config, *, images: bool = True, leave_out: bool = False) -> dict:
    """Make a split of labelled images (LABEL.png or anything_LABEL.png), resized to the config's size.

    Args:
      folder: the images, PNG or JPEG.
      leave_out: leave out the files that have something wrong, which otherwise stop it all.
    Returns and raises:
      As produce does; and UserError, with every problem there is, before anything is written.
    """
    good, problems = labelled_images(folder, config)
    if problems and not leave_out:
        raise UserError(
            "\n  ".join([f"{folder}: nothing was written; mend these, or leave them out with --leave-out:", *problems])
        )
    if not good:
        raise UserError(f"{folder}: none of its {len(problems)} files can be used")
    taken = track((_taken(path, text, config) for path, text in good), len(good), f"taking in {folder}")
    return _write_set(taken, len(good), Path(os.path.abspath(images_dir)), config, images, source=folder.name)


def _taken(path: Path, text: str, config: Config) -> tuple[str, bytes]:
    image = open_image(path)
    if image.size != (config.width, config.height):
        image = image.resize((config.width, config.height), Image.Resampling.BICUBIC)
    return text, png(image)


def _write_set(
    items: Iterator[tuple[str, bytes]], count: int, images_dir: Path, config: Config, images: bool, source: str | None
) -> dict:
    """Write (text, PNG) pairs as a split, aside, and then put it in place."""
    split, records_dir = images_dir.name, Path(config.tfrecords_dir)
    if not re.fullmatch(r"[\w-]+", split):
        raise UserError(f"-p {images_dir}: the folder's name is the split's; use letters, digits, _ and - in it")
    records_dir.mkdir(parents=True, exist_ok=True)
    images_dir.parent.mkdir(parents=True, exist_ok=True)
    new_records, new_images = records_dir / f".{split}.new", images_dir.with_name(f".{split}.new")
    with contextlib.closing(items), _only_producer(records_dir, split), _only_producer(images_dir.parent, split):
        _check_ours(images_dir)
        try:
            for folder in (new_records, new_images):
                shutil.rmtree(folder, ignore_errors=True)  # left by one that was killed
                folder.mkdir()
            (new_images / DRAWN).touch()
            shards = [
                _write_shard(new_records / name, indices, items, new_images if images else None)
                for name, indices in _shard_plan(split, count, config.images_per_shard)
            ]
            manifest = _manifest(split, count, config, shards, source)
            if images:
                _check_ours(images_dir)  # it was some time ago
                _replace_images(images_dir, new_images, records_dir / f"{split}.json")
            _replace_records(records_dir, split, manifest, new_records)
        finally:
            for folder in (new_records, new_images):
                shutil.rmtree(folder, ignore_errors=True)
    return manifest


def _only_producer(folder: Path, split: str) -> contextlib.AbstractContextManager:
    try:
        return filelock.FileLock(folder / f".{split}.lock", timeout=0).acquire()
    except filelock.Timeout as error:
        raise UserError(f"{folder}: another producer is making {split}; wait for it or stop it") from error


def _check_ours(images_dir: Path) -> None:
    """Replacing a folder of images must never take a file that somebody else put there."""
    if not images_dir.exists():
        return
    names = {entry.name for entry in images_dir.iterdir()}
    foreign = sorted(name for name in names - {DRAWN} if not re.fullmatch(r"\d{8}_.+\.png", name))
    if names and (DRAWN not in names or foreign):
        raise UserError(
            f"{images_dir}: holds files that the producer did not draw, such as {(foreign or sorted(names))[0]};"
            " move them, or name another folder"
        )


def _shard_plan(split: str, count: int, images_per_shard: int) -> list[tuple[str, range]]:
    """(file name, indices) of each shard. The number of images in a shard is fixed, so workers do not matter."""
    starts = range(0, count, images_per_shard)
    return [
        (f"{split}-{i:05}-of-{len(starts):05}.tfrecord", range(start, min(start + images_per_shard, count)))
        for i, start in enumerate(starts)
    ]


def _write_shard(path: Path, indices: range, drawn: Iterator[tuple[str, bytes]], images_dir: Path | None) -> dict:
    """Write the next len(indices) captchas of `drawn`; returns the shard's line in the manifest."""

    def feature(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    try:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for index in indices:
                text, encoded = next(drawn)
                features = {  # the names are those of TensorFlow's OCR data sets
                    "image/encoded": feature(encoded),
                    "image/format": feature(b"png"),
                    "image/text": feature(text.encode()),
                    "image/index": tf.train.Feature(int64_list=tf.train.Int64List(value=[index])),
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString(deterministic=True))
                if images_dir:
                    (images_dir / f"{index:08}_{quote(text, safe='').replace('_', '%5F')}.png").write_bytes(encoded)
    except tf.errors.OpError as error:
        raise UserError(f"{path}: cannot be written ({error.message})") from error
    sync(path)
    return {
        "name": path.name,
        "records": len(indices),
        "bytes": path.stat().st_size,
        "sha256": sha256(path),
    }


def _manifest(split: str, count: int, config: Config, shards: list[dict], source: str | None) -> dict:
    return {
        "split": split,
        "source": source,  # the folder of one's own images, or null where they were drawn
        "count": count,
        "characters": config.characters,
        "length": config.length,
        "height": config.height,
        "width": config.width,
        "fonts": config.fonts,
        "font_sizes": config.font_sizes,
        "seed": config.seed,
        "versions": {name: version(name) for name in ("captcha", "pillow")},
        "shards": shards,
    }


def _replace_images(images_dir: Path, new_images: Path, manifest: Path) -> None:
    """Put the new folder in the old one's place. The manifest goes first: no manifest, no set."""
    old = images_dir.with_name(f".{images_dir.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    content = manifest.read_bytes() if manifest.exists() else None
    manifest.unlink(missing_ok=True)
    try:
        if images_dir.exists():
            images_dir.rename(old)
    except OSError:  # a mount point, say: the earlier set stays
        if content is not None:
            manifest.write_bytes(content)
        raise
    new_images.rename(images_dir)
    shutil.rmtree(old, ignore_errors=True)


def _replace_records(records_dir: Path, split: str, manifest: dict, new_records: Path) -> None:
    """Put the new shards in the old ones' place. The manifest goes first and comes last."""
    (records_dir / f"{split}.json").unlink(missing_ok=True)
    sync(records_dir)
    for old in records_dir.glob(f"{split}-?????-of-?????.tfrecord"):
        old.unlink()
    for shard in new_records.iterdir():
        shard.rename(records_dir / shard.name)
    sync(records_dir)
    write_sealed(records_dir / f"{split}.json", manifest)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows has no such call for folders
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_sealed(path: Path, values: dict) -> None:
    """Write a JSON file with a checksum in it. Whatever happens, it is there as a whole or as it was before."""
    new = path.with_name(f".{path.name}.new")
    text = json.dumps({**values, "checksum": _checksum(values)}, indent=1, ensure_ascii=False)
    new.write_text(text + "\n", encoding="utf-8")
    sync(new)
    new.replace(path)
    sync(path.parent)


def read_sealed(path: Path) -> dict:
    """What write_sealed wrote. Raises ValueError where a value is not the one that was written, OSError as usual."""
    values = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict) or values.pop("checksum", None) != _checksum(values):
        raise ValueError("its checksum is wrong")
    return values


def _checksum(values: dict) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def main() -> None:
    def extras(parser):
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("-n", "--count", type=int, help="captchas to draw")
        what.add_argument("--source", type=Path, help="folder of labelled images to take in instead")
        parser.add_argument("-p", "--path", type=Path, required=True, help="folder for the PNGs, named as the split")
        parser.add_argument("--no-images", action="store_true", help="write the TFRecords alone")
        parser.add_argument("--leave-out", action="store_true", help="with --source: leave out what cannot be used")

    config, args = parse_args(__doc__, FIELDS, extras)
    if args.source:
        manifest = take_in(args.source, args.path, config, images=not args.no_images, leave_out=args.leave_out)
    elif 1 <= args.count <= 10**9:
        manifest = produce(args.count, args.path, config, images=not args.no_images)
    else:
        raise UserError(f"-n {args.count} is out of range; it must be from 1 to {10**9}")
    shards = len(manifest["shards"])
    print(f"{manifest['split']}: {manifest['count']} captchas in {shards} shards in {config.tfrecords_dir}/")


if __name__ == "__main__":
    run(main)
