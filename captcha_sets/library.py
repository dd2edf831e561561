"""Draw with the captcha library, seeded: the default drawer.

image = draw(text, config, rng)     one captcha
draw_one_or_mixed(text, ...)        the same, of one font size, or of several others
check_fonts(config)                 refuse characters that look alike, or that a font lacks
"""

import dataclasses
import functools
import importlib.util
import random
import re
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, SimpleNamespace

from captcha_cli import UserError
from captcha_config import RANGES, Config

from PIL import Image, ImageFont

MAX_FONTS = 1000  # fonts that are known to have all characters; it takes 30 ms to find out
MAX_KEPT = 100  # configs whose fonts stay loaded; the try-out page draws with many
ATTRIBUTES = (*RANGES, "word_space_probability", "word_offset_dx")  # of the library's ImageCaptcha


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


@functools.lru_cache(maxsize=MAX_KEPT)
def _image_captcha(config: Config, width: int, height: int):
    """The library's ImageCaptcha with the config's settings; it keeps its fonts loaded."""
    captcha = _captcha_image().ImageCaptcha(width, height, list(config.fonts), config.font_sizes)
    for name in ATTRIBUTES:
        setattr(captcha, name, getattr(config, name))
    if config.lookup_table:
        captcha.lookup_table = list(config.lookup_table)
    dots, curve = captcha.create_noise_dots, captcha.create_noise_curve
    captcha.create_noise_dots = functools.partial(dots, width=config.noise_dot_width, number=config.noise_dots)

    def create_noise_curves(image: Image.Image, color: tuple[int, ...]) -> None:
        for _ in range(config.noise_curves):
            curve(image, color)

    captcha.create_noise_curve = create_noise_curves
    return captcha


def draw(text: str, config: Config, rng: random.Random) -> Image.Image:
    """Draw a captcha: an RGB image of one of config.canvases."""
    _captcha_image().secrets = SimpleNamespace(randbelow=rng.randrange, randbits=rng.getrandbits, choice=rng.choice)
    size = rng.choice(config.canvases) if config.canvas_sizes else (config.width, config.height)
    return _image_captcha(config, *size).generate_image(text, config.bg_color, config.fg_color)


def draw_one_or_mixed(text: str, config: Config, rng: random.Random) -> Image.Image:
    """Draw with the first of the font sizes, or with the others: half of the captchas each.

    The library takes a font size for each character. Of sizes 40 to 56 it would hardly ever draw a captcha of 40 alone.
    """
    first, *others = config.font_sizes
    sizes = rng.choice([(first,), tuple(others)]) if others else (first,)
    return draw(text, _with_sizes(config, sizes), rng)


@functools.lru_cache(maxsize=MAX_KEPT)
def _with_sizes(config: Config, font_sizes: tuple[int, ...]) -> Config:
    return dataclasses.replace(config, font_sizes=font_sizes)


def check_fonts(config: Config) -> None:
    """Raise UserError where a font cannot be read, lacks a character, or draws two characters alike."""
    for font_file in config.fonts or _captcha_image().DEFAULT_FONTS:
        for size in config.font_sizes:
            _check_font(font_file, size, config.characters)


@functools.lru_cache(maxsize=MAX_FONTS)
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
