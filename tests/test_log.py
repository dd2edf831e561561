"""What a run tells of itself, on the terminal, in log.jsonl and to TensorBoard."""

import io
import json
import os
import pty
import subprocess
from dataclasses import replace

import captcha_log
import captcha_train

import numpy as np
import tensorflow as tf
from conftest import SMALL, TRAINING, checkpoint_values, command, options, run
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event

SCALARS = {"loss", "gradient_norm", "learning_rate", "images_per_second", "waiting_for_data", "seconds"}
SCORES = {"captcha_accuracy", "character_accuracy"}


def events(folder):
    """tag → steps, in the order of the files."""
    found = {}
    for path in sorted(folder.glob("events*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = Event.FromString(record.numpy())
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(event.step)
    return found


def numbers(folder):
    """What the log says of each step, without what depends on the clock."""
    clock = {"images_per_second", "waiting_for_data", "seconds"}
    return [{name: value for name, value in entry.items() if name not in clock} for entry in captcha_log.read(folder)]


def test_tensorboard_finds_the_curves_the_pictures_the_weights_and_the_config(config, folder):
    captcha_train.train(config)
    shown = EventAccumulator(str(folder / "save"), size_guidance={"tensors": 0})
    shown.Reload()
    tags = shown.Tags()["tensors"]
    assert {*SCALARS, *SCORES, "misread", "config"} <= set(tags)
    assert sum(tag.startswith("kernels/") for tag in tags) >= 4
    losses = [(event.step, tf.make_ndarray(event.tensor_proto).item()) for event in shown.Tensors("loss")]
    entries = captcha_log.read(folder / "save")
    assert losses == [(entry["step"], np.float32(entry["loss"])) for entry in entries]
    (settings,) = shown.Tensors("config")
    assert "| learning_rate | `0.008` |" in settings.tensor_proto.string_val[0].decode()
    width, height, png = shown.Tensors("misread")[-1].tensor_proto.string_val
    image = Image.open(io.BytesIO(png))
    assert image.size == (int(width), int(height)) and image.width > 2 * SMALL.width


def test_every_report_is_a_line_for_plots_of_ones_own(config, folder):
    captcha_train.train(config)
    entries = [json.loads(line) for line in (folder / "save" / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [2, 4, 6, 8, 10, 12]
    for entry in entries:
        assert entry.keys() == {"step", *SCALARS, *(SCORES if entry["step"] % 4 == 0 else ())}
    assert sorted(entry["seconds"] for entry in entries) == [entry["seconds"] for entry in entries]


def test_a_run_that_was_killed_tells_of_each_step_once_and_the_same(config, folder):
    config = replace(config, max_steps=60)
    captcha_train.train(replace(config, save_dir=str(folder / "undisturbed")))
    args = command("captcha_train.py", *options(TRAINING, config))
    for last in ("step 12/", "step 28/", "step 46/"):
        process = subprocess.Popen(args, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert any(last in line for line in process.stdout)
        process.kill()
        assert process.wait() < 0  # it was not yet done
    assert captcha_train.train(config) == 0
    assert numbers(folder / "save") == numbers(folder / "undisturbed")
    ours, theirs = events(folder / "save"), events(folder / "undisturbed")
    assert ours.pop("config") and theirs.pop("config")
    assert ours == theirs and ours["loss"] == list(range(2, 61, 2))
    assert checkpoint_values(folder / "save", "ckpt-60") == checkpoint_values(folder / "undisturbed", "ckpt-60")


def test_what_was_told_after_the_checkpoint_is_taken_back(config, folder):
    """As after a kill between a report and the save: the steps are made, and told of, anew."""
    captcha_train.train(replace(config, max_steps=8))
    for path in (folder / "save").glob("*-8.*"):
        path.unlink()
    before = captcha_log.read(folder / "save")
    (path,) = (folder / "save").glob("events*")
    with open(path, "ab") as file:
        file.write(b"torn by a kill")
    captcha_train.train(replace(config, max_steps=8))
    assert [entry["step"] for entry in captcha_log.read(folder / "save")] == [2, 4, 6, 8]
    assert captcha_log.read(folder / "save")[:3] == before[:3]
    assert events(folder / "save")["loss"] == [2, 4, 6, 8]


def test_a_log_that_cannot_be_written_stops_no_training(folder):
    (folder / "save" / ".log.jsonl.new").mkdir(parents=True)
    done = run("captcha_train.py", *options(TRAINING), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "step 12/12" in done.stdout and done.stdout.count("warning: not logged: Is a directory") == 6
    assert (folder / "save" / "ckpt-12.json").exists()


def test_a_torn_line_of_the_log_is_passed_over(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n{"step": 2, "lo\n{"step": 3}\n')
    assert captcha_log.read(tmp_path) == [{"step": 1}, {"step": 3}]


def test_the_end_says_what_came_of_it_and_what_to_type_next(folder):
    done = run("captcha_train.py", *options(TRAINING), cwd=folder)
    lines = [line.split() for line in done.stdout.splitlines()]
    said = {line[0]: line[1:] for line in lines if line}
    assert said["steps"][:2] == ["12,", "in"]
    best = json.loads(next((folder / "save").glob("best-*.json")).read_text())["best"]
    assert said["best"][0] == f"{best['captcha_accuracy']:.2%}"
    assert said["saved"] == [f"save/best-{best['step']}"]
    assert said["next"][:2] == ["python", "captcha_evaluate.py"]
    assert ["tensorboard", "--logdir", "save"] in lines


def test_on_a_terminal_one_live_line_shows_how_far_it_is_and_how_good(folder):
    terminal, other_end = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    process = subprocess.Popen(
        command("captcha_train.py", *options(TRAINING)),
        cwd=folder,
        stdout=other_end,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    os.close(other_end)
    shown = b""
    while True:
        try:
            block = os.read(terminal, 65536)
        except OSError:
            break
        if not block:
            break
        shown += block
    os.close(terminal)
    assert process.wait(60) == 0
    assert b"12/12" in shown and b"loss " in shown and b"captcha_accuracy " in shown
    assert b"step 12/12  loss" in shown  # and the lines stay
