"""Four captcha styles for tests alone, unlike those that the shipped networks know.

    apt-get install fonts-comic-neue fonts-inconsolata fonts-lobstertwo fonts-quattrocento fonts-cabin fonts-vollkorn
    python captcha_producer.py --drawer benchmarks.unseen_styles:tiles --canvas_sizes 200x60 ...
    python benchmarks/unseen_styles.py FOLDER       a picture of each style, to look at

STYLES                          the four, each with the settings to draw it with
tiles(text, config, rng)        a ground of its own behind each character
mixed62(text, config, rng)      capitals, small letters and digits in a wave, under specks
grid(text, config, rng)         slanted digits on a grid of nearly their colour, out of a JPEG file
hollow(text, config, rng)       outlines of letters over blobs and arcs, half of them light on dark

Results name these styles, and nothing may be tuned on them: do not change what they draw.
"""

import argparse
import colorsys
import functools
import io
import math
import random
import string
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from captcha_cli import UserError, quiet_import, run
from captcha_config import Config

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

FONTS = Path("/usr/share/fonts")
PACKAGES = "fonts-comic-neue fonts-inconsolata fonts-lobstertwo fonts-quattrocento fonts-cabin fonts-vollkorn"
TILES_FONTS = ("opentype/cabin/Cabin-Bold.otf", "truetype/vollkorn/Vollkorn-Black.ttf")
MIXED62_FONTS = ("opentype/quattrocento/Quattrocento-Regular.otf", "truetype/inconsolata/Inconsolata.otf")
GRID_FONTS = ("opentype/lobstertwo/LobsterTwo-Bold.otf", "opentype/cabin/Cabin-Medium.otf")
HOLLOW_FONTS = ("opentype/comic-neue/ComicNeue-Bold.otf", "truetype/vollkorn/Vollkorn-Bold.ttf")

SATURATION = 0.7  # of all colours
MARGIN = 2  # pixels between characters and the edges
RISE = 0.09  # largest distance of a character from the middle line, share of the height
# Lightness of ground and ink: dark on light, light on dark, and twice two that differ in hue more than in lightness.
TILES_LIGHTNESS = ((0.82, 0.25), (0.25, 0.85), (0.62, 0.32), (0.36, 0.72))
TILES_ANGLE, HOLLOW_ANGLE = 14, 25  # degrees
MIXED62_SCALE = 2  # the wave bends a mask of this many times the size, so that its edges stay smooth
MIXED62_ZERO = "Ø"  # with a stroke through it: these fonts' own zero is hard to tell from O
MIXED62_SPECKS = 0.05  # share of the pixels
GRID_SHEAR = 0.3
GRID_QUALITY = (35, 70)  # of the JPEG files
HOLLOW_OUTLINE = 1.3  # pixels
HOLLOW_BLOBS, HOLLOW_ARCS = 8, 7
SHEET_CAPTCHAS, SHEET_COLUMNS = 24, 4

Color = tuple[int, int, int]


class Glyph(NamedTuple):
    """A mask of a character, and how far below the middle line of an image its top belongs."""

    mask: Image.Image
    top: int


def tiles(text: str, config: Config, rng: random.Random) -> Image.Image:
    """Characters on patches of colour, under thin lines."""
    width, height = rng.choice(config.canvases)
    image = Image.new("RGB", (width, height))
    y, x = np.mgrid[:height, :width]
    lean = rng.uniform(-0.15, 0.15)
    patch = ((x + lean * (y - height / 2)) * len(text) / width).clip(0)
    inks = []
    for i in range(len(text)):
        ground, shade, ink = _patch_colors(rng)
        texture = ImageOps.colorize(Image.fromarray(_texture(x, y, rng)), ground, shade)
        image.paste(texture, mask=Image.fromarray(patch >= i))
        inks.append(ink)
    file = rng.choice(TILES_FONTS)
    for i, character in enumerate(text):
        size = _fitting_size(file, character, height * rng.uniform(0.58, 0.75), width / len(text) * 0.9)
        glyph = _turned(_tile(file, size, character), rng.uniform(-TILES_ANGLE, TILES_ANGLE))
        middle = (i + 0.5) * width / len(text) + rng.uniform(-2, 2)
        _paste(image, glyph, middle - glyph.mask.width / 2, inks[i], rng)
    for _ in range(rng.randint(3, 5)):
        _line_across(image, _color(rng.random(), rng.uniform(0.2, 0.8)), rng)
    return image


def _patch_colors(rng: random.Random) -> tuple[Color, Color, Color]:
    """A ground, another shade for its texture, and an ink."""
    ground, ink = rng.choice(TILES_LIGHTNESS)
    shade = ground + math.copysign(0.1, ground - ink)  # never nearer to the ink than the ground is
    hue = rng.random()
    ink_hue = hue + rng.uniform(0.35, 0.65)
    return _color(hue, ground), _color(hue + rng.uniform(-0.08, 0.08), shade), _color(ink_hue, ink)


def _texture(x: np.ndarray, y: np.ndarray, rng: random.Random) -> np.ndarray:
    """Levels from 0 to 255: plain, a gradient, stripes, checks, or grain."""
    side = rng.randint(4, 8)
    noise = np.random.default_rng(rng.getrandbits(64))
    stripes = (x + rng.choice((-1, 0, 1)) * y) // side % 2
    checks = (x // side + y // side) % 2
    levels = rng.choice((np.zeros(x.shape), y / y.max(), stripes, checks, noise.random(x.shape)))
    return (255 * levels).astype(np.uint8)


def mixed62(text: str, config: Config, rng: random.Random) -> Image.Image:
    """Characters of one size on one baseline, so that a person can tell c from C, in a wave."""
    width, height = rng.choice(config.canvases)
    image = _clouds(width, height, rng)
    hue = rng.random()
    ink = _color(hue, rng.uniform(0.15, 0.28))
    mask = _waved(_line_of_text(text, width * MIXED62_SCALE, height * MIXED62_SCALE, rng), rng)
    image.paste(ink, mask=mask.reduce(MIXED62_SCALE))
    for _ in range(rng.randint(1, 2)):
        _line_across(image, ink, rng)
    for _ in range(round(MIXED62_SPECKS * width * height)):
        image.putpixel((rng.randrange(width), rng.randrange(height)), rng.choice((ink, _color(hue, 0.5))))
    return image


def _clouds(width: int, height: int, rng: random.Random) -> Image.Image:
    """A light ground with soft patches of another light colour."""
    noise = np.random.default_rng(rng.getrandbits(64))
    coarse = Image.fromarray(noise.integers(0, 256, (max(2, height // 6), max(2, width // 6)), np.uint8))
    clouds = coarse.resize((width, height), Image.Resampling.BICUBIC)
    return ImageOps.colorize(clouds, _color(rng.random(), 0.8), _color(rng.random(), 0.95))


def _line_of_text(text: str, width: int, height: int, rng: random.Random) -> Image.Image:
    """A mask of the text."""
    file = rng.choice(MIXED62_FONTS)
    text = text.replace("0", MIXED62_ZERO)
    font = _font(file, _fitting_size(file, text, height * rng.uniform(0.71, 0.77), width * 0.85))
    free = width * 0.88 - font.getlength(text)
    gap = rng.uniform(0, min(free / len(text), height / 5))
    x = width * 0.06 + (free - gap * (len(text) - 1)) * rng.uniform(0.2, 0.8)
    mask = Image.new("L", (width, height))
    pen = ImageDraw.Draw(mask)
    for character in text:  # with a stroke, since these fonts are thin
        pen.text((x, height * 0.69), character, 255, font, anchor="ls", stroke_width=0.3 * MIXED62_SCALE)
        x += font.getlength(character) + gap
    return mask


def _waved(mask: Image.Image, rng: random.Random) -> Image.Image:
    """Columns are moved up and down, and rows left and right, by sines."""
    width, height = mask.size
    y, x = np.mgrid[:height, :width]
    rise = rng.uniform(0.03, 0.06) * np.sin(x / (height * rng.uniform(0.2, 0.35)) + rng.uniform(0, math.tau))
    push = rng.uniform(0.02, 0.05) * np.sin(y / (height * rng.uniform(0.12, 0.2)) + rng.uniform(0, math.tau))
    rows = (y + height * rise).clip(0, height - 1).astype(int)
    columns = (x + height * push).clip(0, width - 1).astype(int)
    return Image.fromarray(np.array(mask)[rows, columns])


def grid(text: str, config: Config, rng: random.Random) -> Image.Image:
    """Slanted digits of several sizes that touch."""
    width, height = rng.choice(config.canvases)
    hue = rng.random()
    ink = _color(hue, rng.uniform(0.15, 0.28))
    image = Image.new("RGB", (width, height), _color(hue + rng.uniform(-0.2, 0.2), rng.uniform(0.85, 0.95)))
    _lines(image, _color(hue, rng.uniform(0.32, 0.45)), rng)
    file = rng.choice(GRID_FONTS)
    shear = rng.uniform(-GRID_SHEAR, GRID_SHEAR)
    glyphs = []
    for character in text:
        tile = _tile(file, round(height * rng.uniform(0.7, 0.95)), character)
        glyphs.append(_sheared(tile, shear + rng.uniform(-0.1, 0.1)))
    _paste_row(image, glyphs, -3, [ink] * len(text), rng)
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=rng.randint(*GRID_QUALITY))
    return Image.open(encoded).convert("RGB")


def _lines(image: Image.Image, color: Color, rng: random.Random) -> None:
    """A grid or a hatching: two sets of parallel lines, each inclined by some angle."""
    pen = ImageDraw.Draw(image)
    lean, step = rng.randint(-15, 15), rng.randint(6, 10)
    for x in range(rng.randrange(-25, -15), image.width + 25, step):
        pen.line((x - lean, 0, x + lean, image.height), color)
    fall, step = rng.randint(-25, 25), rng.randint(6, 10)
    for y in range(rng.randrange(-35, -25), image.height + 35, step):
        pen.line((0, y - fall, image.width, y + fall), color)


def hollow(text: str, config: Config, rng: random.Random) -> Image.Image:
    """Outlines of turned letters at uneven heights; the ground shows through them."""
    width, height = rng.choice(config.canvases)
    hue = rng.random()
    ground, ink = rng.choice(((rng.uniform(0.12, 0.25), 0.85), (rng.uniform(0.82, 0.94), 0.28)))
    image = Image.new("RGB", (width, height), _color(hue, ground))
    _blobs_and_arcs(image, ground, ink, rng)
    file = rng.choice(HOLLOW_FONTS)
    size = _fitting_size(file, text, height * rng.uniform(0.62, 0.72), width * 0.85)
    glyphs, inks = [], []
    for character in text:
        angle = rng.uniform(-HOLLOW_ANGLE, HOLLOW_ANGLE)
        glyphs.append(_turned(_tile(file, size, character, HOLLOW_OUTLINE), angle))
        inks.append(_color(hue + rng.uniform(0.3, 0.7), ink))
    _paste_row(image, glyphs, 1, inks, rng)
    return image


def _blobs_and_arcs(image: Image.Image, ground: float, ink: float, rng: random.Random) -> None:
    """Blobs nearly as light as the ground, and thin arcs between the lightness of the ground and of the ink."""
    pen = ImageDraw.Draw(image)
    for _ in range(HOLLOW_BLOBS):
        pen.ellipse(_box(image, 30, rng), _color(rng.random(), 0.85 * ground + 0.15 * ink))
    for _ in range(HOLLOW_ARCS):
        start = rng.randrange(360)
        color = _color(rng.random(), 0.5 * ground + 0.5 * ink)
        pen.arc(_box(image, 60, rng), start, start + rng.randint(60, 200), color)


def _box(image: Image.Image, radius: int, rng: random.Random) -> tuple[int, int, int, int]:
    x, y = rng.randrange(image.width), rng.randrange(image.height)
    across, down = rng.randint(radius // 4, radius), rng.randint(radius // 4, radius // 2)
    return x - across, y - down, x + across, y + down


def _color(hue: float, lightness: float) -> Color:
    red, green, blue = colorsys.hls_to_rgb(hue % 1, lightness, SATURATION)
    return round(255 * red), round(255 * green), round(255 * blue)


@functools.cache
def _font(file: str, size: int) -> ImageFont.FreeTypeFont:
    try:
        with (FONTS / file).open("rb") as opened:  # given a path, Pillow would look for a missing font elsewhere
            return ImageFont.truetype(opened, size, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise UserError(f"{FONTS / file} cannot be read ({error}); run: apt-get install {PACKAGES}") from error


def _fitting_size(file: str, text: str, size: float, room: float) -> int:
    """The font size, or a smaller one at which the text fits into the room."""
    return int(size * min(1, room / _font(file, round(size)).getlength(text)))


@functools.lru_cache(4096)
def _tile(file: str, size: int, character: str, outline: float = 0) -> Image.Image:
    """A mask of a character, or of its outline, with room to turn it; capitals are in the middle."""
    tile = Image.new("L", (2 * size, 2 * size))
    pen = ImageDraw.Draw(tile)
    baseline = (size, round(1.33 * size))
    pen.text(baseline, character, 255, _font(file, size), anchor="ms", stroke_width=outline)
    if outline:
        pen.text(baseline, character, 0, _font(file, size), anchor="ms")
    return tile


def _turned(tile: Image.Image, angle: float) -> Glyph:
    return _cropped(tile.rotate(angle, Image.Resampling.BICUBIC))


def _sheared(tile: Image.Image, shear: float) -> Glyph:
    matrix = (1, shear, -shear * tile.height / 2, 0, 1, 0)
    return _cropped(tile.transform(tile.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC))


def _cropped(tile: Image.Image) -> Glyph:
    box = tile.getbbox()
    return Glyph(tile.crop(box), box[1] - tile.height // 2)


def _paste_row(image: Image.Image, glyphs: list[Glyph], gap: float, inks: list[Color], rng: random.Random) -> None:
    """Paste glyphs from left to right, `gap` pixels apart or a little more, or nearer where there is no room."""
    room = image.width - 2 * MARGIN - sum(glyph.mask.width for glyph in glyphs)
    gaps = max(1, len(glyphs) - 1)
    gap = min(gap + rng.uniform(0, 3), room / gaps)
    x = MARGIN + rng.uniform(0, room - gap * gaps)
    for glyph, ink in zip(glyphs, inks, strict=True):
        _paste(image, glyph, x, ink, rng)
        x += glyph.mask.width + gap


def _paste(image: Image.Image, glyph: Glyph, x: float, ink: Color, rng: random.Random) -> None:
    """Paste a glyph at x, somewhat above or below the middle line, but never cut off."""
    y = image.height / 2 + glyph.top + rng.uniform(-RISE, RISE) * image.height
    right = image.width - MARGIN - glyph.mask.width
    bottom = image.height - MARGIN - glyph.mask.height
    image.paste(ink, (round(min(max(x, MARGIN), right)), round(min(max(y, MARGIN), bottom))), glyph.mask)


def _line_across(image: Image.Image, color: Color, rng: random.Random) -> None:
    ends = (0, rng.randrange(image.height), image.width, rng.randrange(image.height))
    ImageDraw.Draw(image).line(ends, color)


class Style(NamedTuple):
    """A drawer and its settings; as in the config, min_length 0 means that all texts have `length` characters."""

    name: str
    function: Callable[[str, Config, random.Random], Image.Image]
    characters: str
    min_length: int
    length: int
    canvas: str
    seed: int


STYLES = (
    Style("tiles", tiles, "23456789ABCDEFGHJKLMNPQRSTUVWXYZ", 0, 5, "200x60", 101),
    Style("mixed62", mixed62, string.digits + string.ascii_letters, 0, 4, "120x40", 102),
    Style("grid", grid, string.digits, 4, 6, "150x50", 103),
    Style("hollow", hollow, string.ascii_lowercase, 0, 6, "180x70", 104),
)


def samples(style: Style, count: int) -> tuple[list[str], list[Image.Image]]:
    """Texts and captchas of a style, in its natural size."""
    width, height = map(int, style.canvas.split("x"))
    config = Config(width=width, height=height)
    rng = random.Random(style.seed)
    texts, images = [], []
    for _ in range(count):
        length = rng.randint(style.min_length or style.length, style.length)
        texts.append("".join(rng.choices(style.characters, k=length)))
        images.append(style.function(texts[-1], config, rng))
    return texts, images


def main() -> None:
    with quiet_import(__name__):  # here, since it imports TensorFlow, which drawing does not need
        from captcha_sets.sheet import contact_sheet
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where to write a picture of each style")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for style in STYLES:
        texts, images = samples(style, SHEET_CAPTCHAS)
        contact_sheet(images, SHEET_COLUMNS, texts).save(folder / f"{style.name}.png")
        print(folder / f"{style.name}.png")


if __name__ == "__main__":
    run(main)
