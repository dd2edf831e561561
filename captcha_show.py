"""Look at a set: how many captchas have which character at which place, and a sheet of the first ones.

show(images_dir, config)            prints the counts, writes the sheet
write_sheet(images_dir, config)     <images_dir>.png, the first captchas of a set
misread(images, labels, ...)        a picture of what was read wrong
contact_sheet(images, columns)      one picture of many
"""

import collections
import io
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import captcha_data
from captcha_config import Config

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table

COLUMNS, ROWS = 6, 8  # of the sheet
GAP = 8  # pixels between its images
CAPTION = 12  # pixels, the size of the letters below them


def show(images_dir: Path, config: Config) -> None:
    """Print what is in the split that images_dir is named as, and write a sheet of samples beside that folder.

    Args:
      config: tfrecords_dir. Characters and size are those of the set.
    Raises:
      UserError: there is no such set, or it is damaged.
    """
    split = Path(os.path.abspath(images_dir)).name
    manifest = captcha_data.open_manifest(split, config)
    counts = collections.Counter()
    for _, text in _records(split, manifest, config):
        counts.update(enumerate(text))
    console, places = Console(highlight=False), range(manifest["length"])
    size = f"{manifest['width']}x{manifest['height']}"
    console.print(f"{split}: {manifest['count']} captchas of {size}, {_origin(manifest)}", soft_wrap=True)
    table = Table("character", *(f"place {place + 1}" for place in places), "in all")
    for character in manifest["characters"]:
        at = [counts[place, character] for place in places]
        table.add_row(character, *map(str, at), str(sum(at)))
    console.print(table)
    console.print(f"the first of them: {write_sheet(images_dir, config)}", soft_wrap=True)


def write_sheet(images_dir: Path, config: Config) -> Path:
    """Write <images_dir>.png, a picture of the first captchas of the split that images_dir is named as."""
    images_dir = Path(os.path.abspath(images_dir))
    manifest = captcha_data.open_manifest(images_dir.name, config)
    first = itertools.islice(_records(images_dir.name, manifest, config), COLUMNS * ROWS)
    images = [Image.open(io.BytesIO(encoded)).convert("RGB") for encoded, _ in first]
    images_dir.parent.mkdir(parents=True, exist_ok=True)
    path = images_dir.with_name(f"{images_dir.name}.png")
    contact_sheet(images, COLUMNS).save(path)
    return path


def _records(split: str, manifest: dict, config: Config) -> Iterator[tuple[bytes, str]]:
    """(encoded image, text) of each captcha of a set."""
    for record in tf.data.TFRecordDataset(captcha_data.check_shards(split, manifest, config)):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        encoded, text = (features[name].bytes_list.value[0] for name in ("image/encoded", "image/text"))
        yield encoded, text.decode()


def _origin(manifest: dict) -> str:
    if manifest["source"] is None:
        return f"drawn with seed {manifest['seed']}"
    sizes = ", ".join(f"{count} of {size}" for size, count in sorted(manifest["sizes"].items()))
    return f"taken in from {manifest['source']} ({sizes})"


def misread(images: np.ndarray, labels: np.ndarray, logits: np.ndarray, characters: str) -> Image.Image | None:
    """A picture of the first captchas that were read wrong, each above "truth > reading"; None where there is none.

    Args:
      images: uint8 [count, height, width, 1], labels: int32 [count, length].
      logits: float32 [count, length, classes].
      characters: what the labels count in.
    """
    read = logits.argmax(axis=-1)  # [count, length]
    wrong = np.flatnonzero((read != labels).any(axis=1))[: COLUMNS * ROWS]
    if not wrong.size:
        return None
    texts = [["".join(characters[i] for i in row) for row in (labels[n], read[n])] for n in wrong]
    pictures = [Image.fromarray(images[n, :, :, 0]) for n in wrong]
    return contact_sheet(pictures, COLUMNS, [f"{truth} > {reading}" for truth, reading in texts])


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
