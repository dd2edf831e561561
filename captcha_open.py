"""Open images of one's own: PNG and JPEG by content, of a sane size, whole; what is transparent becomes white.

open_image(path)                    an RGB image, or a UserError that says what is wrong
labelled_images(folder, config)     (path, text) of all in a folder, and every problem there is
"""

import hashlib
import warnings
from pathlib import Path
from urllib.parse import unquote

from captcha_config import Config, UserError

import numpy as np
from PIL import Image, ImageOps

MOST_BYTES = 10_000_000  # of a file
MOST_PIXELS = 16_000_000  # of an image, by its header: a small file can hold gigabytes of them


def open_image(path: Path) -> Image.Image:
    """Read one image, whatever it claims to be.

    Returns:
      An RGB image, upright.
    Raises:
      UserError: it is not there, no whole PNG or JPEG, or larger than MOST_BYTES or MOST_PIXELS.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path}: has {path.stat().st_size} bytes, more than {MOST_BYTES}; make it smaller")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
            image = Image.open(path, formats=("PNG", "JPEG"))
        with image:
            if image.width * image.height > MOST_PIXELS:
                raise UserError(f"{path}: has {image.width}x{image.height} pixels, more than {MOST_PIXELS}; shrink it")
            image.load()
            return _on_white(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: has far more than {MOST_PIXELS} pixels; shrink it") from error
    except Image.UnidentifiedImageError as error:
        raise UserError(f"{path}: is neither a PNG nor a JPEG; convert it or leave it out") from error
    except UserError:
        raise
    except Exception as error:  # Pillow has another exception for each kind of damage
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: cannot be read ({reason}); replace it or leave it out") from error


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel, which Pillow would cut off instead of scaling
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def labelled_images(folder: Path, config: Config) -> tuple[list[tuple[Path, str]], list[str]]:
    """Look at every file of a folder. A name is LABEL.png or anything_LABEL.png, as the producer writes them.

    Returns:
      good: (path, text), by name.
      problems: one line for each file that cannot be learnt from, and why.
    Raises:
      UserError: the folder is not there, or has no file.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; name one with images such as 2704.png or photo_2704.png")
    paths = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not paths:
        raise UserError(f"{folder}: has no images; put some there, named such as 2704.png or photo_2704.png")
    good, problems, seen = [], [], {}
    for path in paths:
        text = unquote(path.stem.rpartition("_")[2])
        outside = sorted(set(text) - set(config.characters))
        try:
            pixels = hashlib.sha256(open_image(path).tobytes()).digest()
        except UserError as error:
            problems.append(str(error))
            continue
        if len(text) != config.length:
            problems.append(f"{path}: the label {text!r} has {len(text)} characters, not {config.length}")
        elif outside:
            problems.append(f"{path}: the label {text!r} has {outside[0]!r}, which is not in the characters")
        elif pixels in seen:
            problems.append(f"{path}: shows the same as {seen[pixels].name}")
        else:
            seen[pixels] = path
            good.append((path, text))
    return good, problems
