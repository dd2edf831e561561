"""What a run reports: lines and a progress bar on the terminal, save/log.jsonl for plots, TensorBoard.

with Log(config, step, count, chief) as log:
    log.say("...")                          a line
    log.add(loss, gradient_norm)            the measures of one step
    values = log.averages(step, rate)       the means since the last report, and the rates
    log.report(step, values, ...)           to the terminal, log.jsonl and TensorBoard
read(folder)                            the reports of a run

On a machine that is not the chief only `say` has an effect. A report that cannot be written stops no training.
"""

import dataclasses
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

from captcha_cli import UserError
from captcha_config import Config
from captcha_predict.form import misfit
from captcha_sets.files import reason

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINES = "log.jsonl"
UNREAD = 100  # steps whose loss may wait to be read
FORM = {"step": int, "loss": float, "seconds": float}  # of an entry, which may have other numbers


class Log:
    """The log of one run, in its save folder."""

    def __init__(self, config: Config, step: int, count: int, chief: bool = True) -> None:
        """`step` is where the run begins, `count` the number of captchas in the validation split."""
        self._config, self._count, self._chief = config, count, chief
        self._folder = Path(config.save_dir)
        self._writer = None  # created with the first report: a run with nothing to do leaves no file
        earlier = [entry for entry in read(self._folder) if entry["step"] <= step] if chief else []
        self.seconds = earlier[-1]["seconds"] if earlier else 0.0  # of training, over all runs
        self._reported = step
        self._console = Console(highlight=False, soft_wrap=True, markup=False)
        columns = (TextColumn("step"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        columns += (TextColumn("{task.description}", markup=False),)
        hidden = not (chief and self._console.is_terminal)
        self._bar = Progress(*columns, console=self._console, transient=True, disable=hidden)
        self._task = self._bar.add_task("", total=config.max_steps, completed=step)
        self._restart()

    def __enter__(self) -> "Log":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        if self._writer:
            self._writer.close()

    def say(self, text: str) -> None:
        """Print lines, above the bar where there is one."""
        self._console.print(text)

    def timed(self, batches: Iterator) -> Iterator:
        """Yield the batches; the time spent waiting for them is reported. The clock of the training starts here."""
        self._restart()
        while True:
            began = time.perf_counter()
            batch = next(batches)
            self._waited += time.perf_counter() - began
            yield batch

    def add(self, loss: tf.Tensor, gradient_norm: tf.Tensor) -> None:
        """Count one step. The values are read some steps later: reading each at once would wait for the device."""
        self._unread.append((loss, gradient_norm))
        if len(self._unread) == UNREAD:
            self._read()
        self._bar.advance(self._task)

    def _read(self) -> None:
        for loss, gradient_norm in self._unread:
            self._loss += float(loss)
            self._gradient_norm += float(gradient_norm)
        self._unread.clear()

    def averages(self, step: int, learning_rate: float) -> dict[str, float]:
        """Means over the steps since the last report, and the rates.

        Raises:
          UserError: one of the losses or gradients was not finite; a NaN in any step shows in the sums.
        """
        self._read()
        steps = step - self._reported
        loss, norm = self._loss / steps, self._gradient_norm / steps
        if not math.isfinite(loss + norm):
            raise UserError(
                f"the loss or its gradient is not finite between steps {self._reported + 1} and {step}, which were not"
                f" saved; train again with a lower --learning_rate (it is {self._config.learning_rate}) and"
                " --set-aside, or with another --save_dir"
            )
        seconds = time.perf_counter() - self._began
        self.seconds += seconds
        return {
            "loss": loss,
            "gradient_norm": norm,
            "learning_rate": learning_rate,
            "images_per_second": steps * self._config.batch_size / seconds,
            "waiting_for_data": self._waited / seconds,
            "seconds": self.seconds,
        }

    def _restart(self) -> None:
        self._unread: list[tuple[tf.Tensor, tf.Tensor]] = []
        self._loss = self._gradient_norm = self._waited = 0.0
        self._began = time.perf_counter()

    def report(
        self,
        step: int,
        values: dict[str, float],
        notes: str = "",
        misread: Image.Image | None = None,
        model: keras.Model | None = None,
    ) -> None:
        """Report the values of a step, and begin to count anew.

        Args:
          values: name → number, as `averages` returns them, with the accuracies where there are any.
          notes: what to add to the line.
          misread: a picture of captchas that were read incorrectly.
          model: the model whose kernels are shown as histograms.
        """
        if self._chief:
            self._bar.update(self._task, description="  ".join(f"{name} {value:.4g}" for name, value in values.items()))
            problem = self._write(step, values, misread, model)
            self.say("  ".join(filter(None, [self._line(step, values), notes, problem])))
        self._reported = step
        self._restart()

    def _line(self, step: int, values: dict[str, float]) -> str:
        line = f"step {step}/{self._config.max_steps}  loss {values['loss']:.4f}"
        if "captcha_accuracy" in values:
            left = (self._config.max_steps - step) * self._config.batch_size / values["images_per_second"]
            minutes, seconds = divmod(round(left), 60)
            line += f"  captcha {values['captcha_accuracy']:.2%}  character {values['character_accuracy']:.2%}"
            line += f" of {self._count}  {values['images_per_second']:.0f} images/s  {minutes}:{seconds:02} left"
        return line

    def _write(self, step: int, values: dict, misread: Image.Image | None, model: keras.Model | None) -> str:
        """Write to the files. Returns what went wrong, in words, or nothing."""
        try:
            _append(self._folder / LINES, {"step": step, **values})
            with self._events(step).as_default(step=step):
                for name, value in values.items():
                    tf.summary.scalar(name, value)
                if misread:
                    tf.summary.image("misread", np.asarray(misread)[None])
                kernels = [weights for weights in model.weights if len(weights.shape) > 1] if model else []
                for i, kernel in enumerate(kernels):  # all weights would take three times as long
                    tf.summary.histogram(f"kernels/{i}", kernel)
            self._writer.flush()
        except OSError as error:
            return f"warning: not logged: {error.strerror}"
        except tf.errors.OpError as error:
            return f"warning: not logged: {reason(error)}"
        return ""

    def _events(self, step: int) -> tf.summary.SummaryWriter:
        if not self._writer:
            self._writer = tf.summary.create_file_writer(str(self._folder))
            rows = (f"| {name} | `{value!r}` |" for name, value in dataclasses.asdict(self._config).items())
            with self._writer.as_default(step=step):
                tf.summary.text("config", "\n".join(["| name | value |", "|---|---|", *rows]))
        return self._writer


def _append(path: Path, entry: dict) -> None:
    with open(path, "a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # the last line is torn
                file.write(b"\n")
        file.write(json.dumps(entry).encode() + b"\n")


def read(folder: Path) -> list[dict]:
    """The reports of a run, by step.

    A resumed run reports some steps again: as in TensorBoard, an entry replaces all earlier ones of its step and of
    later steps. A torn line, as a full disk or a kill leaves it, is skipped, and so is one of another form.
    """
    path = folder / LINES
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    entries: list[dict] = []
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if misfit(entry, FORM) or misfit(entry, {str: float}):
            continue
        while entries and entries[-1]["step"] >= entry["step"]:
            entries.pop()
        entries.append(entry)
    return entries
