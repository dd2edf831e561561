"""Open images from any source: PNG, JPEG, GIF, WebP and BMP, recognized by content, complete, and within size limits.

open_image(source)          an RGB image, or a UserError that says what is wrong
resized(image, size)        the image at the size that the network takes
images_in(folder)           the files of a folder, in order
"""

import hashlib
import io
import os
from pathlib import Path

from captcha_predict.console import UserError

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "GIF", "WebP", "BMP")
LABELS, UNREADABLE, CHECKED = "labels.csv", "unreadable.csv", "checked.csv"
TABLES = (LABELS, UNREADABLE, CHECKED)  # what captcha_label.py writes beside the images
MAX_BYTES = 10_000_000  # of a file
MAX_PIXELS = 16_000_000  # of an image, by its header: a small file can hold billions of them
MAX_SIDE = 65_535  # pixels, as in JPEG and GIF: what resizing needs grows with the side


def open_image(source: Path | bytes | Image.Image | np.ndarray) -> Image.Image:
    """Read one image.

    Args:
      source: a file, the bytes of a file, a Pillow image, or pixels: uint8 [height, width] or [height, width, channels]
        of 1 (grey), 3 (RGB) or 4 (RGB and opacity) channels.
    Returns:
      An RGB image, upright; of an animation, the first frame.
    Raises:
      UserError: the file does not exist, is not a complete image of one of FORMATS, or exceeds MAX_BYTES,
        MAX_PIXELS or MAX_SIDE; or the array does not hold pixels.
    """
    name = source if isinstance(source, Path) else "the image"
    try:
        image = _opened(source, name)
        if image.width * image.height > MAX_PIXELS:
            raise UserError(f"{name}: has {image.width}x{image.height} pixels, more than {MAX_PIXELS}; shrink it")
        if max(image.size) > MAX_SIDE:
            raise UserError(f"{name}: has {image.width}x{image.height} pixels, a side of over {MAX_SIDE}; shrink it")
        image.load()
        image = ImageOps.exif_transpose(image)  # a copy; the other is not kept
        return _on_white(image)
    except Image.DecompressionBombError as error:
        raise UserError(f"{name}: has far more than {MAX_PIXELS} pixels; shrink it") from error
    except Image.UnidentifiedImageError as error:
        raise UserError(
            f"{name}: is not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file; convert it or leave it out"
        ) from error
    except UserError:
        raise
    except Exception as error:  # Pillow raises a different exception for each kind of damage
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{name}: cannot be read ({reason}); replace it or leave it out") from error


def _opened(source: Path | bytes | Image.Image | np.ndarray, name: Path | str) -> Image.Image:
    if isinstance(source, Image.Image):
        return source
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if not isinstance(source, Path | bytes):
        kind = type(source).__name__
        raise UserError(f"the image is of type {kind}; give a path, bytes, pixels or a Pillow image")
    content = _first_bytes(source) if isinstance(source, Path) else source
    if len(content) > MAX_BYTES:
        raise UserError(f"{name}: has more than {MAX_BYTES} bytes; make it smaller")
    return Image.open(io.BytesIO(content), formats=FORMATS)


def _first_bytes(path: Path) -> bytes:
    """What a file holds, and one byte too many at most: a device may never end."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size or MAX_BYTES  # pipes and devices say 0
        return file.read(min(size, MAX_BYTES) + 1)  # as much is allocated


def _from_array(pixels: np.ndarray) -> Image.Image:
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in pixels.shape:
        raise UserError(
            f"the array is {pixels.dtype} {list(pixels.shape)}; give uint8 [height, width] or [height, width,"
            " channels] of 1, 3 or 4 channels, and several images as a list"
        )
    return Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and channels == 1 else pixels)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16 bits a pixel to 8, where Pillow would clip. Mode "I" may also hold 8-bit values in 32-bit integers."""
    pixels = np.asarray(image)
    if image.mode != "I" or pixels.max() > 255:
        pixels = pixels >> 8
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def digest(image: Image.Image) -> bytes:
    """A hash of an image's size and pixels."""
    return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).digest()


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The image at `size`, (width, height) in pixels."""
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)


def images_in(folder: Path) -> list[Path]:
    """The files of a folder, by name, without hidden ones and TABLES. Raises UserError where there is none."""
    files = (path for path in folder.iterdir() if path.is_file() or not path.exists())  # no folders, pipes or devices
    paths = sorted(path for path in files if path.name not in TABLES and not path.name.startswith("."))
    if not paths:
        raise UserError(f"{folder}: has no images; put some there, or name another folder")
    return paths
