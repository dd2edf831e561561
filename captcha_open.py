"""Open images that may be anything: PNG and JPEG by content, of a sane size, whole; what is transparent becomes white.

open_image(source)                  an RGB image, or a UserError that says what is wrong
resized(image, config)              the size that the network takes
images_in(folder)                   the files to look at
labelled_images(source, config)     (path, text, size) of all in a folder or a CSV file, and every problem
"""

import csv
import hashlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from captcha_config import Config, UserError

import numpy as np
from PIL import Image, ImageOps

MOST_BYTES = 10_000_000  # of a file
MOST_PIXELS = 16_000_000  # of an image, by its header: a small file can hold gigabytes of them


def open_image(source: Path | bytes | Image.Image | np.ndarray) -> Image.Image:
    """Read one image, whatever it claims to be.

    Args:
      source: a file, what is in a file, a Pillow image, or pixels: uint8 [height, width] or [height, width, channels]
        of 1 (grey), 3 (RGB) or 4 (RGB and opacity) channels.
    Returns:
      An RGB image, upright.
    Raises:
      UserError: it is not there, no whole PNG or JPEG, larger than MOST_BYTES or MOST_PIXELS, or no array of pixels.
    """
    what = source if isinstance(source, Path) else "the image"
    try:
        if isinstance(source, Image.Image):
            image = source
        elif isinstance(source, np.ndarray):
            image = _of_pixels(source)
        elif not isinstance(source, Path | bytes):
            kind = type(source).__name__
            raise UserError(f"the image: is of type {kind}; give a path, bytes, pixels or a Pillow image")
        else:
            size = source.stat().st_size if isinstance(source, Path) else len(source)
            if size > MOST_BYTES:
                raise UserError(f"{what}: has {size} bytes, more than {MOST_BYTES}; make it smaller")
            content = io.BytesIO(source.read_bytes() if isinstance(source, Path) else source)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
                image = Image.open(content, formats=("PNG", "JPEG"))
        if image.width * image.height > MOST_PIXELS:
            raise UserError(f"{what}: has {image.width}x{image.height} pixels, more than {MOST_PIXELS}; shrink it")
        image.load()  # all of it
        return _on_white(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise UserError(f"{what}: has far more than {MOST_PIXELS} pixels; shrink it") from error
    except Image.UnidentifiedImageError as error:
        raise UserError(f"{what}: is neither a PNG nor a JPEG; convert it or leave it out") from error
    except UserError:
        raise
    except Exception as error:  # Pillow has another exception for each kind of damage
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{what}: cannot be read ({reason}); replace it or leave it out") from error


def _of_pixels(pixels: np.ndarray) -> Image.Image:
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in pixels.shape:
        raise UserError(
            f"the array: is {pixels.dtype} {list(pixels.shape)}; give uint8 [height, width] or [height, width,"
            " channels] of 1, 3 or 4 channels, and several images as a list"
        )
    return Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and channels == 1 else pixels)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel, which Pillow would cut off instead of scaling
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def resized(image: Image.Image, config: Config) -> Image.Image:
    """The image at config.width x config.height pixels."""
    size = (config.width, config.height)
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)


def images_in(folder: Path) -> list[Path]:
    """The files of a folder, by name, without the hidden ones. Raises UserError where there is none."""
    paths = sorted(path for path in folder.iterdir() if not path.is_dir() and not path.name.startswith("."))
    if not paths:
        raise UserError(f"{folder}: has no images; put some there, or name another folder")
    return paths


def labelled_images(source: Path, config: Config) -> tuple[list[tuple[Path, str, str]], list[str]]:
    """Look at every image of a folder or a CSV file, and at its label.

    Args:
      source: a folder of images named LABEL.png or anything_LABEL.png, as the producer names them; or a CSV file with
        the columns file (seen from the CSV file's folder) and label.
    Returns:
      good: (path, text, size such as "160x60"), in order.
      problems: one line for each file that cannot be learnt from, and why.
    Raises:
      UserError: the source is not there, names no file, or is no such CSV file.
    """
    good, problems, seen = [], [], {}
    for path, text in list(_labels(source)):
        outside = sorted(set(text) - set(config.characters))
        try:
            image = open_image(path)
        except UserError as error:
            problems.append(str(error))
            continue
        pixels = hashlib.sha256(image.tobytes()).digest()
        if len(text) != config.length:
            problems.append(f"{path}: the label {text!r} has {len(text)} characters, not {config.length}")
        elif outside:
            problems.append(f"{path}: the label {text!r} has {outside[0]!r}, which is not in the characters")
        elif pixels in seen:
            problems.append(f"{path}: shows the same as {seen[pixels].name}")
        else:
            seen[pixels] = path
            good.append((path, text, f"{image.width}x{image.height}"))
    return good, problems


def _labels(source: Path) -> Iterator[tuple[Path, str]]:
    """(path, label) of each image, read or not."""
    if source.is_dir():
        for path in images_in(source):
            yield path, unquote(path.stem.rpartition("_")[2])
    elif source.suffix.lower() == ".csv" and source.is_file():
        with open(source, newline="", encoding="utf-8-sig") as file:
            try:
                rows = csv.DictReader(file, strict=True)
                if not {"file", "label"} <= set(rows.fieldnames or ()):
                    raise UserError(f"{source}: its first line must name the columns: file,label")
                for row in rows:
                    if not row["file"] or row["label"] is None:
                        raise UserError(f"{source}: line {rows.line_num} has not a file and a label; mend it")
                    yield source.parent / row["file"], row["label"]
            except (csv.Error, UnicodeDecodeError) as error:
                raise UserError(f"{source}: is no CSV file in UTF-8 ({error}); mend it") from error
    else:
        raise UserError(
            f"{source}: is no folder and no CSV file; name a folder with images such as 2704.png or photo_2704.png, or"
            " a CSV file with the columns file and label"
        )
