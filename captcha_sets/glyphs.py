"""The shapes of characters, for captcha_sets/styles.py: filled, hollow or outlined, turned, sheared, stretched, bent.

pairs = glyphs(text, fonts, size, rng)      a mask for each character, and one of its outline
"""

import functools
import math
import random

from PIL import Image, ImageChops, ImageDraw, ImageFont

MIN_FONT_SIZE = 11  # pixels
HOLLOW = 0.12  # share of captchas of which only the outlines of characters are drawn
OUTLINED = 0.15  # share with an outline of another colour
BENT = 0.4  # share of captchas in which each character is bent by itself
BEND = 0.25, 0.15  # furthest that a corner of a bent character moves, share of its width and height
LEVEL = 0.3  # share of captchas in which all characters have one height, as the captcha library draws them
WIDTH = 0.62  # of a character, on average, as a share of the font size
LEVEL_HEIGHT = 0.7, 0.95  # height of all characters of such a captcha, as a share of the font size

BILINEAR, NEAREST = Image.Resampling.BILINEAR, Image.Resampling.NEAREST

Pair = tuple[Image.Image, Image.Image | None]


def glyphs(text: str, fonts: list[str], size: tuple[int, int], rng: random.Random) -> list[Pair]:
    """Draw the characters of a text, each by itself; side by side they fit the size.

    Args:
      fonts: a TrueType file for each character.
      size: (width, height) of the captcha, pixels.
    Returns:
      For each character its mask, L, and the mask of its outline where it has one. In most captchas the masks are as
      high as the line, and the baselines agree; in a share of them (LEVEL) each character fills its mask.
    """
    shapes, hollow, outlined = _shapes(len(text), rng), rng.random() < HOLLOW, rng.random() < OUTLINED
    vary = rng.choice([0, 0, 0.1, 0.25])
    stretch = sum(stretch for _, _, stretch in shapes) / len(text)
    height = min(rng.uniform(0.45, 1.05) * size[1], 1.25 * size[0] / (len(text) * WIDTH * stretch))
    pairs = []
    for character, font_file, shape in zip(text, fonts, shapes, strict=True):
        pixels = max(MIN_FONT_SIZE, round(height * rng.uniform(1 - vary, 1)))
        pairs.append(_glyph(character, _font(font_file, pixels), pixels, shape, hollow, outlined))
    if rng.random() < BENT:
        resampling = rng.choice([BILINEAR, NEAREST])  # smooth or jagged edges
        pairs = [_bent(pair, resampling, rng) for pair in pairs]
    if rng.random() < LEVEL:
        level = round(max(MIN_FONT_SIZE, height) * rng.uniform(*LEVEL_HEIGHT))
        pairs = [_stretched(pair, level) for pair in pairs]
    width = sum(mask.width for mask, _ in pairs)
    tallest = max(_height(mask) for mask, _ in pairs)
    scale = min(1.0, 0.98 * size[0] / width, 0.98 * size[1] / tallest)
    return [(_scaled(mask, scale), outline and _scaled(outline, scale)) for mask, outline in pairs]


def _shapes(count: int, rng: random.Random) -> list[tuple[float, float, float]]:
    """(angle in radians, slant, stretch) of each character; slant and stretch are alike in most captchas."""
    turn, shear = rng.choice([0, 5, 15, 30]), rng.choice([0, 0, 0.2, 0.4])
    slant, stretch, unrest = rng.uniform(-shear, shear), rng.uniform(0.75, 1.3), rng.choice([0, 0, 1])
    return [
        (
            math.radians(rng.uniform(-turn, turn)),
            slant + unrest * rng.uniform(-0.25, 0.25),
            stretch * (1 + unrest * rng.uniform(-0.2, 0.2)),
        )
        for _ in range(count)
    ]


def _height(mask: Image.Image) -> int:
    box = mask.getbbox()
    return box[3] - box[1] if box else 1


def _scaled(mask: Image.Image, scale: float) -> Image.Image:
    if scale == 1.0:
        return mask
    size = max(2, round(mask.width * scale)), max(2, round(mask.height * scale))
    return mask.resize(size, BILINEAR)


@functools.lru_cache(maxsize=4000)
def _font(file: str, pixels: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, pixels)


def _glyph(
    character: str,
    font: ImageFont.FreeTypeFont,
    pixels: int,
    shape: tuple[float, float, float],
    hollow: bool,
    outlined: bool,
) -> Pair:
    """The mask of a character, and of its outline, or None."""
    angle, slant, stretch = shape
    box = (2 * pixels, 2 * pixels)
    filled = _mask(character, font, box, 0)
    around = _mask(character, font, box, max(1, pixels // 25)) if hollow or outlined else None
    if hollow:
        filled = ImageChops.subtract(around, filled)
    cos, sin = math.cos(angle), math.sin(angle)
    # From a pixel of the result to one of the character: scaled, sheared and turned around the centre.
    a, b, c, d = cos / stretch, sin / stretch + slant, -sin, cos
    centre = pixels
    matrix = (a, b, centre - a * centre - b * centre, c, d, centre - c * centre - d * centre)
    turned = filled.transform(box, Image.Transform.AFFINE, matrix, BILINEAR)
    edge = around.transform(box, Image.Transform.AFFINE, matrix, BILINEAR) if outlined else None
    left, _, right, _ = (edge or turned).getbbox() or (pixels - 2, 0, pixels + 2, 0)
    columns = (left, round(0.25 * pixels), right, round(1.75 * pixels))
    return turned.crop(columns), edge and edge.crop(columns)


def _bent(pair: Pair, resampling: Image.Resampling, rng: random.Random) -> Pair:
    """Move the corners of a character; the sides move inwards only, so that nothing is cut off."""
    width, height = pair[0].size
    across, down = BEND[0] * width, BEND[1] * height
    corners = []  # where each corner of the result comes from: north-west, south-west, south-east, north-east
    for x, side, y in ((0, -1, 0), (0, -1, height), (width, 1, height), (width, 1, 0)):
        corners += [x + side * rng.uniform(0, across), y + rng.uniform(-down, down)]
    glyph, outline = (mask and mask.transform(mask.size, Image.Transform.QUAD, corners, resampling) for mask in pair)
    return glyph, outline


def _stretched(pair: Pair, height: int) -> Pair:
    """Resize a character, without the blank rows above and below it, to a height."""
    glyph, outline = pair
    _, top, _, bottom = (outline or glyph).getbbox() or (0, 0, 0, glyph.height)
    rows = (0, top, glyph.width, bottom)
    return tuple(mask and mask.resize((glyph.width, height), BILINEAR, rows) for mask in pair)


def _mask(character: str, font: ImageFont.FreeTypeFont, box: tuple[int, int], stroke: int) -> Image.Image:
    mask = Image.new("L", box)
    baseline = (box[0] // 2, round(box[1] * 0.675))
    ImageDraw.Draw(mask).text(baseline, character, fill=255, font=font, anchor="ms", stroke_width=stroke)
    return mask
