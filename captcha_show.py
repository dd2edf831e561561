"""Look at a set: how many captchas have which character at which place, and a sheet of the first ones.

show(images_dir, config)            prints the counts, writes <images_dir>.png
contact_sheet(images, columns)      one picture of many
"""

import collections
import io
import os
from collections.abc import Sequence
from pathlib import Path

import captcha_data
from captcha_config import Config

import tensorflow as tf
from PIL import Image
from rich.console import Console
from rich.table import Table

COLUMNS, ROWS = 6, 8  # of the sheet
GAP = 8  # pixels between its images


def show(images_dir: Path, config: Config) -> None:
    """Print what is in the split that images_dir is named as, and write a contact sheet beside that folder.

    Args:
      config: tfrecords_dir. Characters and size are those of the set.
    Raises:
      UserError: there is no such set, or it is damaged.
    """
    images_dir = Path(os.path.abspath(images_dir))
    split = images_dir.name
    manifest = captcha_data.open_manifest(split, config)
    paths = captcha_data.check_shards(split, manifest, config)
    counts, first = collections.Counter(), []
    for record in tf.data.TFRecordDataset(paths):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        counts.update(enumerate(features["image/text"].bytes_list.value[0].decode()))
        if len(first) < COLUMNS * ROWS:
            first.append(Image.open(io.BytesIO(features["image/encoded"].bytes_list.value[0])).convert("RGB"))

    console, places = Console(highlight=False), range(manifest["length"])
    size = f"{manifest['width']}x{manifest['height']}"
    console.print(f"{split}: {manifest['count']} captchas of {size}, {_origin(manifest)}", soft_wrap=True)
    table = Table("character", *(f"place {place + 1}" for place in places), "in all")
    for character in manifest["characters"]:
        at = [counts[place, character] for place in places]
        table.add_row(character, *map(str, at), str(sum(at)))
    console.print(table)
    sheet = images_dir.with_name(f"{split}.png")
    sheet.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(first, COLUMNS).save(sheet)
    console.print(f"the first {len(first)} of them: {sheet}", soft_wrap=True)


def _origin(manifest: dict) -> str:
    if manifest["source"] is None:
        return f"drawn with seed {manifest['seed']}"
    sizes = ", ".join(f"{count} of {size}" for size, count in sorted(manifest["sizes"].items()))
    return f"taken in from {manifest['source']} ({sizes})"


def contact_sheet(images: Sequence[Image.Image], columns: int) -> Image.Image:
    """The images, all of one size, in rows of `columns`."""
    width, height = images[0].width + GAP, images[0].height + GAP
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), "white")
    for i, image in enumerate(images):
        sheet.paste(image, (GAP + i % columns * width, GAP + i // columns * height))
    return sheet
