"""Look at a split: how often each character is at each position, and a picture of the first captchas.

    python -m captcha_sets.sheet train

write_sheet(split, config)          <images_dir>/<split>.png, the first captchas of a split
contact_sheet(images, columns)      one picture of many
"""

import collections
import itertools
from collections.abc import Sequence
from pathlib import Path

from captcha_cli import UserError, parse_args, quiet_import, run

with quiet_import(__name__):
    from captcha_sets.manifest import SPLITS, open_manifest
    from captcha_sets.shards import examples

from captcha_config import Config
from captcha_predict.console import printable
from captcha_predict.images import open_image
from captcha_sets.files import sync

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from rich.console import Console
from rich.table import Table

FIELDS = ("images_dir", "tfrecords_dir")
COLUMNS, ROWS = 6, 8  # of a sheet
GAP = 8  # pixels between its images
CAPTION = 12  # pixels, the font size of the captions
MARK = ("Software", "captcha_sets.sheet")  # kept in the file: a picture without it is somebody else's


def show(split: str, config: Config) -> None:
    """Print how often each character is at each position of a split, and write a sheet of the first captchas.

    Args:
      config: tfrecords_dir and images_dir. Characters and size are those of the split.
    Raises:
      UserError: there is no such split, or it is damaged.
    """
    manifest = open_manifest(split, config)
    counts = collections.Counter()
    for text, _ in examples(manifest, config):
        counts.update(enumerate(text))
    positions = range(manifest["length"])
    size = f"{manifest['width']}x{manifest['height']}"
    print(f"{split}: {manifest['count']} captchas of {size}, {printable(_origin(manifest))}")
    table = Table("character", *(f"at {position + 1}" for position in positions), "total")
    for character in manifest["characters"]:
        at = [counts[position, character] for position in positions]
        table.add_row(character, *map(str, at), str(sum(at)))
    print_table(table)
    print(f"the first of them: {write_sheet(split, config)}")


def print_table(table: Table) -> None:
    """Print a table without the blanks that rich leaves at the ends of lines."""
    console = Console(highlight=False, markup=False, emoji=False)  # labels may hold brackets
    with console.capture() as capture:
        console.print(table)
    for line in capture.get().splitlines():
        print(line.rstrip())


def _origin(manifest: dict) -> str:
    if manifest["source"] is None:
        return f"drawn with seed {manifest['seed']}"
    sizes = ", ".join(f"{count} of {size}" for size, count in sorted(manifest["sizes"].items()))
    return f"imported from {manifest['source']} ({sizes})"


def sheet_path(split: str, config: Config) -> Path:
    """Where the sheet of a split goes. Raises UserError where a file there is not one of our sheets."""
    path = Path(config.images_dir, f"{split}.png")
    if path.exists():
        try:
            with Image.open(path) as image:
                ours = image.info.get(MARK[0]) == MARK[1]
        except Exception:  # Pillow raises a different exception for each kind of damage
            ours = False
        if not ours:
            raise UserError(f"{path}: is a file that the producer did not write; move it, or set another --images_dir")
    return path


def write_sheet(split: str, config: Config) -> Path:
    """Write a picture of the first captchas of a split; returns its path."""
    path = sheet_path(split, config)
    first = itertools.islice(examples(open_manifest(split, config), config), COLUMNS * ROWS)
    images = [open_image(encoded) for _, encoded in first]
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = PngInfo()
    mark.add_text(*MARK)
    new = path.with_name(f".{path.name}.new")  # a half-written one would count as somebody else's
    contact_sheet(images, COLUMNS).save(new, format="png", pnginfo=mark)
    sync(new)
    new.replace(path)
    return path


def contact_sheet(images: Sequence[Image.Image], columns: int, captions: Sequence[str] = ()) -> Image.Image:
    """The images, all of one size, in rows of `columns`, each with its caption below where there are captions."""
    line = CAPTION if captions else 0
    width, height = images[0].width + GAP, images[0].height + GAP + line
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (image, caption) in enumerate(itertools.zip_longest(images, captions, fillvalue="")):
        at = (GAP + i % columns * width, GAP + i // columns * height)
        sheet.paste(image, at)
        draw.text((at[0], at[1] + image.height + 1), caption, fill="black", font=ImageFont.load_default(CAPTION))
    return sheet


def main() -> None:
    def add_arguments(parser):
        parser.add_argument("split", choices=SPLITS)

    config, args = parse_args(__doc__, FIELDS, add_arguments)
    show(args.split, config)


if __name__ == "__main__":
    run(main)
