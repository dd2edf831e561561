"""Draw captchas, or import labelled images: PNG files to look at, TFRecords to train on, a manifest for each split.

    python captcha_producer.py                          draws the splits that are missing
    python captcha_producer.py --replace                draws both, in the place of earlier ones
    python captcha_producer.py --source my_images       imports labelled images

A new split is prepared elsewhere and takes an earlier one's place when it is complete.
"""

import argparse
import collections
from pathlib import Path

from captcha_cli import UserError, parse_args, quiet_import, run, track

with quiet_import(__name__):
    from captcha_sets.manifest import DRAWING_FIELDS, SPLITS, count_of, differences, open_manifest, set_exists

from captcha_config import Config
from captcha_sets.draw import check_fonts
from captcha_sets.labelled import hold_out, labelled_images, png_files
from captcha_sets.pool import draw_many
from captcha_sets.replace import check_target, write_split
from captcha_sets.sheet import write_sheet

FIELDS = (
    "characters", "length", "width", "height", "fonts", "font_sizes", "oversample_characters", "seed", "train_count",
    "validation_count", "validation_share", "images_per_shard", "workers", "images_dir", "tfrecords_dir",
)  # fmt: skip
MAX_IMAGES = 1_000_000  # PNG files that are written without being asked for


def produce(split: str, config: Config, *, images: bool = True) -> dict:
    """Draw a split, in the place of an earlier one.

    Args:
      split: "train" or "validation"; config.train_count or config.validation_count says how many captchas.
      images: whether to write the PNG files as well.
    Returns:
      The manifest, as in <tfrecords_dir>/<split>.json.
    Raises:
      UserError: the characters cannot be drawn; the folder of PNG files holds files that the producer did not write;
        another producer is at work.
      OSError: a folder cannot be written. The earlier split is untouched then.
    """
    count = count_of(split, config)
    check_fonts(config)
    check_target(split, config, images)
    drawn = track(draw_many(range(count), split, config), count, f"drawing {split}")
    return write_split(drawn, count, split, config, images=images)


def import_images(
    source: Path, splits: tuple[str, ...], config: Config, *, images: bool = True, leave_out: bool = False
) -> list[dict]:
    """Make splits of labelled images, PNG or JPEG, resized to the config's size.

    Args:
      source: a folder or a CSV file, as labelled.labelled_images takes it.
      splits: both, and config.validation_share of the images is held out for validation; or one, for all images.
      leave_out: leave out the files that have something wrong. Otherwise they stop the import.
    Returns:
      A manifest for each split.
    Raises:
      UserError: files have something wrong, all of which is listed, before anything is written; or as in `produce`.
      OSError: as in `produce`.
    """
    good, problems = labelled_images(source, config)
    if problems and not leave_out:
        heading = f"{source}: nothing was written; correct these files, or leave them out with --leave-out:"
        raise UserError("\n  ".join([heading, *problems]))
    if not good:
        raise UserError(f"{source}: none of its images can be used; correct them, or add others")
    parts = hold_out(good, source, config) if len(splits) > 1 else {splits[0]: good}
    for split in parts:
        check_target(split, config, images)
    manifests = []
    for split, part in parts.items():
        sizes = collections.Counter(image.size for image in part)
        imported = {"source": str(source), "sizes": sizes, "splits": list(parts)}
        files = track(png_files(part, config), len(part), f"importing {split}")
        manifests.append(write_split(files, len(part), split, config, images=images, imported=imported))
    return manifests


def missing_splits(splits: tuple[str, ...], config: Config) -> list[str]:
    """The splits that are not there yet. Raises UserError where one is there that is not like the config's."""
    missing = []
    for split in splits:
        if not set_exists(split, config):
            missing.append(split)
            continue
        manifest = open_manifest(split, config)
        different = differences(manifest, config, DRAWING_FIELDS)
        if manifest["count"] != count_of(split, config):
            different.append(f"count {manifest['count']}, not {count_of(split, config)}")
        if different and manifest["source"] is None:
            raise UserError(
                f"{config.tfrecords_dir}: the {split} split has {'; '.join(different)}; add --replace to draw it anew,"
                " or set another --tfrecords_dir and --images_dir"
            )
        print(f"{split}: {manifest['count']} captchas are in {config.tfrecords_dir}/ already")
    return missing


def write_images(splits: list[str], args: argparse.Namespace, config: Config) -> bool:
    """Whether to write PNG files. Raises UserError above MAX_IMAGES, unless --images asks for them."""
    largest = max((count_of(split, config) for split in splits), default=0)
    if args.images is None and largest > MAX_IMAGES and not args.source:
        raise UserError(
            f"this would write {largest} PNG files; add --no-images for TFRecords alone, or --images to write them too"
        )
    return args.images is not False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", type=Path, help="folder (or CSV file) of labelled images to import")
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=SPLITS, help="which splits; default: both")
    parser.add_argument("--replace", action="store_true", help="replace the splits that exist")
    parser.add_argument(
        "--images",
        action=argparse.BooleanOptionalAction,
        help=f"whether to write PNG files besides the TFRecords; default: up to {MAX_IMAGES} a split",
    )
    parser.add_argument("--leave-out", action="store_true", help="with --source: leave out files that cannot be used")


def main() -> None:
    config, args = parse_args(__doc__, FIELDS, add_arguments)
    splits = tuple(dict.fromkeys(args.splits))
    if args.leave_out and not args.source:
        raise UserError("--leave-out is for images of your own; name them with --source")
    if args.source:
        there = [split for split in splits if set_exists(split, config)]
        if there and not args.replace:
            raise UserError(
                f"{config.tfrecords_dir}: there is a {there[0]} split already; add --replace to put the new one in its"
                " place, or set another --tfrecords_dir and --images_dir"
            )
        images = write_images([], args, config)
        manifests = import_images(args.source, splits, config, images=images, leave_out=args.leave_out)
    else:
        todo = list(splits) if args.replace else missing_splits(splits, config)
        images = write_images(todo, args, config)
        manifests = [produce(split, config, images=images) for split in todo]
    for manifest in manifests:
        split, shards = manifest["split"], len(manifest["shards"])
        print(f"{split}: {manifest['count']} captchas in {shards} shards in {config.tfrecords_dir}/")
        if images:
            write_sheet(split, config)


if __name__ == "__main__":
    run(main)
