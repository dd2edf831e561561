"""Draw one captcha, seeded.

text, image = draw(index, split, config)    one captcha; config.seed, split and index alone decide it
check_drawing(config)                       refuse what cannot be drawn, before anything is
check_trusted(name, config)                 refuse a drawer that only a file names
"""

import contextlib
import functools
import importlib
import io
import os
import random
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from urllib.parse import quote

from captcha_cli import UserError
from captcha_config import Config
from captcha_predict.images import open_image, resized
from captcha_sets.library import check_fonts

import numpy as np
from PIL import Image

PNG_COMPRESS_LEVEL = 3  # files 4 % larger than with Pillow's 6, encoded in 0.6 of the time
OWN = ("captcha_sets.library:draw", "captcha_sets.library:draw_one_or_mixed", "captcha_sets.styles:draw")  # drawers
TRAIN = "train"  # the split that oversample_characters applies to
_drawing = threading.Lock()  # threads would otherwise draw with each other's random numbers


def draw(index: int, split: str, config: Config) -> tuple[str, Image.Image]:
    """Draw one captcha. (config.seed, split, index) decide it, whatever the process drew before.

    Returns:
      Its text, and its RGB image of config.width x config.height pixels.
    Raises:
      UserError: the drawer fails, or returns something else than an image of one of config.canvases.
    """
    name = f"{config.seed}/{split}/{index}"
    rng = random.Random(name)  # hashed with SHA-512, so that no two generators share a sequence
    with _drawing:
        text = _text(rng, split, config)
        with contextlib.nullcontext() if is_own(config.drawer) else _seeded(name):  # our own use rng alone
            image = _drawn(text, config, rng)
        image = image if image.mode == "RGB" else open_image(image)  # what is transparent is white, as in files
        return text, resized(image, (config.width, config.height))


def _text(rng: random.Random, split: str, config: Config) -> str:
    length = rng.choice(config.lengths) if config.min_length else config.length
    return "".join(rng.choices(config.characters, _weights(split, config), k=length))


def _weights(split: str, config: Config) -> list[float] | None:
    """How often each character is drawn, relative to the others; None: all equally often."""
    if not config.oversample_characters or split != TRAIN:
        return None
    oversampled = len(set(config.oversample_characters))
    others = len(config.characters) - oversampled
    return [1 / (oversampled if c in config.oversample_characters else others) for c in config.characters]


@contextlib.contextmanager
def _seeded(name: str) -> Iterator[None]:
    """Seed what drawers use that ignore their `rng`: Python's and NumPy's own random numbers. Restored at the end."""
    states = random.getstate(), np.random.get_state()
    random.seed(f"{name}/global")
    np.random.seed(random.getrandbits(32))
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def _drawn(text: str, config: Config, rng: random.Random) -> Image.Image:
    draw_text, what = drawer(config.drawer), f"drawer: {config.drawer}"
    try:
        image = draw_text(text, config, rng)
    except UserError:
        raise
    except Exception as error:
        if is_own(config.drawer):
            raise  # a bug of ours
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(frame.filename)}, line {frame.lineno}"
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{what} fails for the text {text!r} with {reason} ({where}); correct it") from error
    if not isinstance(image, Image.Image):
        raise UserError(f"{what} returns a value of type {type(image).__name__}; it must return a Pillow image")
    if image.size not in config.canvases:
        size = "x".join(map(str, image.size))
        sizes = ", ".join(f"{width}x{height}" for width, height in config.canvases)
        raise UserError(f"{what} returns an image of {size}, not {sizes}; name its sizes: --canvas_sizes {size}")
    return image


@functools.cache
def drawer(name: str) -> Callable:
    """The function (text, config, rng) → image that `name` names, such as my_module:draw.

    Raises:
      UserError: there is no such function, or its module cannot be imported.
    """
    module, _, function = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        with _seeded(module):  # a module may draw random numbers while it is imported
            return getattr(importlib.import_module(module), function)
    except Exception as error:  # a module may raise anything while it is imported
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(
            f"drawer: {name} cannot be imported ({reason}); name a function as module:function, of a module in the"
            " current folder or an installed one"
        ) from error


def is_own(name: str) -> bool:
    """Whether a drawer is one of this project's."""
    return name in OWN


def check_trusted(name: str, config: Config) -> None:
    """Raise UserError where a set or a network names a drawer that the config does not: a file must not run code."""
    if not is_own(name) and name != config.drawer:
        raise UserError(f"drawer: these captchas are drawn by {name}; if you trust that code, add --drawer {name}")


def check_drawing(config: Config) -> None:
    """Raise UserError where the drawer cannot be imported, or one of the fonts lacks a character."""
    drawer(config.drawer)
    if is_own(config.drawer):
        check_fonts(config)


def file_label(text: str) -> str:
    """A captcha's text as part of a file name. Only ASCII is escaped: a name may have no more than 255 bytes."""
    return "".join(quote(c, safe="").replace("_", "%5F") if c.isascii() else c for c in text)


def png(image: Image.Image) -> bytes:
    """The image as a PNG file."""
    encoded = io.BytesIO()
    image.save(encoded, format="png", compress_level=PNG_COMPRESS_LEVEL)
    return encoded.getvalue()
