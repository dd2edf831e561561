"""Draw captchas, or take in labelled images: PNGs to look at, TFRecords to train on, a manifest of what there is.

    python captcha_producer.py -n 30000 -p images/train
    python captcha_producer.py -n 3000 -p images/validation
    python captcha_producer.py --source my_images -p images/train --validation 0.2
    python captcha_producer.py --stats -p images/train
    python captcha_producer.py -n 300000 -p images/train --slice 1/4        and, when there are all, --merge

The folder's name is the split's. A new set is built aside and takes an earlier one's place when it is complete.
"""

import collections
import contextlib
import os
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import captcha_records
import captcha_show
import captcha_slice
from captcha_config import Config, UserError, parse_args, run
from captcha_draw import check_fonts, draw_many, png, track
from captcha_open import labelled_images, open_image, resized
from captcha_seal import aside

FIELDS = (
    "characters", "length", "width", "height", "fonts", "font_sizes", "often", "seed", "images_per_shard", "workers",
    "tfrecords_dir",
)  # fmt: skip
DRAWN = ".drawn"  # lies in a folder of images that the producer filled, and so may replace


def produce(count: int, images_dir: Path, config: Config, *, images: bool = True) -> dict:
    """Draw a split and put it in the place of an earlier one of that name.

    Args:
      count: captchas to draw, 1 or more.
      images_dir: where the PNG files go; its last part is the split's name.
      config: the captcha, the seed and the folders.
      images: whether to write the PNG files.
    Returns:
      The manifest, as it is in <tfrecords_dir>/<split>.json.
    Raises:
      UserError: the characters cannot be drawn; images_dir holds files of somebody else; another producer is at work.
      OSError: a folder cannot be written. The earlier set is untouched then.
    """
    images_dir = Path(os.path.abspath(images_dir))
    check_fonts(config)
    drawn = track(draw_many(range(count), images_dir.name, config), count, f"drawing {images_dir.name}")
    return _write_set(drawn, count, images_dir, config, images)


def take_in(
    source: Path,
    images_dir: Path,
    config: Config,
    *,
    validation: float = 0.0,
    images: bool = True,
    leave_out: bool = False,
) -> list[dict]:
    """Make a split of labelled images, PNG or JPEG, resized to the config's size.

    Args:
      source: a folder or a CSV file, as captcha_open.labelled_images takes it.
      validation: the share of the images, chosen at random by config.seed, that becomes the split "validation", beside
        images_dir.
      leave_out: leave out the files that have something wrong, which otherwise stop it all.
    Returns and raises:
      As produce does, a manifest for each split; and UserError, with every problem, before anything is written.
    """
    images_dir = Path(os.path.abspath(images_dir))
    good, problems = labelled_images(source, config)
    if problems and not leave_out:
        raise UserError(
            "\n  ".join([f"{source}: nothing was written; mend these, or leave them out with --leave-out:", *problems])
        )
    held_out = round(validation * len(good))
    if len(good) - held_out < 1 or (validation and not held_out):
        raise UserError(f"{source}: {len(good)} images that can be used are too few; add some")
    if validation and images_dir.name == "validation":
        raise UserError(f"-p {images_dir}: the validation split is made beside it; name this one train")
    chosen = set(random.Random(f"{config.seed}/validation").sample(range(len(good)), held_out))
    splits = {images_dir: [item for i, item in enumerate(good) if i not in chosen]}
    if held_out:
        splits[images_dir.with_name("validation")] = [item for i, item in enumerate(good) if i in chosen]
    manifests = []
    for folder, part in splits.items():
        taken = track((_taken(path, text, config) for path, text, _ in part), len(part), f"taking in {folder.name}")
        origin = {"source": source.name, "sizes": collections.Counter(size for _, _, size in part)}
        manifests.append(_write_set(taken, len(part), folder, config, images, origin))
    return manifests


def _taken(path: Path, text: str, config: Config) -> tuple[str, bytes]:
    return text, png(resized(open_image(path), config))


def _write_set(
    items: Iterator[tuple[str, bytes]],
    count: int,
    images_dir: Path,
    config: Config,
    images: bool,
    origin: dict | None = None,
) -> dict:
    """Write (text, PNG) pairs as a split, aside, and then put it in place."""
    split, records_dir = captcha_records.split_of(images_dir), Path(config.tfrecords_dir)
    records_dir.mkdir(parents=True, exist_ok=True)
    images_dir.parent.mkdir(parents=True, exist_ok=True)
    new_records, new_images = records_dir / f".{split}.new", images_dir.with_name(f".{split}.new")
    with (
        contextlib.closing(items),
        captcha_records.only_producer(records_dir, split),
        captcha_records.only_producer(images_dir.parent, split),
    ):
        _check_ours(images_dir)
        with aside(new_records), aside(new_images):
            (new_images / DRAWN).touch()
            shards = [
                captcha_records.write_shard(new_records / name, indices, items, new_images if images else None)
                for name, indices in captcha_records.plan(split, count, config.images_per_shard)
            ]
            manifest = captcha_records.manifest(split, count, config, shards, origin)
            if images:
                _check_ours(images_dir)  # it was some time ago
                _replace_images(images_dir, new_images, records_dir / f"{split}.json")
            captcha_records.replace(records_dir, split, manifest, new_records)
    return manifest


def _check_ours(images_dir: Path) -> None:
    """Replacing a folder of images must never take a file that somebody else put there."""
    if not images_dir.exists():
        return
    names = {entry.name for entry in images_dir.iterdir()}
    foreign = sorted(name for name in names - {DRAWN} if not re.fullmatch(r"\d{8}_.+\.png", name))
    if names and (DRAWN not in names or foreign):
        raise UserError(
            f"{images_dir}: holds files that the producer did not draw, such as {(foreign or sorted(names))[0]};"
            " move them, or name another folder"
        )


def _replace_images(images_dir: Path, new_images: Path, manifest: Path) -> None:
    """Put the new folder in the old one's place. The manifest goes first: no manifest, no set."""
    old = images_dir.with_name(f".{images_dir.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    content = manifest.read_bytes() if manifest.exists() else None
    manifest.unlink(missing_ok=True)
    try:
        if images_dir.exists():
            images_dir.rename(old)
    except OSError:  # a mount point, say: the earlier set stays
        if content is not None:
            manifest.write_bytes(content)
        raise
    new_images.rename(images_dir)
    shutil.rmtree(old, ignore_errors=True)


def _slice(text: str) -> tuple[int, int]:
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise UserError(f"--slice {text}: must be I/N, the I-th of N slices, such as 1/4")
    return int(number), int(of)


def main() -> None:
    def extras(parser):
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("-n", "--count", type=int, help="captchas to draw")
        what.add_argument("--source", type=Path, help="folder (or CSV file) of labelled images to take in instead")
        what.add_argument("--merge", action="store_true", help="make a set of the slices that are there")
        what.add_argument("--stats", action="store_true", help="show what is in the set that is there")
        parser.add_argument("-p", "--path", type=Path, required=True, help="folder for the PNGs, named as the split")
        parser.add_argument(
            "--slice",
            metavar="I/N",
            help="with -n: draw the I-th of N parts of the set, TFRecords alone, to be merged with the others",
        )
        parser.add_argument("--no-images", action="store_true", help="write the TFRecords alone")
        parser.add_argument(
            "--validation",
            type=float,
            default=0.0,
            metavar="SHARE",
            help="with --source: the part of the images that is kept for validation",
        )
        parser.add_argument("--leave-out", action="store_true", help="with --source: leave out what cannot be used")

    config, args = parse_args(__doc__, FIELDS, extras)
    if not 0 <= args.validation < 1:
        raise UserError(f"--validation {args.validation} is out of range; it must be from 0 to less than 1")
    if (args.validation or args.leave_out) and not args.source:
        raise UserError("--validation and --leave-out are for images of your own; name them with --source")
    if args.slice and not args.count:
        raise UserError("--slice is a part of a set that is drawn; say with -n how many captchas the whole set has")
    if args.stats:
        captcha_show.show(args.path, config)
        return
    if args.count is not None and not 1 <= args.count <= 10**9:
        raise UserError(f"-n {args.count} is out of range; it must be from 1 to {10**9}")
    images = not (args.no_images or args.slice or args.merge)
    if args.slice:
        number, of = _slice(args.slice)
        made = captcha_slice.produce_slice(args.count, captcha_records.split_of(args.path), number, of, config)
        print(f"slice {args.slice}: {len(made['shards'])} shards in {captcha_slice.folder_of(made['split'], config)}/")
        return
    if args.merge:
        manifests = [captcha_slice.merge(captcha_records.split_of(args.path), config)]
    elif args.source:
        how = {"validation": args.validation, "images": images, "leave_out": args.leave_out}
        manifests = take_in(args.source, args.path, config, **how)
    else:
        manifests = [produce(args.count, args.path, config, images=images)]
    for made in manifests:
        print(f"{made['split']}: {made['count']} captchas in {len(made['shards'])} shards in {config.tfrecords_dir}/")
        if images:
            captcha_show.write_sheet(args.path.with_name(made["split"]), config)


if __name__ == "__main__":
    run(main)
