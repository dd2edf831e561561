"""Checkpoints as files: each complete or absent, whatever happens while it is written.

write(folder, name, step, model, ...)       one checkpoint
metadata = newest(folder, LATEST, BEST)     the metadata of the newest that is not damaged
restore(metadata, model, training)          all of its values, or an error before anything has changed
keep(folder, name, step, count)             remove all but the newest ones
set_aside(folder)                           move a whole run out of the way

A checkpoint is `<name>-<step>.index`, `.data-…` and its metadata, `.json`. It is made in save/.pending/ and moved up
file by file, the metadata last; it is removed in the opposite order. So metadata in save/ stands for a complete
checkpoint, and metadata in save/.pending/ for one that is to be swept.
"""

import errno
import functools
import re
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from captcha_cli import UserError
from captcha_predict.form import misfit
from captcha_sets.files import make_folder, read_checksummed, reason, sha256, sync, write_checksummed

import keras
import tensorflow as tf

LATEST, BEST = "ckpt", "best"  # the newest few checkpoints, and the best one on the validation split
PENDING = ".pending"
ASIDE = ".before"  # where a run is collected before this folder gets its name, before-<n>
SAVED_MODEL = "saved_model"  # an export that is a folder
# What a run leaves in its folder, which may hold other files.
RUN = ("ckpt-*.*", "best-*.*", "log.jsonl", "events.out.tfevents.*", "model*.tflite", "model.onnx", SAVED_MODEL)
FORMAT = 3  # of the metadata
FORM = {"step": int, "files": {str: str}, "variables": {str: str}}  # of what `write` adds to it
MAX_NAMES = 3  # of differing variables that an error names


def write(
    folder: Path, name: str, step: int, model: keras.Model, training: Sequence[keras.Variable], about: dict
) -> None:
    """Save a checkpoint. When this returns it is on the disk; until then only the earlier ones are.

    Args:
      model: the network to evaluate and export.
      training: the variables that are needed, beside it, to continue training.
      about: what else the metadata is to say, in plain values.
    Raises:
      OSError: the folder cannot be written, or the disk is full. Checkpoints of other steps are as they were.
    """
    pending, stem = folder / PENDING, f"{name}-{step}"
    sweep(folder)
    try:
        pending.mkdir(parents=True, exist_ok=True)
        tf.train.Checkpoint(**_values(model, training)).write(str(pending / stem))
        files = sorted(path for path in pending.iterdir() if path.is_file())
        for path in files:
            sync(path)
        metadata = {
            "format": FORMAT,
            "step": step,
            "files": {path.name: sha256(path) for path in files},
            "variables": _signature(model, training),
            "versions": {package: version(package) for package in ("tensorflow", "keras", "numpy")},
            **about,
        }
        _remove(folder / f"{stem}.json")  # the same step, saved before the run went back to an earlier one
        write_checksummed(pending / f"{stem}.json", metadata)
        for path in files:
            path.replace(folder / path.name)
        sync(folder)
        (pending / f"{stem}.json").replace(folder / f"{stem}.json")
        sync(folder)
    except tf.errors.OpError as error:
        raise OSError(errno.EIO, reason(error), str(folder)) from error
    finally:
        sweep(folder)


def keep(folder: Path, name: str, step: int, count: int) -> None:
    """Remove all but the newest `count` checkpoints up to `step`. Later ones, which are damaged, are left alone."""
    for path in [path for path in _metadata_files(folder, name) if _step(path) <= step][count:]:
        _remove(path)
    sweep(folder)


def keep_only(folder: Path, name: str, step: int) -> None:
    """Remove all checkpoints of that name but the one of `step`."""
    for path in _metadata_files(folder, name):
        if _step(path) != step:
            _remove(path)
    sweep(folder)


def newest(folder: Path, *names: str) -> dict | None:
    """The metadata of the newest checkpoint that is not damaged, or None where there is no checkpoint at all.

    Damaged ones are named on standard error and skipped. The path of the metadata is in it, as "path".
    Raises:
      UserError: there are checkpoint files, but no complete checkpoint; or an earlier version saved them.
    """
    files = [path.name for path in folder.glob("*") if re.match(rf"({'|'.join(names)})-\d+\.", path.name)]
    stems = {name.partition(".")[0] for name in files}  # of those without metadata, too
    paths = [folder / f"{stem}.json" for name in names for stem in stems if stem.startswith(f"{name}-")]
    for path in sorted(paths, key=_step, reverse=True):  # of one step, the name that was given first
        metadata, damage = _read(path)
        if not damage:
            return metadata
        print(f"warning: {path.with_suffix('')}: damaged ({damage}); skipped", file=sys.stderr)
    if paths:
        raise UserError(
            f"{folder}: has checkpoint files, but no complete checkpoint; restore them from a copy, or move them away"
            " to start anew"
        )
    return None


def is_complete(folder: Path, name: str, step: int) -> bool:
    """Whether the checkpoint of that name and step is there, undamaged."""
    _, damage = _read(folder / f"{name}-{step}.json")
    return not damage


def _read(path: Path) -> tuple[dict, str]:
    """A checkpoint's metadata, and what is damaged, if anything."""
    try:
        metadata = read_checksummed(path)
        if metadata.get("format") != FORMAT:
            raise UserError(
                f"{path.with_suffix('')}: was saved by another version of this project; use that version, or start anew"
                " in another folder (--save_dir)"
            )
        if problem := misfit(metadata, FORM):
            raise ValueError(problem)
        if metadata["step"] != _step(path) or not all(_is_data(name, path) for name in metadata["files"]):
            raise ValueError("it is the metadata of another checkpoint")
        wrong = [name for name, digest in metadata["files"].items() if sha256(path.parent / name) != digest]
        return {**metadata, "path": path}, f"{wrong[0]} has a wrong checksum" if wrong else ""
    except OSError as error:
        return {}, f"{error.strerror}: {Path(error.filename or path).name}"
    except ValueError as error:
        return {}, f"{path.name}: {error}"


def restore(metadata: dict, model: keras.Model, training: Sequence[keras.Variable] = ()) -> None:
    """Read every value of a checkpoint into the model, and into the variables of the training where these are given.

    Raises:
      UserError: the variables are not those that were saved. Nothing has been read then.
    """
    saved, ours = metadata["variables"], _signature(model, training)
    different = [name for name in ours if saved.get(name) != ours[name]]
    different += [name for name in saved.keys() - ours.keys() if training or name.startswith("model")]
    if different:
        raise UserError(
            f"{metadata['path']}: is a checkpoint of another network ({_some(sorted(different))}); use the"
            " captcha_model.py that it was trained with, or start anew in another folder (--save_dir)"
        )
    try:
        status = tf.train.Checkpoint(**_values(model, training)).read(str(metadata["path"].with_suffix("")))
    except (tf.errors.OpError, IndexError) as error:  # TensorFlow's IndexError says that a file is too short
        raise UserError(
            f"{metadata['path'].with_suffix('')}: its data cannot be read; run again if a newer checkpoint has replaced"
            " it, or restore it from a copy"
        ) from error
    if training:
        status.assert_consumed()
    else:
        status.assert_existing_objects_matched().expect_partial()


def _places(model: keras.Model, training: Sequence[keras.Variable]) -> dict[str, Sequence[keras.Variable]]:
    return {"model": model.variables} | ({"training": training} if training else {})


def _values(model: keras.Model, training: Sequence[keras.Variable]) -> dict[str, list]:
    """The values of all variables, as TensorFlow variables, in one list for each place."""
    return {owner: [variable.value for variable in variables] for owner, variables in _places(model, training).items()}


def _signature(model: keras.Model, training: Sequence[keras.Variable]) -> dict[str, str]:
    """Place → kind, shape and dtype of every variable, by which a checkpoint of another network is recognized.

    The kind is Keras's name without the counter that Keras appends.
    """
    kinds = functools.partial(re.compile("_?[0-9]+").sub, "")
    return {
        f"{owner} {i}": f"{kinds(variable.path.split('/')[-1])} {list(variable.shape)} {variable.dtype}"
        for owner, variables in _places(model, training).items()
        for i, variable in enumerate(variables)
    }


def _some(names: list[str]) -> str:
    more = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def set_aside(folder: Path) -> Path:
    """Move all of a run's files to a new folder in it, before-1, before-2, …; returns that folder.

    What is not the run's stays. If this is killed, finish_setting_aside does the rest.
    """
    collected = folder / ASIDE
    make_folder(collected)
    for path in sorted(path for pattern in RUN for path in folder.glob(pattern)):
        path.replace(collected / path.name)
    taken = [int(path.name.rpartition("-")[2]) for path in folder.glob("before-*") if path.name[7:].isdecimal()]
    aside = folder / f"before-{max(taken, default=0) + 1}"
    sync(collected)
    collected.rename(aside)  # no sync needed: if a power cut undoes it, finish_setting_aside repeats it
    return aside


def finish_setting_aside(folder: Path) -> None:
    """Move the rest of a run, where set_aside was killed."""
    if (folder / ASIDE).exists():
        print(f"{folder}: the earlier run was moved to {set_aside(folder)}")


def _is_data(name: str, path: Path) -> bool:
    """Whether a file of this name belongs to the checkpoint with the metadata in `path`."""
    return bool(re.fullmatch(rf"{path.stem}\.[\w.-]+", name))


def _step(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _metadata_files(folder: Path, name: str) -> list[Path]:
    """Metadata files of that name, the newest first."""
    paths = [path for path in folder.glob(f"{name}-*.json") if re.fullmatch(rf"{name}-\d+", path.stem)]
    return sorted(paths, key=_step, reverse=True)


def _data_files(folder: Path, stem: str) -> list[Path]:
    return [path for path in folder.glob(f"{stem}.*") if path.suffix != ".json"]


def _remove(path: Path) -> None:
    """Remove a checkpoint: its metadata first, so that it never stands for files that are gone."""
    if path.exists():
        pending = path.parent / PENDING
        pending.mkdir(exist_ok=True)
        path.replace(pending / path.name)
        for file in _data_files(path.parent, path.stem):
            file.unlink()
        (pending / path.name).unlink()


def sweep(folder: Path) -> None:
    """Remove what a killed or failed save, or removal, has left."""
    pending = folder / PENDING
    for path in pending.glob("*.json"):
        if not (folder / path.name).exists():
            for file in _data_files(folder, path.stem):
                file.unlink()
    shutil.rmtree(pending, ignore_errors=True)
