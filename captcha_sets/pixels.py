"""The images of a split as plain pixels: decoded once, kept beside the set, and mapped into memory.

records = open_pixels(manifest, config)     an array on the disk, of any size; it takes no memory but the page cache
records = in_memory(images, labels, config) the same of images that are in memory
verified_records(records, index)            some of it, as arrays, checked
arrays(captchas, size, config)              (text, PNG file) pairs → arrays of images and labels
grey(images)                                the conversion that the network and the decoded images share
seen(images, config)                        colour or grey, as the network sees images
"""

import hashlib
import itertools
import mmap
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from captcha_cli import UserError, track
from captcha_config import Config
from captcha_predict.images import open_image
from captcha_sets.files import lock, read_checksummed, sync, write_checksummed
from captcha_sets.manifest import fingerprint, open_manifest
from captcha_sets.shards import check_shards, examples

import numpy as np
from keras import ops

BLOCK = 256  # images decoded at a time
BEGINNING = 4096  # bytes of a file that identify it: its header and the first checksum


def grey(images):
    """Convert uint8 [batch, height, width, channels], grey or RGB, to float32 [batch, height, width, 1].

    The values are whole numbers, so that uint8 can hold them.
    """
    images, channels = ops.cast(images, "float32"), images.shape[-1]
    if channels == 1:
        return images
    # The mean, as a convolution: in LiteRT this takes a quarter of the time of adding the channels.
    return ops.round(ops.conv(images, np.full((1, 1, channels, 1), 1 / channels, "float32")))


def seen(images, config: Config):
    """What the network sees of uint8 RGB images: their colour, or grey, as config.input_color says."""
    return images if config.input_color else ops.cast(grey(images), "uint8")


def arrays(captchas: Iterator[tuple[str, bytes]], size: int, config: Config) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Decode captchas, `size` of them at a time.

    Args:
      captchas: (text, PNG file) pairs.
    Yields:
      images: uint8 [size, height, width, 3], RGB; the last ones may be fewer.
      labels: int32 [size, length], positions in config.characters; after the end of a text, len(config.characters).
    Raises:
      UserError: a text has another length, or other characters, than the config allows; or an image cannot be read, or
        has another size.
    """
    done = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while batch := list(itertools.islice(captchas, size)):
            labels = [_labels(text, done + i, config) for i, (text, _) in enumerate(batch)]
            files = (encoded for _, encoded in batch)
            images = list(pool.map(_decode, files, itertools.count(done), itertools.repeat(config)))
            done += len(batch)
            yield np.stack(images), np.array(labels, np.int32)


def _decode(encoded: bytes, index: int, config: Config) -> np.ndarray:
    try:
        image = open_image(encoded)
    except UserError as error:
        raise UserError(f"record {index}: {error}; make the set again") from error
    if image.size != (config.width, config.height):
        raise UserError(
            f"record {index} is an image of {image.width}x{image.height}, not {config.width}x{config.height}; make the"
            " set again"
        )
    return np.asarray(image)


def _labels(text: str, index: int, config: Config) -> list[int]:
    if len(text) not in config.lengths or not set(text) <= set(config.characters):
        raise UserError(
            f"record {index} has the label {text!r}, which is not {config.lengths_in_words} of the characters"
            f" {config.characters!r}; make the set again"
        )
    end = [len(config.characters)] * (config.length - len(text))
    return [config.characters.index(character) for character in text] + end


def open_pixels(manifest: dict, config: Config) -> np.memmap:
    """Map the decoded images of a split into memory. The first call decodes them and writes them beside the set.

    Returns:
      A read-only array of records, [count]: "labels", int32 [length]; "image", uint8 [height, width, channels], in
      colour or grey as config.input_color says; and "checksum", by which verified_records finds a damaged one.
    Raises:
      UserError: a shard is missing or damaged, or the set was replaced meanwhile.
      OSError: the decoded images cannot be written.
    """
    split, folder = manifest["split"], _folder(config)
    check_shards(manifest, config)
    path = folder / f".{split}.pixels.npy"
    dtype = _dtype(config)
    made_of = {"set": fingerprint(manifest), "characters": config.characters, "dtype": str(dtype)}
    with lock(folder, f"{split}.pixels"):  # another process may be decoding the same split
        if not _is_complete(path, made_of):
            _note(path).unlink(missing_ok=True)
            new = path.with_name(f"{path.name}.new")
            try:
                _write(new, manifest, dtype, config)
                new.replace(path)
                sync(folder)
            finally:
                new.unlink(missing_ok=True)
            write_checksummed(_note(path), made_of | _looks(path))
        records = np.load(path, mmap_mode="r")
    if records.dtype != dtype or records.shape != (manifest["count"],):
        _note(path).unlink()
        raise UserError(f"{path}: does not hold this set; run the same command again, which decodes the images anew")
    if path.stat().st_size > _memory():
        # Read ahead fills the cache of a file that fits; of a larger one it would read megabytes for each image.
        records.base.madvise(mmap.MADV_RANDOM)
    return records


def _memory() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _folder(config: Config) -> Path:
    """Beside the set, or in the user's cache where the set is on another file system or a read-only one."""
    if "://" not in config.tfrecords_dir and os.access(config.tfrecords_dir, os.W_OK):
        return Path(config.tfrecords_dir)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = config.tfrecords_dir if "://" in config.tfrecords_dir else os.path.abspath(config.tfrecords_dir)
    folder = cache / "captcha-trainer" / hashlib.sha256(path.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _note(path: Path) -> Path:
    """The file that says what a file of pixels was made of. It is written last, and removed first."""
    return path.with_suffix(".json")


def _dtype(config: Config) -> np.dtype:
    image = (config.height, config.width, config.input_channels)
    return np.dtype([("checksum", "<u4"), ("labels", "<i4", (config.length,)), ("image", "u1", image)])


def _is_complete(path: Path, made_of: dict) -> bool:
    try:
        return read_checksummed(_note(path)) == made_of | _looks(path)
    except (OSError, ValueError):
        return False


def _looks(path: Path) -> dict:
    """What tells a file of pixels from one that was cut, or that is another set's, without reading all of it."""
    with open(path, "rb") as file:
        return {"bytes": path.stat().st_size, "beginning": zlib.crc32(file.read(BEGINNING))}


def _write(path: Path, manifest: dict, dtype: np.dtype, config: Config) -> None:
    """Write the records with plain writes: a full disk then raises an error. A memory map would kill the process."""
    split, start = manifest["split"], 0
    captchas = track(examples(manifest, config), manifest["count"], f"decoding {split}, once")
    with open(path, "wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (manifest["count"],)}
        np.lib.format.write_array_header_1_0(file, header)
        for images, labels in arrays(captchas, BLOCK, config):
            file.write(in_memory(seen(images, config), labels, config, start).tobytes())
            start += len(labels)
    if open_manifest(split, config) != manifest:
        raise UserError(f"{config.tfrecords_dir}: the {split} split was replaced while it was read; run again")
    sync(path)


def in_memory(images: np.ndarray, labels: np.ndarray, config: Config, start: int = 0) -> np.ndarray:
    """Records as those of open_pixels, of captchas that are in memory.

    Args:
      images: uint8 [count, height, width, channels].
      labels: int32 [count, length].
      start: the index of the first of them in its split.
    """
    records = np.zeros(len(labels), _dtype(config))
    records["labels"] = labels
    records["image"] = images
    records["checksum"] = _checksums(records, range(start, start + len(records)))
    return records


def _checksums(records: np.ndarray, indices: range | np.ndarray) -> list[int]:
    """CRC-32 of each record without its checksum, seeded with its index, so that swapped records are found."""
    content = records.view(np.uint8).reshape(len(records), -1)[:, 4:]
    return [zlib.crc32(row, int(index)) for row, index in zip(content, indices, strict=True)]


def verified_records(records: np.memmap, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Copy some records from the disk.

    Args:
      records: as open_pixels returns them.
      index: int64 [batch].
    Returns:
      images: uint8 [batch, height, width, channels].
      labels: int32 [batch, length].
    Raises:
      UserError: a record has been damaged since it was decoded.
    """
    found = records[index]
    if _checksums(found, index) != found["checksum"].tolist():
        path = Path(records.filename)
        _note(path).unlink(missing_ok=True)
        raise UserError(f"{path}: was damaged on the disk; run the same command again, which decodes the images anew")
    return found["image"], found["labels"]
