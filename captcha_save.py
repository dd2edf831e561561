"""What is in save/: checkpoints, each with a commit file, written after it, that says what it is.

    with only_trainer(folder):                    nobody else writes there
        commit = newest(folder, LATEST, BEST)     what to go on from: the newest that reads back whole
        restore(commit, model, optimizer)         all of it, or an error before anything has changed
        write(folder, LATEST, step, …)            one checkpoint, whole or not at all

A checkpoint is `<name>-<step>.index`, `.data-…` and its commit, `.json`. It is made in save/.pending/ and moved up file
by file, the commit last; it is removed the other way round. So a commit in save/ stands for a whole checkpoint, and
what a commit in save/.pending/ speaks of is not in force and is swept.
"""

import contextlib
import dataclasses
import functools
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

from captcha_config import Config, UserError
from captcha_seal import read_sealed, sha256, sync, write_sealed

import filelock
import keras
import tensorflow as tf

LATEST, BEST = "ckpt", "best"  # the newest few checkpoints, and the best one on the validation split
PENDING = ".pending"


@contextlib.contextmanager
def only_trainer(folder: Path) -> Iterator[None]:
    """Hold save/ for this process; a kill frees it. Raises UserError where another trainer holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / ".trainer"
    try:
        with filelock.FileLock(folder / ".lock", timeout=0):
            holder.write_text(f"process {os.getpid()}", encoding="utf-8")
            _sweep(folder)
            try:
                yield
            finally:
                holder.unlink(missing_ok=True)
    except filelock.Timeout as error:
        who = holder.read_text(encoding="utf-8") if holder.exists() else "another process"
        raise UserError(f"{folder}: {who} is training there; stop it, or name another folder (--save_dir)") from error


def write(
    folder: Path, name: str, step: int, model: keras.Model, optimizer: keras.Optimizer | None, about: dict
) -> None:
    """Save a checkpoint. When this returns it is on the disk; until then the earlier ones are all there is.

    Args:
      about: what else the commit is to say, in plain values.
    Raises:
      OSError: the folder cannot be written, or the disk is full. The earlier checkpoints are as they were.
    """
    pending, stem = folder / PENDING, f"{name}-{step}"
    try:
        pending.mkdir(parents=True, exist_ok=True)
        tf.train.Checkpoint(**_state(model, optimizer)).write(str(pending / stem))
        files = sorted(path for path in pending.iterdir() if path.is_file())
        for path in files:
            sync(path)
        commit = {
            "step": step,
            "files": {path.name: sha256(path) for path in files},
            "variables": _signature(model, optimizer),
            "versions": {package: version(package) for package in ("tensorflow", "keras", "numpy")},
            **about,
        }
        _remove(folder / f"{stem}.json")  # the same step, saved before an earlier one was gone back to
        write_sealed(pending / f"{stem}.json", commit)
        for path in files:
            path.replace(folder / path.name)
        sync(folder)
        (pending / f"{stem}.json").replace(folder / f"{stem}.json")
        sync(folder)
    except tf.errors.OpError as error:
        reason = error.message.rpartition("; ")[2].partition(" [Op:")[0]  # TensorFlow wraps the system's words in more
        raise OSError(error.error_code, reason, str(folder)) from error
    finally:
        _sweep(folder)


def write_weights(commit: dict, model: keras.Model, folder: Path) -> None:
    """Put a checkpoint's weights, and no more, in another folder in place of an earlier best one."""
    about = {name: value for name, value in commit.items() if name not in ("path", "files", "variables", "versions")}
    write(folder, BEST, commit["step"], model, None, about)
    for path in _commits(folder, BEST):
        if _step(path) != commit["step"]:
            _remove(path)


def keep(folder: Path, name: str, step: int, most: int) -> None:
    """Remove all but the newest `most` checkpoints up to `step`; later ones were passed over, and are left alone."""
    for path in [path for path in _commits(folder, name) if _step(path) <= step][most:]:
        _remove(path)
    _sweep(folder)


def newest(folder: Path, *names: str) -> dict | None:
    """The commit of the newest checkpoint that reads back whole, or None where there is no checkpoint at all.

    A damaged one is named on standard error and passed over. The commit has its own file under "path".
    Raises:
      UserError: there are checkpoint files, but no whole checkpoint.
    """
    files = [path.name for path in folder.glob("*") if re.match(rf"({'|'.join(names)})-\d+\.", path.name)]
    stems = {name.partition(".")[0] for name in files}  # those without a commit, too: what else would they be?
    damaged = []
    paths = [folder / f"{stem}.json" for name in names for stem in stems if stem.startswith(f"{name}-")]
    for path in sorted(paths, key=_step, reverse=True):  # of one step, that of the name that was given first
        try:
            commit = read_sealed(path)
            wrong = [name for name, digest in commit["files"].items() if sha256(path.parent / name) != digest]
            if not wrong:
                return {**commit, "path": path}
            reason = f"{wrong[0]} is not as it was written"
        except OSError as error:
            reason = f"{error.strerror}: {Path(error.filename).name}"
        except ValueError as error:
            reason = f"{path.name}: {error}"
        damaged.append(path)
        print(f"warning: {path.with_suffix('')}: damaged ({reason}); passed over", file=sys.stderr)
    if damaged:
        raise UserError(
            f"{folder}: has checkpoint files, but no whole checkpoint; bring back a copy of them, or move them away"
            " to start anew"
        )
    return None


def best(config: Config, fields: Iterable[str]) -> tuple[dict, Config]:
    """The commit of the best checkpoint in config.save_dir, and the config it was trained with, but for `fields`.

    Raises:
      UserError: there is none.
    """
    folder = Path(config.save_dir)
    commit = newest(folder, BEST)
    if not commit:
        raise UserError(f"{folder.absolute()}: there is no checkpoint; train one: python captcha_train.py")
    changed = {name: getattr(config, name) for name in fields}
    return commit, dataclasses.replace(saved_config(commit), **changed, precision="float32")  # whatever it trained in


def saved_config(commit: dict) -> Config:
    """The config that a checkpoint was trained with."""
    return Config.from_dict(commit["config"])


def restore(commit: dict, model: keras.Model, optimizer: keras.Optimizer | None = None) -> None:
    """Read a checkpoint into the model, and into the optimizer where one is given: every value of it.

    Raises:
      UserError: the variables are not those that were saved; nothing has been read then.
    """
    saved, ours = commit["variables"], _signature(model, optimizer)
    different = [name for name in ours if saved.get(name) != ours[name]]
    different += [name for name in saved.keys() - ours.keys() if optimizer or name.startswith("model")]
    if different:
        raise UserError(
            f"{commit['path']}: is a checkpoint of another network ({_few(sorted(different))}); use the"
            " captcha_model.py it was trained with, or start fresh in another folder (--save_dir)"
        )
    try:
        status = tf.train.Checkpoint(**_state(model, optimizer)).read(str(commit["path"].with_suffix("")))
    except tf.errors.OpError as error:
        raise UserError(f"{commit['path']}: was replaced by a newer one meanwhile; run again") from error
    if optimizer:
        status.assert_consumed()
    else:
        status.assert_existing_objects_matched().expect_partial()


def _state(model: keras.Model, optimizer: keras.Optimizer | None) -> dict[str, list]:
    """Every variable there is, as two flat lists: weights and statistics; moments and the step."""
    state = {"model": [variable.value for variable in model.variables]}
    return state | ({"optimizer": [variable.value for variable in optimizer.variables]} if optimizer else {})


def _signature(model: keras.Model, optimizer: keras.Optimizer | None) -> dict[str, str]:
    """Place → kind, shape and dtype of every variable, by which a checkpoint of another network is known.

    The kind is Keras's name without the numbers, which count the layers that the process has made before.
    """
    kinds = functools.partial(re.compile("_?[0-9]+").sub, "")
    places = {"model": model.variables} | ({"optimizer": optimizer.variables} if optimizer else {})
    return {
        f"{owner} {i}": f"{kinds(variable.path.split('/')[-1])} {list(variable.shape)} {variable.dtype}"
        for owner, variables in places.items()
        for i, variable in enumerate(variables)
    }


def _few(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _step(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _commits(folder: Path, name: str) -> list[Path]:
    """Commit files of that name, the newest first."""
    paths = [path for path in folder.glob(f"{name}-*.json") if re.fullmatch(rf"{name}-\d+", path.stem)]
    return sorted(paths, key=_step, reverse=True)


def _files_of(folder: Path, stem: str) -> list[Path]:
    return [path for path in folder.glob(f"{stem}.*") if path.suffix != ".json"]


def _remove(path: Path) -> None:
    """Remove a checkpoint: its commit first, so that at no moment one stands for files that are gone."""
    if path.exists():
        pending = path.parent / PENDING
        pending.mkdir(exist_ok=True)
        path.replace(pending / path.name)
        for file in _files_of(path.parent, path.stem):
            file.unlink()
        (pending / path.name).unlink()


def _sweep(folder: Path) -> None:
    """Remove what a killed or failed save, or removal, has left."""
    pending = folder / PENDING
    for path in pending.glob("*.json"):
        if not (folder / path.name).exists():
            for file in _files_of(folder, path.stem):
                file.unlink()
    shutil.rmtree(pending, ignore_errors=True)
