"""Draw one captcha with the captcha library, seeded.

text, image = draw(index, split, config)    one captcha; config.seed, split and index alone decide it
check_fonts(config)                         refuse characters that look alike, or that a font lacks
"""

import functools
import importlib.util
import io
import random
import re
import threading
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, SimpleNamespace
from urllib.parse import quote

from captcha_cli import UserError
from captcha_config import Config

from PIL import Image, ImageFont

PNG_COMPRESS_LEVEL = 3  # files 4 % larger than with Pillow's 6, encoded in 0.6 of the time
TRAIN = "train"  # the split that oversample_characters applies to
_drawing = threading.Lock()  # threads would otherwise draw with each other's random numbers


@functools.cache
def _captcha_image() -> ModuleType:
    """A private copy of captcha.image. The library draws with `secrets`, which has no seed; `draw` replaces it."""
    spec = importlib.util.find_spec("captcha.image")
    source = Path(spec.origin).read_text(encoding="utf-8")
    if set(re.findall(r"\bsecrets\.(\w+)", source)) != {"randbelow", "randbits", "choice"}:
        raise UserError(f"captcha {version('captcha')} cannot be seeded; install captcha 0.7.1")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def _image_captcha(width: int, height: int, fonts: tuple[str, ...], font_sizes: tuple[int, ...]):
    return _captcha_image().ImageCaptcha(width, height, list(fonts), font_sizes)  # keeps its fonts loaded


def draw(index: int, split: str, config: Config) -> tuple[str, Image.Image]:
    """Draw one captcha. (config.seed, split, index) decide it, whatever the process drew before.

    Returns:
      Its text, and its RGB image of config.width x config.height pixels.
    """
    rng = random.Random(
        f"{config.seed}/{split}/{index}"
    )  # hashed with SHA-512, so that no two generators share a sequence
    with _drawing:
        _captcha_image().secrets = SimpleNamespace(randbelow=rng.randrange, randbits=rng.getrandbits, choice=rng.choice)
        text = "".join(rng.choices(config.characters, _weights(split, config), k=config.length))
        return text, _image_captcha(config.width, config.height, config.fonts, config.font_sizes).generate_image(text)


def _weights(split: str, config: Config) -> list[float] | None:
    """How often each character is drawn, relative to the others; None: all equally often."""
    if not config.oversample_characters or split != TRAIN:
        return None
    oversampled = len(set(config.oversample_characters))
    others = len(config.characters) - oversampled
    return [1 / (oversampled if c in config.oversample_characters else others) for c in config.characters]


def check_fonts(config: Config) -> None:
    """Raise UserError where a font cannot be read, lacks a character, or draws two characters alike."""
    for font_file in config.fonts or _captcha_image().DEFAULT_FONTS:
        for size in config.font_sizes:
            _check_font(font_file, size, config.characters)


def _check_font(font_file: str, size: int, characters: str) -> None:
    try:
        font = ImageFont.truetype(font_file, size)
    except OSError as error:
        raise UserError(f"fonts: {font_file} cannot be read ({error}); name a TrueType font file") from error
    drawn = {bytes(font.getmask("\uffff")): None}  # no font has this character: it is drawn as the empty box
    for character in characters:
        other = drawn.setdefault(bytes(font.getmask(character)), character)
        if other is None:
            raise UserError(f"characters: {font_file} has no {character!r}; leave it out or use another font")
        if other != character:
            raise UserError(
                f"characters: {font_file} draws {other!r} and {character!r} alike at {size} pixels;"
                " leave one out, or use another font or size"
            )


def file_label(text: str) -> str:
    """A captcha's text as part of a file name."""
    return quote(text, safe="").replace("_", "%5F")


def png(image: Image.Image) -> bytes:
    """The image as a PNG file."""
    encoded = io.BytesIO()
    image.save(encoded, format="png", compress_level=PNG_COMPRESS_LEVEL)
    return encoded.getvalue()
