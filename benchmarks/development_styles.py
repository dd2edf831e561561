"""Eight styles of captcha, as different as those on the web, to develop and calibrate a general reader on.

    python benchmarks/development_styles.py FOLDER                  a sheet of each style
    python benchmarks/development_styles.py FOLDER --labelled 500   captchas named by their text, as for the producer

No reader trains on these styles, and none is tested on them.

texts, images = samples(style, count)   the first captchas of a style of STYLES
STYLES[i].function                      a drawer (text, config, rng) → image, as for --drawer
"""

import argparse
import functools
import io
import math
import random
import string
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from captcha_cli import UserError, quiet_import, run
from captcha_config import Config

with quiet_import(__name__):
    from captcha_sets.sheet import contact_sheet

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FONTS = Path("/usr/share/fonts/truetype")
PACKAGES = (
    "fonts-adf-tribun fonts-averia-serif-gwf fonts-clear-sans fonts-humor-sans fonts-lato fonts-oldstandard fonts-tuffy"
)
SERIF = (
    "adf/TribunADFStd-Medium.otf",
    "averia-gwf/AveriaSerifGWF-Regular.ttf",
    "fonts-oldstandard/OldStandard-Bold.ttf",
)
HEAVY_SERIF = ("adf/TribunADFStd-Bold.otf", "averia-gwf/AveriaSerifGWF-Bold.ttf")
SANS = (
    "clear-sans/ClearSans-Regular.ttf",
    "clear-sans/ClearSans-Medium.ttf",
    "lato/Lato-Medium.ttf",
    "tuffy/Tuffy.ttf",
)
HEAVY_SANS = (
    "clear-sans/ClearSans-Bold.ttf",
    "lato/Lato-Bold.ttf",
    "tuffy/Tuffy_Bold.ttf",
    "tuffy/Tuffy_Bold_Italic.ttf",
)
HAND = ("humor-sans/Humor-Sans.ttf",)  # its small letters look like capitals

SHEET = 48, 6  # captchas on a sheet, and in a row of it
PAD = 6  # blank columns at the sides of a tile, for outlines
MARGIN = 0.04  # of the width, left blank at each side
LOOK_ALIKE_CASES = "CcIijKkLlOoPpSsUuVvWwXxYyZz"  # letters left out where cases are mixed

Colour = tuple[int, int, int]
Placed = list[tuple[Image.Image, tuple[int, int]]]  # tiles, each with its top left corner


def speckled_digits(text: str, config: Config, rng: random.Random) -> Image.Image:
    """Digits of several colours on white, with speckles and short strokes, in a thin frame."""
    size = width, height = config.canvases[0]
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for tile, at in _row(text, size, rng, SANS + HEAVY_SANS, share=(0.75, 0.95), angle=15, gap=0.12, lift=0.08):
        image.paste(_vivid(rng), at, tile)
    for _ in range(width * height // 30):
        draw.point(_somewhere(size, rng), fill=_colour(rng, 0, 255))
    for _ in range(4):
        x, y = _somewhere(size, rng)
        draw.line((x, y, x + rng.randint(-5, 5), y + rng.randint(-5, 5)), fill=_colour(rng, 100, 220))
    draw.rectangle((0, 0, width - 1, height - 1), outline=(150, 150, 150))
    return image


def merged_wave(text: str, config: Config, rng: random.Random) -> Image.Image:
    """A dark word of letters that touch, bent in waves together with the thick line that runs through it."""
    width, height = size = config.canvases[0]
    double = 2 * width, 2 * height
    mask = Image.new("L", double)
    for tile, at in _row(text, double, rng, [rng.choice(SERIF + HEAVY_SERIF)], share=(0.62, 0.66), gap=-0.005):
        mask.paste(255, at, tile)
    ends = [rng.uniform(0.7, 1.3) * height for _ in range(2)]
    ImageDraw.Draw(mask).line((0, ends[0], 2 * width, ends[1]), fill=255, width=height // 9)
    down = _wave(2 * width, rng.uniform(0.08, 0.14) * height, rng.uniform(0.8, 1.8), rng)
    across = _wave(2 * height, rng.uniform(0.05, 0.14) * height, rng.uniform(0.5, 1.2), rng)
    mask = _displaced(mask, across[:, None], down[None, :]).resize(size, Image.Resampling.BOX)
    image = Image.new("RGB", size, _grey(rng, 225, 256))
    image.paste(_grey(rng, 0, 70), (0, 0), mask)
    return image


def night_photo(text: str, config: Config, rng: random.Random) -> Image.Image:
    """Light letters on what could be a photo in the dark: soft shapes, lights out of focus, and grain."""
    size = config.canvases[0]
    numbers = _numbers(rng)
    layers = [_clouds(size, cells, numbers) / cells for cells in (2, 4, 8)]
    ground = 160 * sum(layers) * numbers.uniform(0.3, 1, 3)  # a tint
    image = Image.fromarray(ground.clip(0, 120).astype(np.uint8))
    for _ in range(rng.randint(3, 6)):
        x, y = _somewhere(size, rng)
        radius = rng.uniform(0.05, 0.2) * size[1]
        ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=_colour(rng, 40, 140))
    image = image.filter(ImageFilter.GaussianBlur(2))
    ink = _colour(rng, 195, 256)
    for tile, at in _row(text, size, rng, SANS + HEAVY_SANS, share=(0.55, 0.75), angle=12, gap=0.06, lift=0.1):
        image.paste(ink, at, tile)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
    return _grainy(image, rng.uniform(10, 26), numbers)


def dotted_paper(text: str, config: Config, rng: random.Random) -> Image.Image:
    """Grey letters with a paler shadow, on paper that is densely printed with dots."""
    width, height = size = config.canvases[0]
    numbers = _numbers(rng)
    paper = np.full((height, width), rng.randint(225, 250))
    dots = numbers.random((height, width)) < rng.uniform(0.15, 0.3)
    paper[dots] -= numbers.integers(30, 110, dots.sum())
    image = Image.fromarray(paper.astype(np.uint8)).convert("RGB")
    offset = rng.choice([-2, 2]), rng.choice([1, 2])
    row = _row(text, size, rng, [rng.choice(HEAVY_SERIF + HEAVY_SANS)], share=(0.7, 0.8), angle=6, gap=0.08, lift=0.04)
    ink = rng.randint(50, 105)
    for colour, (dx, dy) in ((ink + 85, offset), (ink, (0, 0))):
        for tile, (x, y) in row:
            image.paste((colour,) * 3, (x + dx, y + dy), tile)
    return image


def colour_bars(text: str, config: Config, rng: random.Random) -> Image.Image:
    """Capitals on vertical bars, dark on the light bars and light on the dark ones."""
    width, height = size = config.canvases[0]
    ground, ink = Image.new("RGB", size), Image.new("RGB", size)
    x, dark = 0, rng.random() < 0.5
    while x < width:
        end = x + rng.randint(height // 4, height)
        deep, pale = _colour(rng, 0, 110), _colour(rng, 180, 256)
        ground.paste(deep if dark else pale, (x, 0, end, height))
        ink.paste(pale if dark else deep, (x, 0, end, height))
        x, dark = end, not dark
    mask = Image.new("L", size)
    for tile, at in _row(text, size, rng, HEAVY_SANS + HEAVY_SERIF, share=(0.7, 0.9), angle=8, gap=0.12, lift=0.06):
        mask.paste(255, at, tile)
    return Image.composite(ink, ground, mask)


def coarse_ticket(text: str, config: Config, rng: random.Random) -> Image.Image:
    """Small digits without smooth edges, enlarged three times, with the blocks of strong JPEG compression."""
    width, height = size = config.canvases[0]
    small = Image.new("RGB", (width // 3, height // 3), _colour(rng, 200, 256))
    draw = ImageDraw.Draw(small)
    draw.fontmode = "1"  # no smooth edges
    pixels = min(height // 4, small.width * 3 // (2 * len(text)))  # what is left of the width after the gaps
    font, ink = _font(rng.choice(SANS), pixels), _colour(rng, 0, 120)
    x = rng.uniform(2, max(3, small.width - 2 - draw.textlength(text, font) - len(text)))
    for character in text:
        draw.text((round(x), small.height / 2 + rng.randint(-1, 1)), character, ink, font, "lm")
        x += draw.textlength(character, font) + rng.choice([0, 1])
    for _ in range(small.width // 3):
        draw.point(_somewhere(small.size, rng), fill=_colour(rng, 130, 220))
    compressed = io.BytesIO()
    large = small.resize(size, rng.choice([Image.Resampling.NEAREST, Image.Resampling.BICUBIC]))
    large.save(compressed, "jpeg", quality=rng.randint(15, 40))
    return Image.open(compressed).convert("RGB")


def thin_arcs(text: str, config: Config, rng: random.Random) -> Image.Image:
    """Turned letters and digits of one colour, crossed by thin arcs of the same colour."""
    width, height = size = config.canvases[0]
    double = 2 * width, 2 * height
    mask = Image.new("L", double)
    fonts = rng.choice([SANS, SERIF, HAND])
    for tile, at in _row(text, double, rng, fonts, share=(0.5, 0.7), angle=25, gap=0.06, lift=0.12):
        mask.paste(255, at, tile)
    for _ in range(rng.randint(3, 6)):
        (x, y), wide, high = _somewhere(double, rng), rng.uniform(0.3, 1) * width, rng.uniform(0.3, 1) * height
        start = rng.randrange(360)
        box = (x - wide, y - high, x + wide, y + high)
        ImageDraw.Draw(mask).arc(box, start, start + rng.randint(90, 250), fill=255, width=rng.randint(2, 4))
    image = Image.new("RGB", size, _colour(rng, 232, 256))
    image.paste(_vivid(rng), (0, 0), mask.resize(size, Image.Resampling.BOX))
    return image


def bubble_letters(text: str, config: Config, rng: random.Random) -> Image.Image:
    """Fat outlined letters that overlap, among circles, on a ground that fades from side to side."""
    width, height = size = config.canvases[0]
    left, right = (np.array(_colour(rng, 175, 256)) for _ in range(2))
    fade = np.linspace(left, right, width).round().astype(np.uint8)  # [width, 3]
    image = Image.fromarray(np.tile(fade, (height, 1, 1)))
    draw, line = ImageDraw.Draw(image), _colour(rng, 0, 110)
    for _ in range(rng.randint(6, 14)):
        x, y = _somewhere(size, rng)
        radius = rng.uniform(0.03, 0.2) * height
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=line)
    fonts, fill = [rng.choice(HEAVY_SANS)], _colour(rng, 225, 256)
    for tile, at in _row(text, size, rng, fonts, share=(0.7, 0.85), angle=14, gap=0.03, lift=0.03):
        fat = tile.filter(ImageFilter.MaxFilter(3))
        image.paste(line, at, fat.filter(ImageFilter.MaxFilter(5)))
        image.paste(fill, at, fat)
    return image


def _row(
    text: str, size: tuple[int, int], rng: random.Random, fonts: Sequence[str], *,
    share: tuple[float, float], angle: float = 0, gap: float = 0, lift: float = 0,
) -> Placed:  # fmt: skip
    """The characters of a text as masks side by side, where they go on a canvas of this size.

    Args:
      fonts: each character is of one of them.
      share: smallest and largest font size, as shares of the height.
      angle: largest rotation of a character, degrees in each direction.
      gap: blank between characters, as a share of the height; they overlap where it is negative.
      lift: how far a character may be moved up or down, as a share of the height.
    """
    width, height = size
    sizes = [round(rng.uniform(*share) * height) for _ in text]
    tiles = [
        _tile(character, _font(rng.choice(fonts), pixels), rng.uniform(-angle, angle))
        for character, pixels in zip(text, sizes, strict=True)
    ]
    needed = sum(tile.width - 2 * PAD for tile in tiles) + gap * height * (len(tiles) - 1)
    scale = min(1, (1 - 2 * MARGIN) * width / needed)
    x = MARGIN * width + rng.random() * ((1 - 2 * MARGIN) * width - scale * needed)
    placed = []
    for tile in tiles:
        tile = tile.resize((round(scale * tile.width), round(scale * tile.height)))
        y = (height - tile.height) / 2 + rng.uniform(-lift, lift) * height
        placed.append((tile, (round(x - scale * PAD), round(y))))
        x += tile.width - 2 * scale * PAD + scale * gap * height
    return placed


def _tile(character: str, font: ImageFont.FreeTypeFont, angle: float) -> Image.Image:
    """A character as a mask, its baseline at the same row in every tile of a font."""
    side = round(2.2 * font.size)
    tile = Image.new("L", (side, side))
    ImageDraw.Draw(tile).text((side / 2, side / 2), character, 255, font, "mm")
    tile = tile.rotate(angle, Image.Resampling.BICUBIC)
    left, _, right, _ = tile.getbbox()
    return tile.crop((left - PAD, 0, right + PAD, side))


@functools.cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    try:
        return ImageFont.truetype(FONTS / name, size)
    except OSError as error:
        raise UserError(f"{FONTS / name}: cannot be read; install the Debian packages {PACKAGES}") from error


def _wave(count: int, height: float, periods: float, rng: random.Random) -> np.ndarray:
    """A sine of `count` values: `periods` of them, beginning anywhere."""
    return height * np.sin(2 * math.pi * (rng.random() + periods * np.arange(count) / count))


def _displaced(image: Image.Image, across: np.ndarray, down: np.ndarray) -> Image.Image:
    """Each pixel is taken from that many columns further right and rows further down."""
    pixels = np.asarray(image)
    rows, columns = np.indices(pixels.shape)
    rows = (rows + down).round().astype(int).clip(0, pixels.shape[0] - 1)
    columns = (columns + across).round().astype(int).clip(0, pixels.shape[1] - 1)
    return Image.fromarray(pixels[rows, columns])


def _clouds(size: tuple[int, int], cells: int, numbers: np.random.Generator) -> np.ndarray:
    """Smooth noise, float32 [height, width, 3] of about 0 to 1, with `cells` ups and downs over the height."""
    cells_across = max(2, cells * size[0] // size[1])
    noise = numbers.random((3, cells, cells_across)).astype(np.float32)
    smooth = [Image.fromarray(channel).resize(size, Image.Resampling.BICUBIC) for channel in noise]
    return np.stack(smooth, axis=-1)


def _grainy(image: Image.Image, deviation: float, numbers: np.random.Generator) -> Image.Image:
    pixels = np.asarray(image) + numbers.normal(0, deviation, (image.height, image.width, 1))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _numbers(rng: random.Random) -> np.random.Generator:
    """NumPy's random numbers, decided by `rng`."""
    return np.random.default_rng(rng.getrandbits(64))


def _somewhere(size: tuple[int, int], rng: random.Random) -> tuple[int, int]:
    return rng.randrange(size[0]), rng.randrange(size[1])


def _colour(rng: random.Random, low: int, high: int) -> Colour:
    """Each of red, green and blue from `low` up to, not including, `high`."""
    return rng.randrange(low, high), rng.randrange(low, high), rng.randrange(low, high)


def _grey(rng: random.Random, low: int, high: int) -> Colour:
    return (rng.randrange(low, high),) * 3


def _vivid(rng: random.Random) -> Colour:
    """A colour that can be seen on white: one channel is dark, one is at most half as bright as it could be."""
    channels = [rng.randrange(50), rng.randrange(120), rng.randrange(50, 220)]
    rng.shuffle(channels)
    return tuple(channels)


def _without(characters: str, left_out: str) -> str:
    return "".join(character for character in characters if character not in left_out)


class Style(NamedTuple):
    """What the captchas of a web site have in common. The fields are those of Config."""

    name: str
    function: Callable[[str, Config, random.Random], Image.Image]
    characters: str
    min_length: int  # 0: all have `length`
    length: int
    canvas: str  # WIDTHxHEIGHT, pixels
    seed: int

    def config(self) -> Config:
        width, height = map(int, self.canvas.split("x"))
        return Config(
            characters=self.characters,
            min_length=self.min_length,
            length=self.length,
            width=width,
            height=height,
            seed=self.seed,
        )


DIGITS, LOWER, CAPITALS = string.digits, string.ascii_lowercase, string.ascii_uppercase
STYLES = (
    Style("speckled_digits", speckled_digits, DIGITS, 0, 4, "80x30", 101),
    Style("merged_wave", merged_wave, _without(LOWER, "c"), 5, 8, "240x80", 102),  # with a line, c is e
    Style("night_photo", night_photo, _without(DIGITS + LOWER, "01loi9gq"), 0, 5, "160x60", 103),
    Style("dotted_paper", dotted_paper, _without(CAPITALS + LOWER, LOOK_ALIKE_CASES), 0, 5, "120x40", 104),
    Style("colour_bars", colour_bars, CAPITALS, 4, 6, "180x50", 105),
    Style("coarse_ticket", coarse_ticket, DIGITS, 3, 8, "210x48", 106),
    Style("thin_arcs", thin_arcs, _without(DIGITS + CAPITALS, "019IOQZ"), 0, 6, "220x80", 107),
    Style("bubble_letters", bubble_letters, LOWER, 3, 7, "240x90", 108),
)


def samples(style: Style, count: int) -> tuple[list[str], list[Image.Image]]:
    """The first captchas of a style: their texts, and RGB images of the size of its canvas.

    Raises:
      UserError: a font is not installed.
    """
    config = style.config()
    texts, images = [], []
    for index in range(count):
        rng = random.Random(f"{style.name}/{style.seed}/{index}")
        texts.append("".join(rng.choices(style.characters, k=rng.choice(config.lengths))))
        images.append(style.function(texts[-1], config, rng))
    return texts, images


def save(folder: Path, count: int) -> None:
    """Write the first captchas of each style as PNG files, such as colour_bars_00000_ZXPZ.png.

    Raises:
      UserError: a font is not installed.
    """
    for style in STYLES:
        for index, (text, image) in enumerate(zip(*samples(style, count), strict=True)):
            image.save(folder / f"{style.name}_{index:05d}_{text}.png")  # the index tells a from A in any file system


def sheets(folder: Path) -> None:
    """Write a sheet of captchas for each style."""
    count, columns = SHEET
    for style in STYLES:
        texts, images = samples(style, count)
        path = folder / f"{style.name}.png"
        contact_sheet(images, columns, texts).save(path)
        print(f"{path}: {count} captchas of {style.canvas}, {style.config().lengths_in_words} of {style.characters}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where to write")
    parser.add_argument("--labelled", type=int, metavar="N", help="write N captchas of each style, named by their text")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.labelled:
        save(args.folder, args.labelled)
    else:
        sheets(args.folder)


if __name__ == "__main__":
    run(main)
