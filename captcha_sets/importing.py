"""Import labelled images as splits: whatever characters, lengths and sizes they have."""

import collections
import itertools
from collections.abc import Collection, Iterable
from pathlib import Path

from captcha_cli import UserError, track
from captcha_config import Config
from captcha_predict.console import printable
from captcha_predict.form import is_unicode
from captcha_predict.images import digest, open_image, resized
from captcha_sets.files import checksum
from captcha_sets.labelled import LabelledImage, fitted, hold_out, labelled_images, png_files, suspects
from captcha_sets.manifest import CAPTCHA_FIELDS, SPLITS, TRAIN, differences, like_sets, open_manifest, set_exists
from captcha_sets.replace import belongs, check_target, write_split
from captcha_sets.shards import examples
from captcha_sets.unlabelled import pseudo_labelled

MAX_SUSPECTS = 20  # labels that are listed


def import_images(
    source: Path,
    splits: tuple[str, ...],
    config: Config,
    *,
    images: bool = True,
    typed: Collection[str] = (),
    leave_out: bool = False,
    ignore_case: bool = False,
    unlabelled: Path | None = None,
    model: str = "",
) -> list[dict]:
    """Make splits of labelled images. Characters, lengths and size are theirs, except for what was typed.

    Args:
      source: a folder or a CSV file, as labelled.labelled_images takes it.
      splits: both, and config.validation_share of the images is held out for validation; or one, for all images. These
        must then have the characters, lengths and size of the other split, if there is one.
      images: whether to write the PNG files as well.
      typed: names of the fields that count as they are in the config. Images that do not match them are problems.
      leave_out: leave out the files that have something wrong. Otherwise they stop the import.
      ignore_case: whether labels that differ in case alone are the same.
      unlabelled: a folder of images without labels. Those that `model` reads with confidence join the training split.
      model: as captcha_predict.read takes it.
    Returns:
      A manifest for each split.
    Raises:
      UserError: files have something wrong, all of which is listed, before anything is written; none of the images
        without labels can join; or as in drawing.produce.
      OSError: as in drawing.produce.
    """
    for name in (source, unlabelled or "", model):
        if not is_unicode(str(name)):
            raise UserError(f"{name}: its name is not UTF-8, as it must be for a manifest; rename it")
    insisted = [name for name in CAPTCHA_FIELDS if name in typed]
    others = [split for split in SPLITS if split not in splits and set_exists(split, config)]
    if others:
        config, insisted = _like_other_split(others[0], source, config, insisted), CAPTCHA_FIELDS
    good, problems = labelled_images(source, config, insisted, ignore_case)
    there = _images_of(others, config)
    good, twice = _apart(good, there, config)
    problems += twice
    _leave_out(problems, source, leave_out)
    if not good:
        raise UserError(f"{source}: none of its images can be used; correct them, or add others")
    config = fitted(good, config, insisted)
    print(_found(source, good, config))
    parts = hold_out(good, source, config) if len(splits) > 1 else {splits[0]: good}
    for split in parts:
        check_target(split, config, images)
    joined = []
    if unlabelled:
        joined = _joining(unlabelled, model, good, there, config, leave_out, ignore_case)
        parts[TRAIN] = parts[TRAIN] + joined
    for split in parts:
        if images or belongs(split, config):
            _check_not_replaced(itertools.chain(*parts.values()), split, config)
    origin = {
        "source": str(source),
        "import": _identity(parts),
        "splits": list(parts),
        "leave-out": leave_out,
        "ignore_case": ignore_case,
        "validation_share": config.validation_share,
        "unlabelled": str(unlabelled or ""),
        "model": model,
        "joined": len(joined),
    }
    manifests = []
    for split, part in parts.items():
        sizes = collections.Counter("x".join(map(str, image.size)) for image in part)
        files = track(png_files(part, config), len(part), f"importing {split}")
        about = {"images": images, "typed": insisted, "origin": origin | {"sizes": sizes}}
        manifests.append(write_split(files, len(part), split, config, **about))
    return manifests


def _like_other_split(split: str, source: Path, config: Config, typed: Collection[str]) -> Config:
    """The config with the captcha of the split that is there.

    Raises:
      UserError: something else was typed; or that split was imported from the same source, all of whose images would
        now be in the new one.
    """
    like = like_sets(config, (), [split])
    there = open_manifest(split, config)
    compared = [name for name in typed if name != "min_length" or "length" in typed]  # alone, it is above no length
    if different := differences(there, config, compared):
        raise UserError(
            f"{config.tfrecords_dir}: the {split} split has {'; '.join(different)}; set another --tfrecords_dir and"
            " --images_dir, or remove that split"
        )
    if there["source"] is not None and Path(there["source"]).resolve() == source.resolve():
        raise UserError(
            f"{source}: the {split} split was imported from it, and its images would be in both splits; leave out"
            " --splits, or name another source"
        )
    return like


def _images_of(splits: list[str], config: Config) -> set[bytes]:
    """Hashes of the images of splits that were imported."""
    manifests = [open_manifest(split, config) for split in splits]
    imported = [manifest for manifest in manifests if manifest["source"] is not None]
    return {digest(open_image(file)) for manifest in imported for _, file in examples(manifest, config)}


def _apart(good: list[LabelledImage], there: set[bytes], config: Config) -> tuple[list[LabelledImage], list[str]]:
    """The images that the other split does not have; and one line for each that it has."""
    if not there:
        return good, []
    new, problems = [], []
    for image in track(good, len(good), "comparing with the other split"):
        if digest(resized(open_image(image.path), (config.width, config.height))) in there:
            problems.append(f"{image.path}: is in the other split, too")
        else:
            new.append(image)
    return new, problems


def _joining(
    folder: Path,
    model: str,
    labelled: list[LabelledImage],
    there: set[bytes],
    config: Config,
    leave_out: bool,
    ignore_case: bool,
) -> list[LabelledImage]:
    """The images of a folder that join the training split, with what the model reads in them.

    Args:
      there: hashes of the other split's images.
    """
    read, problems, rest = pseudo_labelled(folder, model, labelled, config, ignore_case)
    _leave_out(problems, folder, leave_out)
    joining, twice = _apart(read, there, config)
    found = f"{folder}: {len(joining)} images join the training split with what {model} reads in them; {rest}"
    found += f", {len(twice)} in the other split" if there else ""
    if not joining:
        raise UserError(f"{found}; label more images, or name another --model")
    print(printable(found))
    return joining


def _check_not_replaced(good: Iterable[LabelledImage], split: str, config: Config) -> None:
    """Raise UserError where an image is in the folder that the split's own pictures replace."""
    folder = Path(config.images_dir, split).resolve()
    for image in good:
        if folder in image.path.resolve().parents:
            raise UserError(
                f"{image.path}: is in {folder}, whose files this import would replace; set another --images_dir"
            )


def _identity(parts: dict[str, list[LabelledImage]]) -> str:
    """A text that differs if another import would put an image in the other split."""
    names = {split: [[image.path.name, image.text] for image in part] for split, part in parts.items()}
    return checksum(names)[:16]


def _leave_out(problems: list[str], source: Path, allowed: bool) -> None:
    """Say which files are left out. Raises UserError where that is not allowed."""
    if problems and not allowed:
        heading = f"{source}: nothing was written; correct these files, or leave them out with --leave-out:"
        raise UserError("\n  ".join([heading, *problems]))
    for problem in problems:
        print(f"left out: {printable(problem)}")


def _found(source: Path, good: list[LabelledImage], config: Config) -> str:
    """What the images hold, and which labels look like a mistake, in lines."""
    lines = [
        f"{source}: {len(good)} images with {config.lengths_in_words} of {len(config.characters)} characters"
        f" ({config.characters}), imported at {config.width}x{config.height}"
    ]
    odd = suspects(good)
    if odd:
        lines.append("these labels look like a mistake; if one is, correct it and run the command again:")
        lines += [f"  {line}" for line in odd[:MAX_SUSPECTS]]
    if len(odd) > MAX_SUSPECTS:
        lines.append(f"  and {len(odd) - MAX_SUSPECTS} more")
    return "\n".join(map(printable, lines))
