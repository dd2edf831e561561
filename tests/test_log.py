"""What a run reports, on the terminal, in log.jsonl and to TensorBoard."""

import errno
import io
import json
import os
import pty
import re
import resource
import select
import signal
from dataclasses import replace
from pathlib import Path

import captcha_data
import captcha_train
from captcha_config import Config
from captcha_runs import log, messages
from captcha_sets.manifest import VALIDATION, read_manifest
from captcha_sets.sheet import GAP

import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL, TRAINING, Process, checkpoint_values, in_folder, options, start, wait_for
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SCALARS = {"loss", "gradient_norm", "learning_rate", "images_per_second", "waiting_for_data", "seconds"}
SCORES = {"captcha_accuracy", "character_accuracy"}
CLOCK = {"images_per_second", "waiting_for_data", "seconds"}


def tensorboard(folder: Path) -> EventAccumulator:
    """What TensorBoard shows of the runs in a folder."""
    shown = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    shown.Reload()
    return shown


def numbers(folder: Path) -> list[dict]:
    """The log's entries without what depends on the clock."""
    return [{name: value for name, value in entry.items() if name not in CLOCK} for entry in log.read(folder)]


def test_tensorboard_finds_the_curves_the_pictures_the_weights_and_the_config(trained_once):
    shown = tensorboard(trained_once / "save")
    tags = shown.Tags()["tensors"]
    assert {*SCALARS, *SCORES, "misread", "config"} <= set(tags)
    assert sum(tag.startswith("kernels/") for tag in tags) >= 4
    losses = [(event.step, tf.make_ndarray(event.tensor_proto).item()) for event in shown.Tensors("loss")]
    assert losses == [(entry["step"], np.float32(entry["loss"])) for entry in log.read(trained_once / "save")]
    (settings,) = shown.Tensors("config")
    assert "| learning_rate | `0.008` |" in settings.tensor_proto.string_val[0].decode()
    width, height, png = shown.Tensors("misread")[-1].tensor_proto.string_val
    image = Image.open(io.BytesIO(png))
    assert image.size == (int(width), int(height)) and image.width > 2 * SMALL.width


def test_every_report_is_a_line_of_json(trained_once):
    entries = [json.loads(line) for line in (trained_once / "save" / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [2, 4, 6, 8, 10, 12]
    for entry in entries:
        assert entry.keys() == {"step", *SCALARS, *(SCORES if entry["step"] % 4 == 0 else ())}
    assert sorted(entry["seconds"] for entry in entries) == [entry["seconds"] for entry in entries]


def test_a_report_averages_the_steps_since_the_one_before(config, trained_once):
    """With a report after every step, two of them have the mean that one after every second step tells."""
    captcha_train.train(replace(config, save_every=1))
    single = [entry["loss"] for entry in log.read(Path(config.save_dir))]
    double = [entry["loss"] for entry in log.read(trained_once / "save")]
    assert np.mean(np.reshape(single, (6, 2)), axis=1) == pytest.approx(double, rel=1e-6)


def test_a_run_that_was_killed_reads_as_an_undisturbed_one(config, folder):
    """What was reported after the newest checkpoint is reported again; the later entry counts."""
    config = replace(config, max_steps=32)
    captcha_train.train(replace(config, save_dir=str(folder / "undisturbed")))
    for last in ("step 6/", "step 16/"):
        process = start("captcha_train.py", *options(TRAINING, config), cwd=folder)
        wait_for(process, last)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert captcha_train.train(config) == 0
    assert numbers(folder / "save") == numbers(folder / "undisturbed")
    seconds = [entry["seconds"] for entry in log.read(folder / "save")]
    assert seconds == sorted(seconds)  # of training, over all runs
    assert {event.step for event in tensorboard(folder / "save").Tensors("loss")} == set(range(2, 33, 2))
    assert checkpoint_values(folder / "save", "ckpt-32") == checkpoint_values(folder / "undisturbed", "ckpt-32")


def test_steps_that_are_made_again_are_read_once(trained):
    """As after a kill between a report and the next one: the entry of step 12 is there, its checkpoint is not."""
    before = numbers(trained / "save")
    for path in (trained / "save").glob("*-12.*"):
        path.unlink()
    captcha_train.train(in_folder(trained))
    lines = [json.loads(line)["step"] for line in (trained / "save" / "log.jsonl").read_text().splitlines()]
    assert lines == [2, 4, 6, 8, 10, 12, 12]
    assert numbers(trained / "save") == before


def test_an_entry_replaces_those_of_its_step_and_of_later_ones(tmp_path):
    first, second, third = ({"step": step, "loss": 0.5, "seconds": 1.5} for step in (1, 2, 3))
    again = second | {"loss": 0.25}
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in (first, second, third, again)))
    assert log.read(tmp_path) == [first, again]


@pytest.mark.parametrize("line", ["[]", "{}", '{"step": 2}', '{"step": "3", "loss": 0.5, "seconds": 2}', "[" * 10_000,
                                  '{"step": 2, "loss": NaN, "seconds": 2}'])  # fmt: skip
def test_a_line_that_is_no_report_is_skipped(tmp_path, line):
    report = {"step": 1, "loss": 0.5, "seconds": 1.5}
    (tmp_path / "log.jsonl").write_text(f"{json.dumps(report)}\n{line}\n")
    assert log.read(tmp_path) == [report]


def test_a_torn_line_is_skipped(tmp_path):
    first, third = ({"step": step, "loss": 0.5, "seconds": 1.5} for step in (1, 3))
    (tmp_path / "log.jsonl").write_text(f'{json.dumps(first)}\n{{"step": 2, "lo\n{json.dumps(third)}\n')
    assert log.read(tmp_path) == [first, third]


def test_a_line_is_never_appended_to_a_torn_one(trained):
    path = trained / "save" / "log.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    captcha_train.train(replace(in_folder(trained), max_steps=14))
    assert [entry["step"] for entry in log.read(trained / "save")] == [2, 4, 6, 8, 10, 14]


def test_a_folder_without_a_log_has_no_entries(tmp_path):
    assert log.read(tmp_path) == []


def test_a_log_that_cannot_be_written_stops_no_training(config, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "log.jsonl")

    monkeypatch.setattr(log, "_append", full)
    assert captcha_train.train(replace(config, max_steps=4)) == 0
    assert capsys.readouterr().out.count("saved  warning: not logged: No space left on device\n") == 2
    assert Path(config.save_dir, "ckpt-4.json").exists()


def train_with_small_files(config: Config) -> None:
    """Train where no file can grow over some bytes, as on a full disk: log.jsonl is smaller, the others are not."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    captcha_train.train(config)


def test_a_full_disk_is_one_warning_a_report(config, folder):
    printed, _ = Process(train_with_small_files, replace(config, max_steps=4), cwd=folder).communicate()
    lines = printed.splitlines()
    reports = [line for line in lines if line.startswith("step ")]
    assert len(lines) == 2 + len(reports)
    warnings = "warning: not saved: File too large  warning: not logged: File too large"
    assert re.fullmatch(rf"step 4/4 .*  {warnings}", reports[-1])


def train_on(terminal: str, config: Config) -> None:
    """Train with the terminal as standard output."""
    os.dup2(os.open(terminal, os.O_WRONLY), 1)
    captcha_train.train(config)


def test_on_a_terminal_a_bar_shows_the_step_and_the_measures(config, folder):
    terminal, other_end = pty.openpty()
    process = Process(train_on, os.ttyname(other_end), config, cwd=folder, env={"TERM": "xterm"})
    shown = b""
    while process.poll() is None or select.select([terminal], [], [], 0)[0]:
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 65536)
    os.close(terminal)
    os.close(other_end)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert re.search(r"step ━+ 12/12 .* loss .* captcha_accuracy ", text)
    assert "step 12/12  loss" in text  # the reports stay above the bar


def test_the_picture_shows_what_is_not_correct(config):
    records = captcha_data.open_pixels(read_manifest(VALIDATION, config), config)
    logits = np.eye(4, dtype=np.float32)[records["labels"]]
    assert messages.misread(records, logits, config) is None
    logits[5] = np.roll(logits[5], 1, axis=-1)
    picture = messages.misread(records, logits, config)
    shown = np.asarray(picture.convert("L"))[GAP : GAP + config.height, GAP : GAP + config.width]
    assert np.array_equal(shown, records["image"][5, ..., 0])
