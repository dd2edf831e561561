"""Put a new split in the place of an earlier one: prepared elsewhere, checked, then moved.

write_split(items, split, config, ...)      (text, PNG file) pairs → PNG files, TFRecords, manifest
check_target(split, config, ...)            refuses to replace files that the producer did not write
belongs(split, config)                      whether a folder of PNG files is this set's
"""

import contextlib
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from captcha_cli import UserError
from captcha_config import Config
from captcha_sets.files import lock, make_folder, staging, sync, write_checksummed
from captcha_sets.manifest import DRAWN, describe
from captcha_sets.shards import is_image, is_shard, plan, write_shard
from captcha_sets.sheet import sheet_path

LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}  # what file managers leave in a folder that they have shown
MARK = ".drawn"  # lies in a folder that the producer filled, and so may replace; names the set that it belongs to


def write_split(
    items: Iterator[tuple[str, bytes]],
    count: int,
    split: str,
    config: Config,
    *,
    images: bool = True,
    typed: Collection[str] = (),
    origin: dict = DRAWN,
) -> dict:
    """Write a split in a staging folder, and then put it in the place of an earlier one of that name.

    Args:
      items: (text, PNG file) pairs, `count` of them. Closed at the end.
      images: whether to write PNG files to <images_dir>/<split>/; without them, those of the earlier split are removed.
      typed, origin: see manifest.describe.
    Returns:
      The manifest.
    Raises:
      UserError: another producer is at work; or the folder of PNG files holds files that the producer did not write, or
        those of another set.
      OSError: a folder cannot be written. The earlier split is untouched then.
    """
    records_dir, images_dir = Path(config.tfrecords_dir), Path(config.images_dir)
    with contextlib.closing(items), contextlib.ExitStack() as stack:
        for folder in dict.fromkeys(path.resolve() for path in (records_dir, images_dir)):
            make_folder(folder)
            busy = f"{folder}: another producer is making {split}; wait for it or stop it"
            stack.enter_context(lock(folder, split, busy))
        check_target(split, config, images)
        new_records = stack.enter_context(staging(records_dir / f".{split}.records.new"))
        new_images = stack.enter_context(staging(images_dir / f".{split}.images.new"))
        shards = [
            write_shard(new_records / name, indices, items, new_images if images else None)
            for name, indices in plan(split, count, config.images_per_shard)
        ]
        if images:
            (new_images / MARK).write_text(_set_of(config), encoding="utf-8")
        check_target(split, config, images)  # files may have appeared since
        _replace_images(split, config, new_images if images else None)
        manifest = describe(split, config, shards, typed, origin)
        _replace_records(split, records_dir, manifest, new_records)
    return manifest


def check_target(split: str, config: Config, images: bool) -> None:
    """Raise UserError if the split cannot be written, or a file that is not its own would be removed.

    Args:
      images: whether PNG files are to be written. Those of the earlier split go in any case.
    """
    for path in (config.tfrecords_dir, config.images_dir):
        if "://" in path:
            raise UserError(f"{path}: is not on this machine; set another folder, or draw with captcha_sets.beam")
    folder = Path(config.images_dir, split)
    if images:
        sheet_path(split, config)
    elif not belongs(split, config):
        return  # the folder stays as it is
    if not folder.exists():
        return
    names = {entry.name for entry in folder.iterdir()} - LITTER
    foreign = sorted(name for name in names - {MARK} if not is_image(name))
    if names and (MARK not in names or foreign):
        raise UserError(
            f"{folder}: holds files that the producer did not write, such as {(foreign or sorted(names))[0]};"
            " move them, or set another --images_dir"
        )
    if names and not belongs(split, config):
        other = Path(config.images_dir, (folder / MARK).read_text(encoding="utf-8", errors="replace"), f"{split}.json")
        if other.exists():
            raise UserError(
                f"{folder}: holds the pictures of the set {os.path.normpath(other)}; set another --images_dir, or leave"
                " the pictures out (--no-images)"
            )


def belongs(split: str, config: Config) -> bool:
    """Whether <images_dir>/<split> holds the PNG files of the set in config.tfrecords_dir."""
    mark = Path(config.images_dir, split, MARK)
    return mark.exists() and mark.read_text(encoding="utf-8", errors="replace") == _set_of(config)


def _set_of(config: Config) -> str:
    return os.path.relpath(config.tfrecords_dir, config.images_dir)  # stays true when the two are moved together


def _replace_images(split: str, config: Config, new_images: Path | None) -> None:
    """Put the new folder of PNG files in the old one's place. The manifest goes first: no manifest, no set."""
    folder, manifest = Path(config.images_dir, split), Path(config.tfrecords_dir, f"{split}.json")
    if not new_images and not belongs(split, config):
        manifest.unlink(missing_ok=True)
        return
    old = folder.with_name(f".{split}.old")
    shutil.rmtree(old, ignore_errors=True)
    content = manifest.read_bytes() if manifest.exists() else None
    manifest.unlink(missing_ok=True)
    try:
        if folder.exists():
            folder.rename(old)
    except OSError:  # a mount point, say: the earlier split stays
        if content is not None:
            manifest.write_bytes(content)
        raise
    if new_images:
        new_images.rename(folder)
    with contextlib.suppress(UserError):  # somebody else's picture stays
        sheet_path(split, config).unlink(missing_ok=True)
    shutil.rmtree(old, ignore_errors=True)


def _replace_records(split: str, records_dir: Path, manifest: dict, new_records: Path) -> None:
    """Put the new shards in the old ones' place, and last the manifest."""
    sync(records_dir)
    for old in records_dir.iterdir():
        if is_shard(old.name, split):
            old.unlink()
    for shard in manifest["shards"]:
        (new_records / shard["name"]).rename(records_dir / shard["name"])
    sync(records_dir)
    write_checksummed(records_dir / f"{split}.json", manifest)
