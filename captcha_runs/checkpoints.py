"""The checkpoints of a run: what to resume from, what to keep, which one is the best.

with Checkpoints(config, manifests, chief) as checkpoints:
    checkpoints.restore(model, training)            the newest, where there is one
    checkpoints.judge(step, logits, labels)         is this the best so far?
    checkpoints.save(step, ...)                     on the disk when it returns
metadata, trained = best(config, fields)            for those who read what was trained

On a machine that is not the chief nothing is read or written.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import captcha_model
from captcha_cli import UserError
from captcha_config import Config
from captcha_predict.form import misfit
from captcha_runs import checkpoint_files
from captcha_runs.checkpoint_files import BEST, LATEST
from captcha_runs.metrics import temperature
from captcha_sets.files import lock, make_folder
from captcha_sets.manifest import DRAWING_FIELDS, VALIDATION, fingerprint

import keras
import numpy as np

FORM = {
    "config": {str: object},
    "data": {str: str},
    "drawn_with": {"source": (str, None)},
    "best": {"step": int, "captcha_accuracy": float, "temperature": float},
    "cycle_start": int,
}  # of what the trainer adds to a checkpoint's metadata
NO_BEST = {"step": 0, "captcha_accuracy": 0.0, "temperature": 1.0}  # before the first evaluation
HOLDER = ".trainer"  # says which process is training in the folder


class Checkpoints:
    """The checkpoints in config.save_dir, held for this process.

    Attributes:
      data: split → fingerprint, of the sets that the run uses.
      step: the step to resume from; 0 where there is no checkpoint.
      best: the best evaluation so far that is on the disk: step, captcha_accuracy, temperature.
      cycle_start: the step at which the learning rate's schedule begins: 0, or where a finished run was continued.
    """

    def __init__(self, config: Config, manifests: dict[str, dict], chief: bool = True, set_aside: bool = False) -> None:
        self._config, self._chief, self._set_aside = config, chief, set_aside
        self._folder = Path(config.save_dir)
        self.data = {split: fingerprint(manifest) for split, manifest in manifests.items()}
        about_set = ("source", *DRAWING_FIELDS)
        drawn_with = {name: value for name, value in manifests[VALIDATION].items() if name in about_set}
        self._about = {"config": dataclasses.asdict(config), "data": self.data, "drawn_with": drawn_with}
        self._metadata: dict | None = None
        self._misfit = ""  # why the run that is there is to be set aside
        self.best = NO_BEST
        self._candidate: dict | None = None  # a better evaluation, not saved yet
        self._failure: OSError | None = None  # of the last save
        self._stack = contextlib.ExitStack()
        self._saved_step = self.step = self.cycle_start = 0

    def __enter__(self) -> "Checkpoints":
        """Raises UserError: another trainer is at work, or the newest checkpoint does not fit config and sets."""
        if self._chief:
            with self._stack:
                self._hold_folder()
                self._find_start()
                self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _hold_folder(self) -> None:
        make_folder(self._folder)
        holder = self._folder / HOLDER
        who = "another process"
        with contextlib.suppress(FileNotFoundError):
            who = holder.read_text(encoding="utf-8", errors="replace")
        busy = f"{self._folder}: {who} is training there; stop it, or name another folder (--save_dir)"
        self._stack.enter_context(lock(self._folder, "train", busy))
        holder.write_text(f"process {os.getpid()}", encoding="utf-8")
        self._stack.callback(holder.unlink, missing_ok=True)
        checkpoint_files.sweep(self._folder)
        checkpoint_files.finish_setting_aside(self._folder)

    def _find_start(self) -> None:
        """Find where to resume. Resuming with another config than the run began with would mix the two.

        A run that has reached its last step may be continued with a larger max_steps: its learning rate then begins a
        new cycle (warm restarts, Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983).
        """
        metadata = newest(self._folder, LATEST, BEST)
        if not metadata:
            return
        saved, ours = saved_config(metadata).experiment(), self._config.experiment()
        continued = metadata["step"] >= saved["max_steps"] < ours["max_steps"]
        if continued:
            saved["max_steps"] = ours["max_steps"]
        different = "; ".join([*_changed(saved, ours), *_changed_splits(metadata["data"], self.data)])
        if not different:
            self._metadata, self.step = metadata, metadata["step"]
            self.cycle_start = self.step if continued else metadata["cycle_start"]
        elif self._set_aside:
            self._misfit = different
        else:
            raise UserError(
                f"{metadata['path'].with_suffix('')}: cannot be resumed: {different}; change that back, move this run"
                f" to {self._folder}/before-<n> with --set-aside (make train does that), or set another --save_dir"
            )

    def restore(self, model: keras.Model, training: Sequence[keras.Variable]) -> None:
        """Read the checkpoint to resume from, where there is one. Later saves are of the same variables.

        A run that does not fit is set aside only now: the sets are open, and the new network is built.

        Args:
          model: the network to evaluate and export.
          training: the variables that are needed, beside it, to continue training.
        """
        self._model, self._training = model, training
        if self._misfit:
            aside = checkpoint_files.set_aside(self._folder)
            print(f"{self._folder}: the run there no longer fits ({self._misfit}); it was moved to {aside}")
        if not self._metadata:
            return
        checkpoint_files.restore(self._metadata, model, training)
        self.best, self._saved_step = self._metadata["best"], self.step
        if not checkpoint_files.is_complete(self._folder, BEST, self.best["step"]):  # lost: the next one is the best
            self.best = NO_BEST
        if self._metadata["path"].stem != f"{LATEST}-{self.step}":  # the run was killed between the two saves
            self._write(LATEST, self.step, self.best, self._config.keep_checkpoints)
        checkpoint_files.keep(self._folder, BEST, self.step, 1)

    def judge(self, step: int, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Evaluate predictions of the validation split; if they are the best so far, the next `save` keeps the network.

        Args:
          logits: float32 [count, length, classes].
          labels: int32 [count, length].
        Returns:
          captcha_accuracy and character_accuracy, 0 to 1.
        """
        captchas, characters = captcha_model.evaluation(logits, labels, self._config)
        accuracy = float(captchas.mean())
        if self._chief and (not self.best["step"] or accuracy >= self.best["captcha_accuracy"]):
            calibrated = temperature(logits, labels, self._config)
            self._candidate = {"step": step, "captcha_accuracy": accuracy, "temperature": calibrated}
        return {"captcha_accuracy": accuracy, "character_accuracy": float(characters.mean())}

    def save(self, step: int, *, latest: bool) -> str:
        """Save the network where it is the best so far, and where `latest` asks for it.

        Returns:
          What to report: "saved", or a warning where the disk is full; nothing where nothing was to be saved.
        """
        if not self._chief:
            return ""
        candidate, self._candidate = self._candidate, None
        try:
            if candidate:
                self._write(BEST, step, candidate, 1)
                self.best = candidate
            if latest:
                self._write(LATEST, step, self.best, self._config.keep_checkpoints)
                self._saved_step = step
                return "saved"
        except OSError as error:
            self._failure = error
            return f"warning: not saved: {error.strerror}"
        return ""

    def _write(self, name: str, step: int, best: dict, count: int) -> None:
        about = self._about | {"best": best, "cycle_start": self.cycle_start}
        checkpoint_files.write(self._folder, name, step, self._model, self._training, about)
        checkpoint_files.keep(self._folder, name, step, count)

    def check_saved(self, step: int) -> None:
        """Raise UserError unless the last step is on the disk."""
        if not self._chief or self._saved_step == step:
            return
        metadata = newest(self._folder, LATEST, BEST)
        last = metadata["path"].stem if metadata else "none"
        raise UserError(
            f"{self._folder}: step {step} cannot be saved ({self._failure.strerror}); the last checkpoint is {last};"
            " make room, and run the same command again"
        ) from self._failure


def newest(folder: Path, *names: str) -> dict | None:
    """As checkpoint_files.newest. Raises UserError, too, where the metadata does not say what a trainer writes."""
    metadata = checkpoint_files.newest(folder, *names)
    problem = misfit(metadata, FORM) if metadata else ""
    if not problem and metadata and metadata["best"]["temperature"] <= 0:
        problem = "'temperature' is not above 0"
    if problem:
        raise UserError(f"{metadata['path']}: is not what the trainer writes ({problem}); restore it from a copy")
    return metadata


def _changed(saved: dict, ours: dict) -> list[str]:
    """One text for each setting that differs from the one that was saved."""
    both = [name for name in ours if name in saved]
    return [f"{name} is {ours[name]!r}, was {saved[name]!r}" for name in both if ours[name] != saved[name]]


def _changed_splits(saved: dict, ours: dict) -> list[str]:
    """One text for each split that is not the one that was saved."""
    return [f"the {split} split has changed" for split in sorted(saved | ours) if saved.get(split) != ours.get(split)]


def best(config: Config, fields: Iterable[str]) -> tuple[dict, Config]:
    """The best checkpoint's metadata, and the config that it was trained with, except for `fields`.

    Raises:
      UserError: there is no checkpoint in config.save_dir, or the best one is lost.
    """
    folder = Path(config.save_dir)
    metadata = newest(folder, BEST)
    if not metadata and (latest := newest(folder, LATEST)):
        raise UserError(f"{folder.absolute()}: the best checkpoint is lost; train on, past step {latest['step']}")
    if not metadata:
        raise UserError(f"{folder.absolute()}: there is no checkpoint; train one: python captcha_train.py")
    changed = {name: getattr(config, name) for name in fields}
    return metadata, dataclasses.replace(saved_config(metadata), **changed, precision="float32")


def saved_config(metadata: dict) -> Config:
    """The config that a checkpoint was trained with. Raises UserError where it makes no sense."""
    return Config.from_file(metadata["config"], metadata["path"])


def check_no_run(folder: Path, advice: str) -> None:
    """Raise UserError where a folder holds a run, whose best checkpoint weights from elsewhere would replace."""
    if any(folder.glob(f"{LATEST}-*")):
        raise UserError(f"{folder}: holds the checkpoints of another run; {advice}")


def write_weights(metadata: dict, model: keras.Model, folder: Path) -> None:
    """Put a checkpoint's network, without what only training needs, into another folder, in place of the best there."""
    own = ("path", "format", "files", "variables", "versions")
    about = {name: value for name, value in metadata.items() if name not in own}
    checkpoint_files.write(folder, BEST, metadata["step"], model, (), about)
    checkpoint_files.keep_only(folder, BEST, metadata["step"])
