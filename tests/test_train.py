"""Training: what it reports, where it stops, and from where it continues."""

import json
import random
import re
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import captcha_model
import captcha_train
from captcha_cli import UserError
from captcha_runs import checkpoint_files, log
from captcha_runs.checkpoint_files import BEST, LATEST
from captcha_sets.drawing import produce

import filelock
import numpy as np
import pytest
import tensorflow as tf
from conftest import TRAINING, checkpoint_values, command, errors, files, in_folder, options, run, start, wait_for

LONG = ("--max_steps", 100_000, "--save_every", 100_000, "--eval_every", 100_000)
TOLD = re.compile(r"^step (\d+)/12  loss [\d.]+  captcha [\d.]+%  character [\d.]+% of 37  .* left  saved$", re.M)


@pytest.fixture(scope="module")
def finished(drawn, tmp_path_factory):
    """A folder in which the command has trained to the end, and what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    done = run("captcha_train.py", *options(TRAINING), "--tfrecords_dir", drawn / "tfrecords", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_it_learns(config):
    """Zeros and ones: far better than chance on captchas it never saw, after a few seconds of real steps."""
    easy = replace(config, characters="01", length=1, width=32, channels=(8, 16), max_steps=300, save_every=300)
    easy = replace(easy, eval_every=300, train_count=400, validation_count=100)
    for split in ("train", "validation"):
        produce(split, easy)
    assert captcha_train.train(easy) == 0
    assert checkpoint_files.newest(Path(easy.save_dir), BEST)["best"]["captcha_accuracy"] > 0.9


def test_every_evaluation_is_reported_with_both_measures_and_the_count(finished):
    _, done = finished
    assert TOLD.findall(done.stdout) == ["4", "8", "12"]


def test_the_newest_checkpoints_are_kept_and_the_best(finished):
    folder, _ = finished
    saved = sorted(path.name for path in (folder / "save").glob("*.json"))
    assert [name for name in saved if name.startswith("ckpt")] == ["ckpt-10.json", "ckpt-12.json", "ckpt-8.json"]
    metadata = json.loads((folder / "save" / "ckpt-12.json").read_text())
    assert [name for name in saved if name.startswith("best")] == [f"best-{metadata['best']['step']}.json"]


def test_the_summary_says_how_good_it_is_and_what_to_type_next(finished):
    folder, done = finished
    lines = [line.split() for line in done.stdout.splitlines()]
    summary = {words[0]: words[1:] for words in lines if words}
    best = json.loads(next((folder / "save").glob("best-*.json")).read_text())["best"]
    assert summary["steps"][:2] == ["12,", "in"]
    assert summary["best"][0] == f"{best['captcha_accuracy']:.2%}"
    assert summary["saved"] == [f"save/best-{best['step']}"]
    assert summary["next"] == ["python", "captcha_evaluate.py", "--save_dir", "save", "--fresh", "20000"]
    assert ["tensorboard", "--logdir", "save"] in lines


def test_the_run_ends_with_a_model_to_read_with(finished):
    folder, done = finished
    assert done.stdout.splitlines()[-1] == "save/model.tflite: the exported model, for python -m captcha_predict"
    assert (folder / "save" / "model.tflite").is_file()


def test_the_next_command_reads_with_that_model(finished, drawn):
    folder, _ = finished
    done = run("captcha_predict", drawn / "images" / "validation", cwd=folder)
    assert done.returncode == 0
    assert done.stderr.splitlines()[0].endswith("/save/model.tflite (--model names another)")
    assert len(done.stdout.splitlines()) == 37


def test_a_missing_litert_stops_the_run_at_its_start(folder, tmp_path):
    """It is needed for the export, at the very end."""
    (tmp_path / "broken" / "ai_edge_litert").mkdir(parents=True)
    (tmp_path / "broken" / "ai_edge_litert" / "__init__.py").write_text("raise ImportError('no LiteRT here')")
    env = {"PATH": "", "PYTHONPATH": str(tmp_path / "broken")}
    words = command("captcha_train.py", *options(TRAINING))
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "no LiteRT here" in done.stderr
    assert "starting at step 0" not in done.stdout
    assert not (folder / "save").exists()


def test_two_runs_end_with_the_same_weights(config, trained_once):
    captcha_train.train(config)
    assert checkpoint_values(Path(config.save_dir), "ckpt-12") == checkpoint_values(trained_once / "save", "ckpt-12")


@pytest.mark.slow
def test_killed_five_times_at_random_it_ends_with_the_weights_of_an_undisturbed_run(folder, config):
    steps = {"max_steps": 400, "save_every": 10, "eval_every": 100}
    captcha_train.train(replace(config, save_dir=str(folder / "undisturbed"), **steps))
    rng = random.Random(1)
    words = [*options(TRAINING), *(word for name, value in steps.items() for word in (f"--{name}", value))]
    for kill in range(5):
        process = start("captcha_train.py", *words, cwd=folder)
        wait_for(process, f"step {70 * kill + 10 * rng.randint(1, 6)}/400 ")
        time.sleep(rng.random() * 0.05)
        process.kill()
        process.wait()
    done = run("captcha_train.py", *words, cwd=folder)
    assert "resuming from step" in done.stdout, done.stderr
    assert checkpoint_values(folder / "save", "ckpt-400") == checkpoint_values(folder / "undisturbed", "ckpt-400")
    best, undisturbed = (checkpoint_files.newest(folder / name, BEST)["best"] for name in ("save", "undisturbed"))
    assert best == undisturbed


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_step_saves_and_says_how_to_resume(folder, number, status):
    process = start("captcha_train.py", *options(TRAINING), *LONG, cwd=folder)
    wait_for(process, "starting at step 0")
    process.send_signal(number)
    printed, stderr = process.communicate()
    assert process.returncode == status, stderr
    step = int(re.search(r"stopped by SIG\w+ after step (\d+); run the same command to resume", printed)[1])
    assert checkpoint_files.newest(folder / "save", LATEST)["step"] == step > 0
    assert errors(stderr) == []


def test_a_stopped_run_leaves_no_model_and_the_reader_says_which_it_uses(folder):
    process = start("captcha_train.py", *options(TRAINING), *LONG, cwd=folder)
    wait_for(process, "starting at step 0")
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert not (folder / "save" / "model.tflite").exists()
    image = next((folder / "images" / "validation").glob("*.png"))
    done = run("captcha_predict", image, cwd=folder)
    assert done.returncode == 0
    assert re.match(r"captcha_predict: reading with .*digits\.tflite \(--model names another\)\n", done.stderr)


def test_ctrl_c_while_the_sets_are_opened_is_one_line_that_says_how_to_continue(folder):
    with filelock.FileLock(folder / "tfrecords" / ".validation.pixels.lock"):  # as if another run decoded them
        process = start("captcha_train.py", *options(TRAINING), cwd=folder)
        while not (folder / "save" / ".trainer").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        printed, stderr = process.communicate()
    assert (process.returncode, printed) == (130, "")
    assert errors(stderr) == ["captcha_train.py: stopped; run the same command again"]


def test_a_finished_run_has_nothing_left_to_do(trained, capsys):
    before = files(trained)
    assert captcha_train.train(in_folder(trained)) == 0
    assert "step 12 is reached; a larger --max_steps continues training" in capsys.readouterr().out
    assert files(trained) == before


def interrupted(folder: Path) -> Path:
    """The folder, as after a kill between the saves of steps 10 and 12."""
    for path in (folder / "save").glob("*-12.*"):
        path.unlink()
    return folder


@pytest.mark.parametrize("max_steps", [11, 16])
def test_an_interrupted_run_is_not_resumed_with_another_max_steps(trained, max_steps):
    """Its learning rate would have been another one from the beginning."""
    config = in_folder(interrupted(trained))
    with pytest.raises(UserError, match=f"ckpt-10: cannot be resumed: max_steps is {max_steps}, was 12; change that"):
        captcha_train.train(replace(config, max_steps=max_steps))


def test_a_finished_run_is_not_resumed_with_fewer_steps(trained):
    with pytest.raises(UserError, match="max_steps is 8, was 12"):
        captcha_train.train(replace(in_folder(trained), max_steps=8))


def test_a_finished_run_continues_with_a_new_cycle_of_the_learning_rate(trained, capsys):
    config = replace(in_folder(trained), max_steps=20, save_every=1)  # how often to save may change
    assert log.read(trained / "save")[-1]["learning_rate"] == pytest.approx(0, abs=1e-9)
    assert captcha_train.train(config) == 0
    told = "continuing from step 12 to step 20; the learning-rate schedule restarts"
    assert told in capsys.readouterr().out
    rates = {entry["step"]: entry["learning_rate"] for entry in log.read(trained / "save")}
    assert list(rates) == [2, 4, 6, 8, 10, *range(12, 21)]
    assert rates[13] == pytest.approx(config.learning_rate / 2)  # in the middle of the warm-up
    assert rates[14] == pytest.approx(config.learning_rate)
    falling = [rates[step] for step in range(14, 21)]
    assert falling == sorted(falling, reverse=True) and falling[-1] == pytest.approx(0, abs=1e-9)


def test_killed_in_the_second_cycle_it_ends_with_the_weights_of_an_undisturbed_run(trained, tmp_path_factory):
    undisturbed = shutil.copytree(trained, tmp_path_factory.mktemp("undisturbed"), dirs_exist_ok=True)
    assert captcha_train.train(replace(in_folder(undisturbed), max_steps=40)) == 0
    process = start("captcha_train.py", *options(TRAINING), "--max_steps", 40, cwd=trained)
    wait_for(process, "step 16/40 ")
    process.kill()
    assert process.wait() == -signal.SIGKILL
    done = run("captcha_train.py", *options(TRAINING), "--max_steps", 40, cwd=trained)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^resuming from step \d+, up to step 40$", done.stdout, re.M)
    assert checkpoint_values(trained / "save", "ckpt-40") == checkpoint_values(undisturbed / "save", "ckpt-40")


def test_another_config_than_the_checkpoints_is_refused_with_the_fields_that_differ(trained):
    before = files(trained)
    with pytest.raises(UserError, match=r"shift is 1, was 2; learning_rate is 0\.01, was 0\.008; change") as caught:
        captcha_train.train(replace(in_folder(trained), learning_rate=0.01, shift=1))
    assert "\n" not in str(caught.value)
    assert files(trained) == before


def test_another_training_split_than_the_checkpoints_is_refused(trained):
    config = replace(in_folder(trained), train_count=90)
    produce("train", config)
    with pytest.raises(UserError, match="the train split has changed"):
        captcha_train.train(config)


def test_a_network_that_was_edited_is_refused_and_nothing_is_restored(trained, monkeypatch):
    before = files(trained)
    inference = captcha_model.inference

    def edited(images, config, *more):
        return inference(images, replace(config, channels=(4, 9)), *more)

    monkeypatch.setattr(captcha_model, "inference", edited)
    with pytest.raises(UserError, match="is a checkpoint of another network"):
        captcha_train.train(in_folder(trained))
    assert files(trained) == before


def test_a_loss_that_is_not_finite_stops_the_run_and_is_never_saved(trained, monkeypatch):
    before = files(trained)
    loss = captcha_model.loss
    monkeypatch.setattr(captcha_model, "loss", lambda *args: loss(*args) * np.nan)
    with pytest.raises(UserError, match="is not finite between steps 13 and 14, which were not saved"):
        captcha_train.train(replace(in_folder(trained), max_steps=20))
    assert files(trained) == before


def test_a_gradient_that_is_not_finite_stops_the_run_too(config, monkeypatch):
    loss = captcha_model.loss

    def steep(logits, *args):
        return loss(logits, *args) + tf.reduce_sum(tf.sqrt(tf.nn.relu(logits - 1e9)))  # 0, and its slope 0 * infinity

    monkeypatch.setattr(captcha_model, "loss", steep)
    with pytest.raises(UserError, match="the loss or its gradient is not finite between steps 1 and 2"):
        captcha_train.train(config)
    assert not list(Path(config.save_dir).glob("*.json"))


def test_a_second_trainer_is_refused_by_the_name_of_the_first(folder):
    process = start("captcha_train.py", *options(TRAINING), *LONG, cwd=folder)
    wait_for(process, "starting at step 0")
    second = run("captcha_train.py", *options(TRAINING), cwd=folder)
    process.kill()
    process.communicate()
    assert second.returncode == 2
    assert errors(second.stderr) == [
        f"captcha_train.py: error: save: process {process.pid} is training there; stop it, or name another folder"
        " (--save_dir)"
    ]
