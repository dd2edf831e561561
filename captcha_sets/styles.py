"""Draw captchas of as many styles as possible: the drawer that the starter network learns from.

image = draw(text, config, rng)     one captcha of a style of its own, in fonts of config.fonts

Each captcha is drawn in five steps, and each step is chosen at random: the ground, clutter behind the text, the text,
clutter before it, and damage (warp, blur, noise, JPEG).
"""

import io
import math
import random
from collections.abc import Callable
from typing import NamedTuple

from captcha_cli import UserError
from captcha_config import Config
from captcha_sets.glyphs import Pair, glyphs

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

LIGHTNESS = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
CLEARLY = 75  # difference in lightness, of 255, at which ink is clearly seen on its ground
BY_COLOUR = 150  # distance in RGB at which ink is seen by its colour alone
SMALL_TEXT = "abcdefghkmnpqrstuvwxyz23456789"
MESH = (8, 2)  # columns and rows in which an image is warped
ONE_FONT = 0.75  # share of captchas with one font for all characters
ONE_INK = 0.6  # share with one colour for all characters
PATCHES = 0.15  # share with a ground of its own behind each character
OVERLAPS = (0, 0, 0.05, 0.1, 0.2, 0.3)  # of characters, share of their width
UNEVEN = (0, 0, 0.05, 0.15)  # distance of a character from the middle line, share of the height
SPREADS = (0, 0.2, 0.5)  # distance of a character from the middle of its gap, share of the gap

Colour = tuple[int, ...]


def draw(text: str, config: Config, rng: random.Random) -> Image.Image:
    """Draw a captcha of one of config.canvases.

    Raises:
      UserError: config.fonts names no font.
    """
    if not config.fonts:
        raise UserError("fonts: this drawer has no fonts of its own; name TrueType files (--fonts)")
    size = rng.choice(config.canvases)
    noise = np.random.default_rng(rng.getrandbits(64))
    ground = _colour(rng)
    image = rng.choice(GROUNDS)(size, ground, rng, noise)
    _clutter(image, [_near(ground, rng), _colour(rng)], rng)
    ink = _ink(ground, rng)
    _write(image, text, ink, ground, config, rng)
    if rng.random() < 0.6:
        _clutter(image, [ink, _colour(rng)], rng)
    return _damaged(image, rng, noise)


# Colours


def _colour(rng: random.Random) -> Colour:
    """Any colour; light ones, dark ones and greys are more frequent, as they are in captchas."""
    kind = rng.random()
    if kind < 0.35:
        return tuple(rng.randint(200, 255) for _ in range(3))
    if kind < 0.5:
        return tuple(rng.randint(0, 70) for _ in range(3))
    if kind < 0.65:
        return (rng.randint(0, 255),) * 3
    return tuple(rng.randint(0, 255) for _ in range(3))


def _near(colour: Colour, rng: random.Random, most: int = 45) -> Colour:
    return tuple(max(0, min(255, value + rng.randint(-most, most))) for value in colour)


def _lightness(colour: Colour) -> float:
    return sum(weight * value for weight, value in zip(LIGHTNESS, colour, strict=True))


def _ink(ground: Colour, rng: random.Random) -> Colour:
    """A colour that can be seen on the ground: by its lightness, or now and then by its colour alone."""
    least = BY_COLOUR if rng.random() < 0.15 else None
    for _ in range(50):
        ink = _colour(rng)
        if math.dist(ink, ground) > least if least else abs(_lightness(ink) - _lightness(ground)) > CLEARLY:
            return ink
    return (0, 0, 0) if _lightness(ground) > 127 else (255, 255, 255)


# Grounds: (size, colour, rng, noise) → an RGB image


def _plain(size: tuple[int, int], colour: Colour, rng: random.Random, noise: np.random.Generator) -> Image.Image:
    return Image.new("RGB", size, colour)


def _gradient(size: tuple[int, int], colour: Colour, rng: random.Random, noise: np.random.Generator) -> Image.Image:
    corners = Image.new("RGB", (2, 2))
    corners.putdata([_near(colour, rng) for _ in range(4)])
    return corners.resize(size, Image.Resampling.BILINEAR)


def _clouds(size: tuple[int, int], colour: Colour, rng: random.Random, noise: np.random.Generator) -> Image.Image:
    """A coarse or fine texture, in colour or grey."""
    cell, strength = rng.choice([1, 1, 2, 4, 8, 16]), rng.uniform(5, 38)
    columns, rows = size[0] // cell + 2, size[1] // cell + 2
    texture = noise.normal(0, strength, (rows, columns, rng.choice([1, 3])))
    pixels = np.clip(np.array(colour) + texture, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize(size, rng.choice([Image.Resampling.BILINEAR, Image.Resampling.NEAREST]))


def _stripes(size: tuple[int, int], colour: Colour, rng: random.Random, noise: np.random.Generator) -> Image.Image:
    image, other = Image.new("RGB", size, colour), _near(colour, rng)
    pen, step, slant = ImageDraw.Draw(image), rng.randint(3, 16), rng.uniform(-1, 1) * size[1]
    for x in range(-size[1], size[0] + size[1], 2 * step):
        pen.line([(x, 0), (x + slant, size[1])], fill=other, width=step)
    return image


GROUNDS: tuple[Callable, ...] = (_plain, _plain, _gradient, _clouds, _clouds, _stripes)


# Clutter


def _clutter(image: Image.Image, colours: list[Colour], rng: random.Random) -> None:
    """Draw none, one or two kinds of clutter."""
    kinds = (_lines, _lines, _arcs, _curves, _dots, _dots, _blobs, _grid, _small_text)
    for kind in rng.sample(kinds, rng.choice([0, 0, 1, 1, 1, 2])):
        kind(ImageDraw.Draw(image), image.size, rng.choice(colours), rng)


def _point(size: tuple[int, int], rng: random.Random) -> tuple[int, int]:
    return rng.randrange(size[0]), rng.randrange(size[1])


def _lines(pen: ImageDraw.ImageDraw, size: tuple[int, int], colour: Colour, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 2, 3, 5, 8])):
        pen.line([_point(size, rng), _point(size, rng)], fill=colour, width=rng.choice([1, 1, 1, 2, 2, 3]))
        colour = rng.choice([colour, _near(colour, rng, 80)])


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


def _blobs(pen: ImageDraw.ImageDraw, size: tuple[int, int], colour: Colour, rng: random.Random) -> None:
    for _ in range(rng.randint(2, 8)):
        (x, y), radius = _point(size, rng), rng.uniform(0.05, 0.4) * size[1]
        shade = _near(colour, rng)
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
            behind = _colour(rng)
            _patch(image, place.columns, behind, rng)
        colour = ink if one_ink and not patches else _ink(behind, rng)
        if outline:
            image.paste(_ink(colour, rng), (place.left, place.top), outline)
        image.paste(colour, (place.left, place.top), glyph)


def _places(pairs: list[Pair], size: tuple[int, int], rng: random.Random) -> list[Place]:
    width, height = size
    overlap, uneven, spread = rng.choice(OVERLAPS), rng.choice(UNEVEN) * height, rng.choice(SPREADS)
    middle = height * rng.uniform(0.45, 0.55)
    steps = [glyph.width * (1 - overlap) for glyph, _ in pairs]
    free = max(0.0, width - sum(steps))
    gap = rng.random() * free / len(pairs)
    x = rng.uniform(0, free - gap * len(pairs))
    places = []
    for (glyph, _), step in zip(pairs, steps, strict=True):
        left = round(x + gap * (0.5 + rng.uniform(-spread, spread)))
        top = round(middle - glyph.height / 2 + rng.uniform(-uneven, uneven))
        places.append(Place(left, top, (x, x + step + gap)))
        x += step + gap
    return places


def _patch(image: Image.Image, columns: tuple[float, float], colour: Colour, rng: random.Random) -> None:
    """A ground of its own behind one character."""
    left, right = round(columns[0]), max(round(columns[1]), round(columns[0]) + 2)
    size = (right - left, image.height)
    image.paste(rng.choice((_plain, _gradient, _stripes))(size, colour, rng, None), (left, 0))


# Damage


def _damaged(image: Image.Image, rng: random.Random, noise: np.random.Generator) -> Image.Image:
    if rng.random() < 0.35:
        image = _warped(image, rng)
    if rng.random() < 0.15:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.3)))
    if rng.random() < 0.1:
        small = image.resize((round(image.width * 0.6), round(image.height * 0.6)), Image.Resampling.BILINEAR)
        image = small.resize(image.size, rng.choice([Image.Resampling.NEAREST, Image.Resampling.BICUBIC]))
    if rng.random() < 0.25:
        image = _noisy(image, rng, noise)
    if rng.random() < 0.2:
        image = ImageOps.grayscale(image).convert("RGB")
    if rng.random() < 0.3:
        image = _through_jpeg(image, rng.randint(20, 90))
    return image


def _warped(image: Image.Image, rng: random.Random) -> Image.Image:
    """Move the nodes of a mesh along waves, or at random. What enters at an edge mirrors what is beside it."""
    width, height = image.size
    margin = height // 3
    pixels = np.pad(np.asarray(image), ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    strength = rng.uniform(0.02, 0.11) * height
    turns, phase, unrest = rng.uniform(0.5, 2.5), rng.uniform(0, math.tau), rng.choice([0, 0, 0.5, 1])
    columns, rows = MESH
    nodes = {}
    for i in range(columns + 1):
        wave = strength * math.sin(phase + turns * math.tau * i / columns)
        for j in range(rows + 1):
            right, down = (rng.uniform(-unrest, unrest) * strength for _ in range(2))
            nodes[i, j] = (margin + width * i / columns + right, margin + height * j / rows + down + wave)
    mesh = []
    for i in range(columns):
        for j in range(rows):
            box = (width * i // columns, height * j // rows, width * (i + 1) // columns, height * (j + 1) // rows)
            corners = (*nodes[i, j], *nodes[i, j + 1], *nodes[i + 1, j + 1], *nodes[i + 1, j])
            mesh.append((box, corners))
    return Image.fromarray(pixels).transform(image.size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)


def _noisy(image: Image.Image, rng: random.Random, noise: np.random.Generator) -> Image.Image:
    pixels = np.asarray(image, np.int16)
    if rng.random() < 0.5:
        strength, channels = rng.uniform(5, 35), rng.choice([1, 3])
        pixels = pixels + noise.normal(0, strength, (*pixels.shape[:2], channels)).astype(np.int16)
    else:
        share, value = rng.uniform(0.01, 0.1), rng.choice([0, 255, 128])
        pixels = np.where(noise.random(pixels.shape[:2])[..., None] < share, value, pixels)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _through_jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, format="jpeg", quality=quality)
    return Image.open(file).convert("RGB")
