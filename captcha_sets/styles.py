"""Draw captchas of as many styles as possible: the drawer that the starter network learns from.

image = draw(text, config, rng)     one captcha of a style of its own, in fonts of config.fonts

Each captcha is drawn in five steps, and each step is chosen at random: the ground, clutter behind the text, the text,
clutter before it, and damage (warp, blur, noise, JPEG).
"""

import random
from typing import NamedTuple

from captcha_cli import UserError
from captcha_config import Config
from captcha_sets.clutter import GROUNDS, Colour, any_colour, clutter, gradient, ink_on, near, plain, stripes
from captcha_sets.damage import damaged
from captcha_sets.glyphs import Pair, glyphs

import numpy as np
from PIL import Image

CLUTTER_BEFORE = 0.6  # share of captchas with clutter before the text
ONE_FONT = 0.75  # share of captchas with one font for all characters
ONE_INK = 0.6  # share with one colour for all characters
PATCHES = 0.15  # share with a ground of its own behind each character
OVERLAPS = (0, 0, 0.05, 0.1, 0.2, 0.3)  # of characters, share of their width
UNEVEN = (0, 0, 0.05, 0.15)  # distance of a character from the middle line, share of the height
IRREGULAR = 0.4  # share of captchas whose gaps differ: some characters touch, others stand apart
SPREADS = (0, 0.2, 0.5)  # distance of a character from the middle of its gap, share of the gap


def draw(text: str, config: Config, rng: random.Random) -> Image.Image:
    """Draw a captcha of one of config.canvases.

    Raises:
      UserError: config.fonts names no font.
    """
    if not config.fonts:
        raise UserError("fonts: this drawer has no fonts of its own; name TrueType files (--fonts)")
    size = rng.choice(config.canvases)
    noise = np.random.default_rng(rng.getrandbits(64))
    ground = any_colour(rng)
    image = rng.choice(GROUNDS)(size, ground, rng, noise)
    clutter(image, [near(ground, rng), any_colour(rng)], rng)
    ink = ink_on(ground, rng)
    _write(image, text, ink, ground, config, rng)
    if rng.random() < CLUTTER_BEFORE:
        clutter(image, [ink, any_colour(rng)], rng)
    return damaged(image, rng, noise)


# The text


class Place(NamedTuple):
    """Where a character is, pixels."""

    left: int
    top: int
    columns: tuple[float, float]  # from its left to that of the next one, the gap included


def _write(image: Image.Image, text: str, ink: Colour, ground: Colour, config: Config, rng: random.Random) -> None:
    """Draw the characters side by side, over the whole width or a part of it."""
    fonts = rng.choices(config.fonts, k=len(text))
    if rng.random() < ONE_FONT:
        fonts = fonts[:1] * len(text)
    pairs = glyphs(text, fonts, image.size, rng)
    one_ink, patches = rng.random() < ONE_INK, rng.random() < PATCHES
    for (glyph, outline), place in zip(pairs, _places(pairs, image.size, rng), strict=True):
        behind = ground
        if patches:
            behind = any_colour(rng)
            _patch(image, place.columns, behind, rng)
        colour = ink if one_ink and not patches else ink_on(behind, rng)
        if outline:
            image.paste(ink_on(colour, rng), (place.left, place.top), outline)
        image.paste(colour, (place.left, place.top), glyph)


def _places(pairs: list[Pair], size: tuple[int, int], rng: random.Random) -> list[Place]:
    width, height = size
    overlap, uneven, spread = rng.choice(OVERLAPS), rng.choice(UNEVEN) * height, rng.choice(SPREADS)
    middle = height * rng.uniform(0.45, 0.55)
    steps = [glyph.width * (1 - overlap) for glyph, _ in pairs]
    free = max(0.0, width - sum(steps) - overlap * pairs[-1][0].width)  # the last one keeps its full width
    gaps = _gaps(len(pairs), rng.random() * free, rng)
    x = rng.uniform(0, free - sum(gaps))
    places = []
    for (glyph, _), step, gap in zip(pairs, steps, gaps, strict=True):
        left = round(x + gap * (0.5 + rng.uniform(-spread, spread)))
        top = round(middle - glyph.height / 2 + rng.uniform(-uneven, uneven))
        places.append(Place(left, top, (x, x + step + gap)))
        x += step + gap
    return places


def _gaps(count: int, total: float, rng: random.Random) -> list[float]:
    """The gap of each character; together they are `total` pixels."""
    weights = [rng.expovariate(1) for _ in range(count)] if rng.random() < IRREGULAR else [1.0] * count
    return [total * weight / sum(weights) for weight in weights]


def _patch(image: Image.Image, columns: tuple[float, float], colour: Colour, rng: random.Random) -> None:
    """A ground of its own behind one character."""
    left, right = round(columns[0]), max(round(columns[1]), round(columns[0]) + 2)
    size = (right - left, image.height)
    image.paste(rng.choice((plain, gradient, stripes))(size, colour, rng, None), (left, 0))
