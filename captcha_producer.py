"""Draw captchas, or import labelled images: PNG files to look at, TFRecords to train on, a manifest for each split.

    python captcha_producer.py                          draws the splits that are missing
    python captcha_producer.py --update                 also draws anew those that no longer fit captcha_config.py
    python captcha_producer.py --replace                draws both, in the place of earlier ones
    python captcha_producer.py --source my_images       imports labelled images; --unlabelled adds images without labels

A new split is prepared elsewhere and takes an earlier one's place when it is complete.
"""

import argparse
from pathlib import Path

from captcha_cli import UserError, parse_args, quiet_import, run, start_litert

with quiet_import(__name__):
    from captcha_sets import manifest
    from captcha_sets.manifest import CAPTCHA_FIELDS, DRAWING_FIELDS, SPLITS, count_of, open_manifest, set_exists

import captcha_predict
from captcha_config import Config
from captcha_runs import transfer
from captcha_sets.draw import check_trusted
from captcha_sets.drawing import produce
from captcha_sets.importing import import_images
from captcha_sets.replace import check_target
from captcha_sets.sheet import write_sheet

FIELDS = (
    *DRAWING_FIELDS, "train_count", "validation_count", "validation_share", "images_per_shard", "workers", "images_dir",
    "tfrecords_dir", "init_from",
)  # fmt: skip
NOT_IMPORTED = {*DRAWING_FIELDS, "train_count", "validation_count", "workers"} - {*CAPTCHA_FIELDS, "seed"}
MAX_IMAGES = 1_000_000  # PNG files that are written without being asked for


def splits_to_draw(splits: tuple[str, ...], config: Config, update: bool) -> list[str]:
    """The splits that are not there yet and, with `update`, those that are not like the config's.

    Raises:
      UserError: without `update`, or of imported images, a split is there that is not like the config's.
    """
    todo = []
    for split in splits:
        if not set_exists(split, config):
            todo.append(split)
            continue
        there = open_manifest(split, config)
        different = "; ".join(manifest.differences(there, config))
        if not different:
            print(f"{split}: {there['count']} captchas are in {config.tfrecords_dir}/ already")
        elif there["source"] is not None:
            raise UserError(
                f"{config.tfrecords_dir}: the {split} split, imported from {there['source']}, has {different};"
                " import it again with --source and --replace, or set another --tfrecords_dir and --images_dir"
            )
        elif update:
            print(f"{split}: has {different}; drawing it anew")
            todo.append(split)
        else:
            raise UserError(
                f"{config.tfrecords_dir}: the {split} split has {different}; add --update to draw anew what no longer"
                " fits, --replace to draw all anew, or set another --tfrecords_dir and --images_dir"
            )
    return todo


def wants_images(splits: list[str], args: argparse.Namespace, config: Config) -> bool:
    """Whether to write PNG files. Raises UserError above MAX_IMAGES, unless --images asks for them."""
    largest = max((count_of(split, config) for split in splits), default=0)
    if args.images is None and largest > MAX_IMAGES:
        raise UserError(
            f"this would write {largest} PNG files; add --no-images for TFRecords alone, or --images to write them too"
        )
    return args.images is not False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", type=Path, help="folder (or CSV file) of labelled images to import")
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=SPLITS, help="which splits; default: both")
    parser.add_argument("--replace", action="store_true", help="replace the splits that exist")
    parser.add_argument("--update", action="store_true", help="draw anew the splits that no longer fit the config")
    parser.add_argument(
        "--images",
        action=argparse.BooleanOptionalAction,
        help=f"whether to write PNG files besides the TFRecords; default: up to {MAX_IMAGES} a split",
    )
    parser.add_argument("--leave-out", action="store_true", help="with --source: leave out files that cannot be used")
    parser.add_argument("--ignore_case", action="store_true", help="with --source: a and A are the same character")
    parser.add_argument(
        "--unlabelled", type=Path, help="with --source and --model: a folder of images without labels, to train on, too"
    )
    parser.add_argument("--model", help="the network that reads them: what python -m captcha_predict --model takes")


def import_splits(splits: tuple[str, ...], args: argparse.Namespace, config: Config) -> tuple[list[dict], bool]:
    """Import labelled images; returns the manifests, and whether PNG files were written."""
    there = [split for split in splits if set_exists(split, config)]
    if there and not args.replace:
        raise UserError(
            f"{config.tfrecords_dir}: there is a {there[0]} split already; add --replace to put the new one in its"
            " place, or set another --tfrecords_dir and --images_dir"
        )
    images = args.images is not False
    typed = vars(args)
    if not any(set_exists(split, config) for split in SPLITS if split not in splits):  # its size counts
        config, typed = transfer.at_image_size(config, typed)
    flags = {"leave_out": args.leave_out, "ignore_case": args.ignore_case}
    if args.unlabelled:
        start_litert()
        captcha_predict.load(args.model)  # raises, before all images are read
        flags |= {"unlabelled": args.unlabelled, "model": args.model}
    return import_images(args.source, splits, config, images=images, typed=typed, **flags), images


def draw_splits(splits: tuple[str, ...], args: argparse.Namespace, config: Config) -> tuple[list[dict], bool]:
    """Draw captchas; returns the manifests, and whether PNG files were written."""
    like = config if args.replace else manifest.like_sets(config, vars(args))
    todo = list(splits) if args.replace else splits_to_draw(splits, like, args.update)
    if todo:
        check_trusted(like.drawer, config)
    images = wants_images(todo, args, like)
    for split in todo:  # produce checks this again, but by then the first split may have been replaced
        check_target(split, like, images)
        manifest.check_not_imported(split, like)
    return [produce(split, like, images=images, typed=vars(args)) for split in todo], images


def main() -> None:
    config, args = parse_args(__doc__, FIELDS, add_arguments)
    for_imports = args.leave_out or args.ignore_case or args.unlabelled
    if not args.source and (for_imports or "init_from" in args or "validation_share" in args):
        raise UserError("--leave-out, --ignore_case, --unlabelled, --init_from, --validation_share need --source")
    if bool(args.unlabelled) != bool(args.model):
        raise UserError("--unlabelled names images for --model to read; give both or neither")
    if args.unlabelled and manifest.TRAIN not in args.splits:
        raise UserError("--unlabelled adds images to the training split; add train to --splits")
    if "validation_share" in args and len(set(args.splits)) == 1:
        raise UserError("--validation_share divides images between both splits; leave it out where --splits names one")
    if args.source and (of_drawing := sorted(NOT_IMPORTED & vars(args).keys())):
        raise UserError(f"--{', --'.join(of_drawing)}: for captchas that are drawn; not with --source")
    if args.update and (args.source or args.replace):
        raise UserError("--update draws what no longer fits; leave it out with --replace and with --source")
    make = import_splits if args.source else draw_splits
    manifests, images = make(tuple(dict.fromkeys(args.splits)), args, config)
    for made in manifests:
        split, shards = made["split"], len(made["shards"])
        print(f"{split}: {made['count']} captchas in {shards} shards in {config.tfrecords_dir}/")
        if images:
            write_sheet(split, config)


if __name__ == "__main__":
    run(main)
