"""Draw a set in slices, on as many machines as there are, and merge them: the bytes are those of one machine's set.

produce_slice(count, split, number, of, config)     one slice, into <tfrecords_dir>/<split>.slices/
merge(split, config)                                all of them, in the place of an earlier set

What the machines have made is carried together by hand: copy the files of all slices into one such folder.
"""

import contextlib
import itertools
import operator
import os
import shutil
from pathlib import Path

import captcha_data
import captcha_records
from captcha_config import Config, UserError
from captcha_draw import check_fonts, draw_many, track
from captcha_seal import aside, read_sealed, write_sealed


def folder_of(split: str, config: Config) -> Path:
    """Where the slices of a split are."""
    return Path(config.tfrecords_dir) / f"{split}.slices"


def produce_slice(count: int, split: str, number: int, of: int, config: Config) -> dict:
    """Draw a slice of a set of `count` captchas: its part of the shards, without PNG files.

    Args:
      number: which slice, 1 to `of`.
    Returns:
      The slice's manifest: that of the set, with the slice's shards only.
    Raises:
      UserError: there are fewer shards than slices, or the characters cannot be drawn; another producer is at work.
    """
    check_fonts(config)
    plan = captcha_records.plan(split, count, config.images_per_shard)
    if of > len(plan):
        raise UserError(
            f"--slice {number}/{of}: the set has only {len(plan)} shards; use"
            " fewer slices, or a smaller --images_per_shard"
        )
    mine = plan[len(plan) * (number - 1) // of : len(plan) * number // of]
    indices = range(mine[0][1].start, mine[-1][1].stop)
    folder, name = folder_of(split, config), f"{number}-of-{of}"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = track(draw_many(indices, split, config), len(indices), f"drawing {split}, slice {number} of {of}")
    with (
        contextlib.closing(drawn),
        captcha_records.only_producer(folder, name),
        aside(folder / f".{name}.new") as new,
    ):
        shards = [captcha_records.write_shard(new / shard, part, drawn) for shard, part in mine]
        manifest = captcha_records.manifest(split, count, config, shards) | {"slice": [number, of]}
        (folder / f"{name}.json").unlink(missing_ok=True)
        for shard in shards:
            (new / shard["name"]).replace(folder / shard["name"])
        write_sealed(folder / f"{name}.json", manifest)
    return manifest


def merge(split: str, config: Config) -> dict:
    """Put the slices of a split in the place of an earlier set of that name.

    Returns:
      The manifest of the set.
    Raises:
      UserError: a slice is missing, damaged, or of another set. Nothing has changed then.
    """
    folder, records_dir = folder_of(split, config), Path(config.tfrecords_dir)
    again = "draw it again, or copy it again"
    manifests = []
    for path in sorted(folder.glob("*-of-*.json")):
        try:
            manifests.append(read_sealed(path))
        except ValueError as error:
            raise UserError(f"{path}: is not a whole slice ({error}); {again}") from error
    if not manifests:
        raise UserError(f"{folder}: there are no slices; draw them, each with --slice, and copy them there")
    first, of = manifests[0], manifests[0]["slice"][1]
    for manifest in manifests[1:]:
        other = [name for name in first if name not in ("shards", "slice") and manifest[name] != first[name]]
        if other or manifest["slice"][1] != of:
            one, two = ("{} of {}".format(*part["slice"]) for part in (first, manifest))
            raise UserError(
                f"{folder}: slices {one} and {two} are not of the same set ({', '.join(other) or 'number of slices'});"
                " remove those of the other one"
            )
    missing = sorted(set(range(1, of + 1)) - {manifest["slice"][0] for manifest in manifests})
    if missing:
        raise UserError(f"{folder}: slice {missing[0]} of {of} is missing; {again}")
    whole = {name: value for name, value in first.items() if name != "slice"}
    whole["shards"] = sorted(
        itertools.chain(*(manifest["shards"] for manifest in manifests)), key=operator.itemgetter("name")
    )
    plan = captcha_records.plan(split, first["count"], whole["shards"][0]["records"])
    if [(shard["name"], shard["records"]) for shard in whole["shards"]] != [(name, len(part)) for name, part in plan]:
        raise UserError(
            f"{folder}: the slices have shards of different sizes; draw all with the same --images_per_shard"
        )
    captcha_data.check_shards(split, whole, Config(tfrecords_dir=str(folder)))
    with contextlib.ExitStack() as held:
        held.enter_context(captcha_records.only_producer(records_dir, split))
        for number in range(1, of + 1):
            held.enter_context(captcha_records.only_producer(folder, f"{number}-of-{of}"))
        with aside(records_dir / f".{split}.new") as new:
            for name, _ in plan:  # the slices stay whole until the set is
                _link(folder / name, new / name)
            captcha_records.replace(records_dir, split, whole, new)
        shutil.rmtree(folder)
    return whole


def _link(old: Path, new: Path) -> None:
    try:
        os.link(old, new)
    except OSError:  # not on this file system
        shutil.copyfile(old, new)
