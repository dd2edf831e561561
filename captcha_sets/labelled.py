"""Images that people label themselves: check them all, find out what they hold, list what is wrong, resize them.

good, problems = labelled_images(source, ...)       every image of a folder or a CSV file
config = fitted(good, config, typed)                the characters, lengths and size that they have
suspects(good)                                      labels that look like a mistake
hold_out(good, source, config)                      some of them for validation
png_files(images, config)                           (text, PNG file) pairs at the config's size
"""

import collections
import dataclasses
import math
import random
import unicodedata
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from captcha_cli import UserError
from captcha_config import MAX_PIXELS, MIN_PIXELS, Config
from captcha_predict.images import LABELS, digest, images_in, open_image, resized
from captcha_sets.draw import png
from captcha_sets.labels import RARE, csv_labels, wrong
from captcha_sets.manifest import TRAIN, VALIDATION


class LabelledImage(NamedTuple):
    path: Path
    text: str
    size: tuple[int, int]  # of the file's own pixels, width and height
    pixels: bytes  # a hash of them


def labelled_images(
    source: Path, config: Config, typed: Collection[str] = (), ignore_case: bool = False
) -> tuple[list[LabelledImage], list[str]]:
    """Check every image of a folder or a CSV file, and its label.

    Args:
      source: a folder of images named LABEL.png or anything_LABEL.png, as the producer names them; or a CSV file with
        the columns file (relative to the CSV file's folder) and label.
      typed: fields of the config that every label must match: "characters", "length". Any others may come.
      ignore_case: whether labels that differ in case alone are the same.
    Returns:
      The images that can be used, in order; and one line for each file that cannot, with the reason.
    Raises:
      UserError: the source does not exist, is a folder without files or with labels.csv, or is not such a CSV file.
    """
    good, problems, seen = [], [], {}
    for path, label in _labels(source):
        text = unicodedata.normalize("NFC", label)  # é as one character, not as e and an accent
        if ignore_case:
            text = one_case(text, config.characters if "characters" in typed else "")
        try:
            image = open_image(path)
        except UserError as error:
            problems.append(str(error))
            continue
        pixels = digest(image)
        if why := wrong(text, config, typed):
            problems.append(f"{path}: the label {label!r} {why}")
        elif pixels in seen:
            problems.append(f"{path}: shows the same image as {seen[pixels].name}")
        else:
            seen[pixels] = path
            good.append(LabelledImage(path, text, image.size, pixels))
    return good, problems


def one_case(label: str, characters: str) -> str:
    """The label in lower case; or, where the characters are given, in the case that these have."""
    if not characters:
        return "".join(_one_character(c, c.lower()) for c in label)
    return "".join(c if c in characters else _one_character(c, c.swapcase()) for c in label)


def _one_character(character: str, other: str) -> str:
    """The character in its other case, where that is one character: ß is SS in upper case."""
    return other if len(other) == 1 else character


def _labels(source: Path) -> Iterator[tuple[Path, str]]:
    """(path, label) of each image, whether it can be read or not."""
    if source.is_dir():
        if (source / LABELS).exists():
            raise UserError(f"{source}: has a {LABELS}; use {source / LABELS} as the source, or move that file away")
        for path in images_in(source):
            yield path, unquote(path.stem.rpartition("_")[2])
    elif source.suffix.lower() == ".csv" and source.is_file():
        for file, label in csv_labels(source):
            yield source.parent / file, label
    else:
        raise UserError(
            f"{source}: is neither a folder nor a CSV file; name a folder with images such as 2704.png or"
            " photo_2704.png, or a CSV file with the columns file and label"
        )


def fitted(good: list[LabelledImage], config: Config, typed: Collection[str]) -> Config:
    """The config with the characters, lengths and size of these images, except for what was typed.

    The size has the median proportion of these images, and about as many pixels as the config's.
    """
    characters = "".join(sorted({character for image in good for character in image.text}))
    width, height = _fitting_size(good, config, typed)
    found = {"characters": characters, "width": width, "height": height}
    new = {name: value for name, value in found.items() if name not in typed}
    if "length" not in typed:
        lengths = {len(image.text) for image in good}
        shortest = config.lengths[0] if "min_length" in typed else min(lengths)
        new |= {"length": max(lengths), "min_length": shortest}
    return dataclasses.replace(config, **new, oversample_characters="")


def _fitting_size(good: list[LabelledImage], config: Config, typed: Collection[str]) -> tuple[int, int]:
    """(width, height) in the median proportion of the images; one of them may be typed."""
    sizes = sorted((image.size for image in good), key=lambda size: size[0] / size[1])
    width, height = sizes[len(sizes) // 2]
    if "width" in typed:
        size = config.width, config.width * height // width
    elif "height" in typed:
        size = config.height * width // height, config.height
    else:
        area = config.width * config.height
        size = math.isqrt(area * width // height), math.isqrt(area * height // width)
    return tuple(min(max(pixels, MIN_PIXELS), MAX_PIXELS) for pixels in size)


def suspects(good: list[LabelledImage]) -> list[str]:
    """One line for each label that looks like a mistake: it has a character that occurs once, or a rare length."""
    characters = collections.Counter(character for image in good for character in image.text)
    lengths = collections.Counter(len(image.text) for image in good)
    lines = []
    for image in good:
        once = [character for character in image.text if characters[character] == 1]
        rare = lengths[len(image.text)] <= RARE * len(good)
        reasons = [f"{character!r} occurs nowhere else" for character in once]
        reasons += [f"only {lengths[len(image.text)]} of {len(good)} labels have this length"] if rare else []
        if reasons:
            lines.append(f"{image.path}: the label {image.text!r}: {', '.join(reasons)}")
    return lines


def hold_out(good: list[LabelledImage], source: Path, config: Config) -> dict[str, list[LabelledImage]]:
    """Split the images at random, by config.seed: config.validation_share of them becomes the validation split.

    Raises:
      UserError: there are too few images for two splits.
    """
    held_out = round(config.validation_share * len(good))
    if not 0 < held_out < len(good):
        raise UserError(
            f"{source}: {len(good)} usable images are too few for validation_share {config.validation_share}; add"
            " some, or set a larger --validation_share"
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
