"""What is around the text of a captcha, for captcha_sets/styles.py: colours, grounds and clutter.

any_colour(rng), ink_on(ground, rng)        colours
image = rng.choice(GROUNDS)(size, ...)      a ground
clutter(image, colours, rng)                lines, arcs, dots and the like, drawn onto an image
"""

import math
import random
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LIGHTNESS = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
CONTRASTS = (40, 75, 75)  # least difference in lightness, of 255, between ink and its ground: one of these at random
ATTEMPTS = 50  # inks that are tried before black or white is taken
BY_COLOUR = 150  # distance in RGB at which ink is seen by its colour alone
BY_COLOUR_ALONE = 0.15  # share of inks that are seen by their colour alone
SMALL_TEXT = "abcdefghkmnpqrstuvwxyz23456789"

Colour = tuple[int, ...]


# Colours


def any_colour(rng: random.Random) -> Colour:
    """Any colour; light ones, dark ones and greys are more frequent, as they are in captchas."""
    kind = rng.random()
    if kind < 0.35:
        return tuple(rng.randint(200, 255) for _ in range(3))
    if kind < 0.5:
        return tuple(rng.randint(0, 70) for _ in range(3))
    if kind < 0.65:
        return (rng.randint(0, 255),) * 3
    return tuple(rng.randint(0, 255) for _ in range(3))


def near(colour: Colour, rng: random.Random, most: int = 45) -> Colour:
    return tuple(max(0, min(255, value + rng.randint(-most, most))) for value in colour)


def _lightness(colour: Colour) -> float:
    return sum(weight * value for weight, value in zip(LIGHTNESS, colour, strict=True))


def ink_on(ground: Colour, rng: random.Random) -> Colour:
    """A colour that can be seen on the ground: by its lightness, or now and then by its colour alone."""
    by_colour = rng.random() < BY_COLOUR_ALONE
    contrast = rng.choice(CONTRASTS)
    for _ in range(ATTEMPTS):
        ink = any_colour(rng)
        if math.dist(ink, ground) > BY_COLOUR if by_colour else abs(_lightness(ink) - _lightness(ground)) > contrast:
            return ink
    return (0, 0, 0) if _lightness(ground) > 127 else (255, 255, 255)


# Grounds: (size, colour, rng, noise) → an RGB image


def plain(size: tuple[int, int], colour: Colour, rng: random.Random, noise: np.random.Generator) -> Image.Image:
    return Image.new("RGB", size, colour)


def gradient(size: tuple[int, int], colour: Colour, rng: random.Random, noise: np.random.Generator) -> Image.Image:
    corners = Image.new("RGB", (2, 2))
    corners.putdata([near(colour, rng) for _ in range(4)])
    return corners.resize(size, Image.Resampling.BILINEAR)


def clouds(size: tuple[int, int], colour: Colour, rng: random.Random, noise: np.random.Generator) -> Image.Image:
    """A coarse or fine texture, in colour or grey."""
    cell, strength = rng.choice([1, 1, 2, 4, 8, 16]), rng.uniform(5, 38)
    columns, rows = size[0] // cell + 2, size[1] // cell + 2
    texture = noise.normal(0, strength, (rows, columns, rng.choice([1, 3])))
    pixels = np.clip(np.array(colour) + texture, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize(size, rng.choice([Image.Resampling.BILINEAR, Image.Resampling.NEAREST]))


def stripes(size: tuple[int, int], colour: Colour, rng: random.Random, noise: np.random.Generator) -> Image.Image:
    image, other = Image.new("RGB", size, colour), near(colour, rng)
    pen, step, slant = ImageDraw.Draw(image), rng.randint(3, 16), rng.uniform(-1, 1) * size[1]
    for x in range(-size[1], size[0] + size[1], 2 * step):
        pen.line([(x, 0), (x + slant, size[1])], fill=other, width=step)
    return image


GROUNDS: tuple[Callable, ...] = (plain, plain, gradient, clouds, clouds, stripes)


# Clutter


def clutter(image: Image.Image, colours: list[Colour], rng: random.Random) -> None:
    """Draw none, one or two kinds of clutter."""
    kinds = (_lines, _lines, _arcs, _curves, _dots, _dots, _dashes, _blobs, _grid, _small_text)
    for kind in rng.sample(kinds, rng.choice([0, 0, 1, 1, 1, 2])):
        kind(ImageDraw.Draw(image), image.size, rng.choice(colours), rng)


def _point(size: tuple[int, int], rng: random.Random) -> tuple[int, int]:
    return rng.randrange(size[0]), rng.randrange(size[1])


def _lines(pen: ImageDraw.ImageDraw, size: tuple[int, int], colour: Colour, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 2, 3, 5, 8])):
        pen.line([_point(size, rng), _point(size, rng)], fill=colour, width=rng.choice([1, 1, 1, 2, 2, 3]))
        colour = rng.choice([colour, near(colour, rng, 80)])


def _arcs(pen: ImageDraw.ImageDraw, size: tuple[int, int], colour: Colour, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 1, 2, 4])):
        (left, top), (width, height) = _point(size, rng), _point(size, rng)
        box = [left - width, top - height, left + width, top + height]
        pen.arc(box, rng.randrange(360), rng.randrange(360), fill=colour, width=rng.choice([1, 2, 2, 3]))


def _curves(pen: ImageDraw.ImageDraw, size: tuple[int, int], colour: Colour, rng: random.Random) -> None:
    """One or two waves through the whole width."""
    for _ in range(rng.choice([1, 1, 2])):
        middle, height = rng.uniform(0.2, 0.8) * size[1], rng.uniform(0.05, 0.4) * size[1]
        turns, phase = rng.uniform(0.5, 3), rng.uniform(0, math.tau)
        places = range(0, size[0] + 4, 4)
        waves = [(x, middle + height * math.sin(phase + turns * math.tau * x / size[0])) for x in places]
        pen.line(waves, fill=colour, width=rng.choice([1, 2, 2, 3, 4, size[1] // 10]))


def _dots(pen: ImageDraw.ImageDraw, size: tuple[int, int], colour: Colour, rng: random.Random) -> None:
    radius = rng.choice([0, 0, 1, 1, 2])
    for _ in range(rng.choice([20, 50, 80, 120]) // (radius + 1)):
        x, y = _point(size, rng)
        pen.ellipse([x, y, x + radius, y + radius], fill=colour)


def _dashes(pen: ImageDraw.ImageDraw, size: tuple[int, int], colour: Colour, rng: random.Random) -> None:
    """Short strokes, all in one direction."""
    width, right, down = rng.choice([1, 2, 3]), rng.randint(-4, 4), rng.randint(1, 4)
    for _ in range(rng.choice([10, 20, 40])):
        x, y = _point(size, rng)
        pen.line([x, y, x + right, y + down], fill=colour, width=width)


def _blobs(pen: ImageDraw.ImageDraw, size: tuple[int, int], colour: Colour, rng: random.Random) -> None:
    for _ in range(rng.randint(2, 8)):
        (x, y), radius = _point(size, rng), rng.uniform(0.05, 0.4) * size[1]
        shade = near(colour, rng)
        if rng.random() < 0.5:
            pen.ellipse([x - radius, y - radius, x + radius, y + radius], outline=shade, width=rng.choice([1, 2]))
        else:
            pen.regular_polygon((x, y, radius / 2), rng.choice([3, 4, 12]), rng.randrange(90), fill=shade)


def _grid(pen: ImageDraw.ImageDraw, size: tuple[int, int], colour: Colour, rng: random.Random) -> None:
    step, slant, width = rng.randint(5, 22), rng.choice([0, 0, 0.5, 1]) * size[1], rng.choice([1, 1, 2])
    for x in range(rng.randint(-size[1], -size[1] + step), size[0] + size[1], step):
        pen.line([(x, 0), (x + slant, size[1])], fill=colour, width=width)
    for y in range(rng.randrange(step), size[1], step) if rng.random() < 0.7 else ():
        pen.line([(0, y), (size[0], y)], fill=colour, width=width)


def _small_text(pen: ImageDraw.ImageDraw, size: tuple[int, int], colour: Colour, rng: random.Random) -> None:
    """Characters too small to belong to the text."""
    font = ImageFont.load_default(max(7, size[1] // 6))
    for _ in range(rng.randint(5, 20)):
        pen.text(_point(size, rng), rng.choice(SMALL_TEXT), fill=colour, font=font)
