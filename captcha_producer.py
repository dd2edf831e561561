"""Draw captchas: PNG files to look at, TFRecords to train on, and a manifest that says what there is.

    python captcha_producer.py -n 30000 -p images/train
    python captcha_producer.py -n 3000 -p images/validation

The folder's name is the split's. A new set is built aside and takes an earlier one's place when it is complete.
"""

import contextlib
import functools
import hashlib
import importlib.util
import io
import json
import multiprocessing
import multiprocessing.pool
import os
import random
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, SimpleNamespace
from urllib.parse import quote

import filelock
from PIL import Image, ImageFont
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from captcha_config import Config, UserError, parse_args, run

FIELDS = (
    "characters", "length", "width", "height", "fonts", "font_sizes", "seed", "images_per_shard", "workers",
    "tfrecords_dir",
)  # fmt: skip
CHUNK = 50  # captchas that a worker draws before it hands them over
PNG_COMPRESS_LEVEL = 3  # files 4 % larger than with Pillow's 6, encoded in 0.6 of the time
PLAIN_SECONDS = 10  # between two lines of progress where there is no terminal
DRAWN = ".drawn"  # lies in a folder of images that the producer filled, and so may replace


# Drawing -------------------------------------------------------------------------------------------------------------


@functools.cache
def _captcha_image() -> ModuleType:
    """A private copy of captcha.image: the library draws with `secrets`, which cannot be seeded, so `draw` swaps it."""
    spec = importlib.util.find_spec("captcha.image")
    source = Path(spec.origin).read_text(encoding="utf-8")
    if set(re.findall(r"\bsecrets\.(\w+)", source)) != {"randbelow", "randbits", "choice"}:
        raise UserError(f"captcha {version('captcha')} cannot be seeded; install captcha 0.7.1")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def _artist(width: int, height: int, fonts: tuple[str, ...], font_sizes: tuple[int, ...]):
    return _captcha_image().ImageCaptcha(width, height, list(fonts), font_sizes)  # keeps its fonts loaded


def draw(index: int, split: str, config: Config) -> tuple[str, Image.Image]:
    """Draw one captcha. (config.seed, split, index) decide it alone: no order, process or earlier draw does.

    Returns:
      (its text, its RGB image of config.width x config.height pixels).
    """
    rng = random.Random(f"{config.seed}/{split}/{index}")  # Python hashes the string with SHA-512: no streams meet
    _captcha_image().secrets = SimpleNamespace(randbelow=rng.randrange, randbits=rng.getrandbits, choice=rng.choice)
    text = "".join(rng.choices(config.characters, k=config.length))
    return text, _artist(config.width, config.height, config.fonts, config.font_sizes).generate_image(text)


def check_fonts(config: Config) -> None:
    """Raise UserError where a font cannot be read, lacks a character, or draws two characters alike."""
    for font_file in config.fonts or _captcha_image().DEFAULT_FONTS:
        for size in config.font_sizes:
            try:
                font = ImageFont.truetype(font_file, size)
            except OSError as error:
                raise UserError(f"fonts: {font_file} cannot be read ({error}); name a TrueType font file") from error
            drawn = {bytes(font.getmask("\uffff")): None}  # no font has this character: what is drawn is the box
            for character in config.characters:
                other = drawn.setdefault(bytes(font.getmask(character)), character)
                if other is None:
                    raise UserError(f"characters: {font_file} has no {character!r}; leave it out or use another font")
                if other != character:
                    raise UserError(
                        f"characters: {font_file} draws {other!r} and {character!r} alike at {size} pixels;"
                        " leave one out, or use another font or size"
                    )


def draw_many(count: int, split: str, config: Config) -> Iterator[tuple[str, bytes]]:
    """Draw captchas 0 to count - 1 of a split on config.workers processes.

    Yields:
      (text, PNG file as bytes), in order.
    """
    check_fonts(config)
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    workers = min(config.workers or os.cpu_count() or 1, max(len(chunks), 1))
    with _pool(workers) as pool:
        for chunk in pool.imap(functools.partial(_draw_chunk, split=split, config=config), chunks):
            yield from chunk


def _draw_chunk(indices: range, split: str, config: Config) -> list[tuple[str, bytes]]:
    chunk = []
    for index in indices:
        text, image = draw(index, split, config)
        encoded = io.BytesIO()
        image.save(encoded, format="png", compress_level=PNG_COMPRESS_LEVEL)
        chunk.append((text, encoded.getvalue()))
    return chunk


def _pool(workers: int) -> multiprocessing.pool.Pool:
    """Processes that import this file alone.

    They would import the main script too, and TensorFlow with it: seconds and hundreds of megabytes for each.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = sys.modules[__name__]
    try:
        return multiprocessing.get_context("spawn").Pool(workers, _start_worker)
    finally:
        sys.modules["__main__"] = main


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends the workers
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    multiprocessing.parent_process().join()  # a killed parent cannot end its workers
    os._exit(1)


# Writing -------------------------------------------------------------------------------------------------------------


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
    split, records_dir = images_dir.name, Path(config.tfrecords_dir)
    if not re.fullmatch(r"[\w-]+", split):
        raise UserError(f"-p {images_dir}: the folder's name is the split's; use letters, digits, _ and - in it")
    check_fonts(config)
    records_dir.mkdir(parents=True, exist_ok=True)
    with _only_producer(records_dir / f".{split}.lock"):
        _check_ours(images_dir)
        new_records, new_images = records_dir / f".{split}.new", images_dir.with_name(f".{split}.new")
        try:
            for folder in (new_records, new_images):
                shutil.rmtree(folder, ignore_errors=True)  # left by one that was killed
                folder.mkdir(parents=True)
            (new_images / DRAWN).touch()
            with contextlib.closing(track(draw_many(count, split, config), count, f"drawing {split}")) as drawn:
                shards = [
                    _write_shard(new_records / name, indices, drawn, new_images if images else None)
                    for name, indices in _shard_plan(split, count, config.images_per_shard)
                ]
            manifest = _manifest(split, count, config, shards)
            _replace(records_dir, split, manifest, new_records, images_dir, new_images)
        finally:
            for folder in (new_records, new_images):
                shutil.rmtree(folder, ignore_errors=True)
    return manifest


def _only_producer(lock_file: Path) -> contextlib.AbstractContextManager:
    try:
        return filelock.FileLock(lock_file, timeout=0).acquire()
    except filelock.Timeout as error:
        raise UserError(f"{lock_file}: another producer is drawing this split; wait for it or stop it") from error


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
    import tensorflow as tf  # here, because the workers that import this file do without

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
                    (images_dir / f"{index:08}_{quote(text, safe='')}.png").write_bytes(encoded)
    except tf.errors.OpError as error:
        raise UserError(f"{path}: cannot be written ({error.message})") from error
    content = path.read_bytes()
    return {
        "name": path.name,
        "records": len(indices),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _manifest(split: str, count: int, config: Config, shards: list[dict]) -> dict:
    return {
        "split": split,
        "count": count,
        "characters": config.characters,
        "length": config.length,
        "height": config.height,
        "width": config.width,
        "fonts": [Path(font).name for font in config.fonts or _captcha_image().DEFAULT_FONTS],
        "font_sizes": config.font_sizes,
        "seed": config.seed,
        "versions": {name: version(name) for name in ("captcha", "pillow")},
        "shards": shards,
    }


def _replace(records_dir: Path, split: str, manifest: dict, new_records: Path, images_dir: Path, new_images: Path):
    """Put the new set in the old one's place. No manifest, no set: it goes first and comes last."""
    for shard in new_records.iterdir():
        sync(shard)
    (records_dir / f"{split}.json").unlink(missing_ok=True)
    sync(records_dir)
    for old in records_dir.glob(f"{split}-?????-of-?????.tfrecord"):
        old.unlink()
    for shard in new_records.iterdir():
        shard.rename(records_dir / shard.name)
    shutil.rmtree(images_dir, ignore_errors=True)
    new_images.rename(images_dir)
    sync(records_dir)
    write_whole(records_dir / f"{split}.json", json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows has no such call for folders
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, text: str) -> None:
    """Write a file so that, whatever happens, it is there as a whole or as it was before."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    sync(new)
    new.replace(path)
    sync(path.parent)


# Telling -------------------------------------------------------------------------------------------------------------


def track(items: Iterable, total: int, what: str) -> Iterator:
    """Pass `items` on and show on standard error how many of `total` there were, the rate and the time left."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        rate = TextColumn("{task.fields[rate]:.0f} images/s")
        with Progress(*columns, rate, TimeRemainingColumn(), console=console) as progress:
            task = progress.add_task(what, total=total, rate=0)
            for item in items:
                progress.update(task, advance=1, rate=progress.tasks[task].speed or 0)
                yield item
        return
    start = last = time.monotonic()
    for done, item in enumerate(items, 1):
        now = time.monotonic()
        if now - last > PLAIN_SECONDS or done == total:
            last, rate = now, done / (now - start)
            left = (total - done) / rate
            print(f"{what}: {done} of {total}, {rate:.0f} images/s, {left:.0f} s left", file=sys.stderr, flush=True)
        yield item


def main() -> None:
    def extras(parser):
        parser.add_argument("-n", "--count", type=int, required=True, help="captchas to draw")
        parser.add_argument("-p", "--path", type=Path, required=True, help="folder of the PNGs; its name is the split's")
        parser.add_argument("--no-images", action="store_true", help="write the TFRecords alone")

    config, args = parse_args(__doc__, FIELDS, extras)
    if not 1 <= args.count <= 10**9:
        raise UserError(f"-n {args.count} is out of range; it must be from 1 to {10**9}")
    manifest = produce(args.count, args.path, config, images=not args.no_images)
    print(f"{manifest['split']}: {args.count} captchas in {len(manifest['shards'])} shards in {config.tfrecords_dir}/")


if __name__ == "__main__":
    run(main)
