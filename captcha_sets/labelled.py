"""Images that people label themselves: check them all, list what is wrong, and resize them.

good, problems = labelled_images(source, config)    every image of a folder or a CSV file
hold_out(good, source, config)                      some of them for validation
png_files(images, config)                           (text, PNG file) pairs at the config's size
"""

import csv
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from captcha_cli import UserError
from captcha_config import Config
from captcha_predict.images import images_in, open_image, resized
from captcha_sets.draw import png
from captcha_sets.manifest import TRAIN, VALIDATION


class LabelledImage(NamedTuple):
    path: Path
    text: str
    size: str  # of the file's own pixels, such as "160x60"


def labelled_images(source: Path, config: Config) -> tuple[list[LabelledImage], list[str]]:
    """Check every image of a folder or a CSV file, and its label.

    Args:
      source: a folder of images named LABEL.png or anything_LABEL.png, as the producer names them; or a CSV file with
        the columns file (relative to the CSV file's folder) and label.
    Returns:
      The images that can be used, in order; and one line for each file that cannot, with the reason.
    Raises:
      UserError: the source does not exist, names no file, or is not such a CSV file.
    """
    good, problems, seen = [], [], {}
    for path, text in _labels(source):
        outside = sorted(set(text) - set(config.characters))
        try:
            image = open_image(path)
        except UserError as error:
            problems.append(str(error))
            continue
        pixels = hashlib.sha256(image.tobytes()).digest()
        if len(text) != config.length:
            problems.append(f"{path}: the label {text!r} has {len(text)} characters, not {config.length}")
        elif outside:
            problems.append(f"{path}: the label {text!r} has {outside[0]!r}, which is not one of the characters")
        elif pixels in seen:
            problems.append(f"{path}: shows the same image as {seen[pixels].name}")
        else:
            seen[pixels] = path
            good.append(LabelledImage(path, text, f"{image.width}x{image.height}"))
    return good, problems


def _labels(source: Path) -> Iterator[tuple[Path, str]]:
    """(path, label) of each image, whether it can be read or not."""
    if source.is_dir():
        for path in images_in(source):
            yield path, unquote(path.stem.rpartition("_")[2])
    elif source.suffix.lower() == ".csv" and source.is_file():
        yield from _csv_labels(source)
    else:
        raise UserError(
            f"{source}: is neither a folder nor a CSV file; name a folder with images such as 2704.png or"
            " photo_2704.png, or a CSV file with the columns file and label"
        )


def _csv_labels(source: Path) -> Iterator[tuple[Path, str]]:
    with open(source, newline="", encoding="utf-8-sig") as file:
        try:
            rows = csv.DictReader(file, strict=True)
            if not {"file", "label"} <= set(rows.fieldnames or ()):
                raise UserError(f"{source}: its first line must name the columns: file,label")
            for row in rows:
                if not row["file"] or row["label"] is None:
                    raise UserError(f"{source}: line {rows.line_num} does not have a file and a label; correct it")
                yield source.parent / row["file"], row["label"]
        except (csv.Error, UnicodeDecodeError) as error:
            raise UserError(f"{source}: is not a CSV file in UTF-8 ({error}); correct it") from error


def hold_out(good: list[LabelledImage], source: Path, config: Config) -> dict[str, list[LabelledImage]]:
    """Split the images at random, by config.seed: config.validation_share of them becomes the validation split.

    Raises:
      UserError: there are too few images for two splits.
    """
    held_out = round(config.validation_share * len(good))
    if not 0 < held_out < len(good):
        raise UserError(
            f"{source}: {len(good)} images that can be used are too few for validation_share"
            f" {config.validation_share}; add some"
        )
    chosen = set(random.Random(f"{config.seed}/validation").sample(range(len(good)), held_out))
    return {
        TRAIN: [image for i, image in enumerate(good) if i not in chosen],
        VALIDATION: [image for i, image in enumerate(good) if i in chosen],
    }


def png_files(images: list[LabelledImage], config: Config) -> Iterator[tuple[str, bytes]]:
    """(text, PNG file) of each image, resized to the config's size."""
    for image in images:
        yield image.text, png(resized(open_image(image.path), (config.width, config.height)))
