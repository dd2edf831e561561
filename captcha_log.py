"""What a run tells of itself: lines and a bar on the terminal, save/log.jsonl for plots of one's own, TensorBoard.

    with Log(folder, config, step) as log:
        log.say("...")                          a line
        log.advance()                           the bar, one step on
        log.report(step, values, ...)           the numbers of this step, to all of them

A run that goes on from a checkpoint first takes back what was told of the steps after it, which will be made anew. So
each step is told of once, however often the run was stopped. A report that cannot be written stops no training.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from captcha_config import Config

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboard.compat.proto.event_pb2 import Event

LINES = "log.jsonl"
EVENTS = "events.out.tfevents.*"  # as TensorFlow names them


class Log:
    """The log of one run, in its save folder."""

    def __init__(self, folder: Path, config: Config, step: int) -> None:
        self._folder, self._config = folder, config
        self._writer = None  # made with the first report: a run that has nothing to do leaves no file
        self.entries = [entry for entry in read(folder) if entry["step"] <= step]
        for path in folder.glob(EVENTS):
            _forget_later(path, step)
        self._console = Console(highlight=False, soft_wrap=True, markup=False)
        columns = (TextColumn("step"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        columns += (TextColumn("{task.description}", markup=False),)
        self._bar = Progress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal)
        self._task = self._bar.add_task("", total=config.max_steps, completed=step)

    def __enter__(self) -> "Log":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        if self._writer:
            self._writer.close()

    def say(self, what: Any) -> None:
        """A line on standard output, above the bar where there is one; or a table of rich's."""
        self._console.print(what)

    def advance(self) -> None:
        self._bar.advance(self._task)

    def report(
        self, step: int, values: dict[str, float], misread: Image.Image | None = None, model: keras.Model | None = None
    ) -> str:
        """Tell the numbers of a step.

        Args:
          values: name → number.
          misread: a picture of what was read wrong.
          model: whose weights are shown as histograms.
        Returns:
          What went wrong, in words, or nothing.
        """
        self._bar.update(self._task, description="  ".join(f"{name} {value:.4g}" for name, value in values.items()))
        self.entries.append({"step": step, **values})
        try:
            new = self._folder / f".{LINES}.new"
            new.write_text("".join(json.dumps(entry) + "\n" for entry in self.entries), encoding="utf-8")
            new.replace(self._folder / LINES)
            with self._events(step).as_default(step=step):
                for name, value in values.items():
                    tf.summary.scalar(name, value)
                if misread:
                    tf.summary.image("misread", np.asarray(misread)[None])
                kernels = [weights for weights in model.weights if len(weights.shape) > 1] if model else []
                for i, kernel in enumerate(kernels):  # all weights would take three times as long
                    tf.summary.histogram(f"kernels/{i}", kernel)
            self._writer.flush()
        except (OSError, tf.errors.OpError) as error:
            return f"  warning: not logged: {getattr(error, 'strerror', None) or error.message}"
        return ""

    def _events(self, step: int) -> tf.summary.SummaryWriter:
        if not self._writer:
            self._writer = tf.summary.create_file_writer(str(self._folder))
            rows = (f"| {name} | `{value!r}` |" for name, value in dataclasses.asdict(self._config).items())
            with self._writer.as_default(step=step):
                tf.summary.text("config", "\n".join(["| name | value |", "|---|---|", *rows]))
        return self._writer


def read(folder: Path) -> list[dict]:
    """The reports of a run: step, loss, and so on. A line that is none, as a full disk leaves it, is passed over."""
    entries = []
    if (folder / LINES).exists():
        for line in (folder / LINES).read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entries.append(json.loads(line))
            except ValueError:
                continue
    return entries


def _forget_later(path: Path, step: int) -> None:
    """Leave of a file of events those up to a step; and what was cut off by a kill."""
    kept, whole = [], True
    try:
        for record in tf.data.TFRecordDataset(str(path)):
            if Event.FromString(record.numpy()).step <= step:
                kept.append(record.numpy())
            else:
                whole = False
    except tf.errors.DataLossError:
        whole = False
    if not whole:
        new = path.with_name(f".{path.name}.new")
        with tf.io.TFRecordWriter(str(new)) as writer:
            for record in kept:
                writer.write(record)
        new.replace(path)
