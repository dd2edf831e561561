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
import captcha_optimizer
import captcha_save
import captcha_seal
import captcha_train
from captcha_config import UserError
from captcha_producer import produce

import keras
import numpy as np
import pytest
from conftest import SMALL, TRAINING, checkpoint_values, command, files, options, own_lines, run


def start(folder, *args):
    """The trainer as a process, its lines to be read while it runs."""
    args = command("captcha_train.py", *options(TRAINING), *args)
    return subprocess.Popen(args, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process, text):
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(f"it ended without saying {text!r}: {process.stderr.read()}")


def test_it_learns(config, folder):
    """Noughts and ones: far over chance on captchas it never saw, after a few seconds of real steps."""
    easy = replace(config, characters="01", length=1, width=32, channels=(8, 16), max_steps=300, save_every=300)
    easy = replace(easy, eval_every=300)
    for split, count in (("train", 400), ("validation", 100)):
        produce(count, folder / "images" / split, easy)
    assert captcha_train.train(easy) == 0
    commit = captcha_save.newest(folder / "save", captcha_save.BEST)
    assert commit["best"]["captcha_accuracy"] > 0.9


def test_it_reports_saves_and_keeps_the_best_apart(folder):
    done = run("captcha_train.py", *options(TRAINING), cwd=folder)
    assert done.returncode == 0, done.stderr
    reports = re.findall(r"^step (\d+)/12  loss [\d.]+  captcha [\d.]+%  character [\d.]+% of 37", done.stdout, re.M)
    assert reports == ["4", "8", "12"]
    saved = sorted(path.name for path in (folder / "save").glob("*.json"))
    assert [name for name in saved if name.startswith("ckpt")] == ["ckpt-10.json", "ckpt-12.json", "ckpt-8.json"]
    commit = json.loads((folder / "save" / "ckpt-12.json").read_text())
    assert [name for name in saved if name.startswith("best")] == [f"best-{commit['best']['step']}.json"]


def test_two_runs_give_the_same_weights(config, folder):
    for name in ("a", "b"):
        captcha_train.train(replace(config, save_dir=str(folder / name)))
    assert checkpoint_values(folder / "a", "ckpt-12") == checkpoint_values(folder / "b", "ckpt-12")


@pytest.mark.slow
def test_killed_five_times_at_random_it_ends_with_the_weights_of_an_undisturbed_run(folder, config):
    steps = {"max_steps": 400, "save_every": 10, "eval_every": 100}
    captcha_train.train(replace(config, save_dir=str(folder / "undisturbed"), **steps))
    rng = random.Random(1)
    args = [word for name, value in steps.items() for word in (f"--{name}", value)]
    for kill in range(5):
        process = start(folder, *args)
        wait_for(process, f"step {70 * kill + 10 * rng.randint(1, 6)}/400 ")
        time.sleep(rng.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process.stderr.close()
    done = run("captcha_train.py", *options(TRAINING), *args, cwd=folder)
    assert "going on from step" in done.stdout, done.stderr
    assert checkpoint_values(folder / "save", "ckpt-400") == checkpoint_values(folder / "undisturbed", "ckpt-400")
    best = captcha_save.newest(folder / "save", captcha_save.BEST)["best"]
    assert best == captcha_save.newest(folder / "undisturbed", captcha_save.BEST)["best"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(folder, number, status):
    process = start(folder, "--max_steps", "100000", "--save_every", "100000", "--eval_every", "100000")
    wait_for(process, "starting at step 0")
    time.sleep(4)  # among the steps, of which none is saved but by the signal
    process.send_signal(number)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == status, errors
    step = int(re.search(r"stopped by SIG\w+ after step (\d+); run the same command to go on", said)[1])
    assert captcha_save.newest(folder / "save", captcha_save.LATEST)["step"] == step > 0


def test_more_max_steps_train_on(config):
    captcha_train.train(config)
    captcha_train.train(replace(config, max_steps=16))
    assert captcha_save.newest(Path(config.save_dir), captcha_save.LATEST)["step"] == 16


def test_a_finished_run_has_nothing_left_to_do(config, folder, capsys):
    captcha_train.train(config)
    before = files(folder)
    assert captcha_train.train(config) == 0
    assert "step 12 is reached; --max_steps with a larger number trains on" in capsys.readouterr().out
    assert files(folder) == before


def test_another_config_than_the_checkpoints_is_refused_with_the_fields_that_differ(config, folder):
    captcha_train.train(config)
    before = files(folder)
    with pytest.raises(UserError, match=r"seed is 3, was 1; learning_rate is 0\.01, was 0\.008.*fresh") as caught:
        captcha_train.train(replace(config, learning_rate=0.01, seed=3))
    assert "\n" not in str(caught.value)
    assert files(folder) == before


def test_another_training_set_than_the_checkpoints_is_refused(config, folder):
    captcha_train.train(config)
    produce(100, folder / "images" / "train", replace(config, seed=2))
    with pytest.raises(UserError, match="the train set is another one"):
        captcha_train.train(config)


def test_a_network_that_was_edited_is_refused_and_nothing_is_restored(config, folder, monkeypatch):
    captcha_train.train(config)
    before = files(folder)
    inference = captcha_model.inference

    def edited(images, config, *more):
        return inference(images, replace(config, channels=(4, 9)), *more)

    monkeypatch.setattr(captcha_model, "inference", edited)
    with pytest.raises(UserError, match="is a checkpoint of another network"):
        captcha_train.train(config)
    assert files(folder) == before


def test_a_loss_that_is_not_finite_stops_the_run_and_is_never_saved(config, folder, monkeypatch):
    captcha_train.train(config)
    before = files(folder)
    loss = captcha_model.loss
    monkeypatch.setattr(captcha_model, "loss", lambda *args: loss(*args) * np.nan)
    with pytest.raises(UserError, match="is not finite between steps 13 and 14, which were not saved"):
        captcha_train.train(replace(config, max_steps=20))
    assert files(folder) == before


def test_a_second_trainer_is_refused_by_the_name_of_the_first(folder):
    process = start(folder, "--max_steps", "100000", "--eval_every", "100000")
    wait_for(process, "starting at step 0")
    second = run("captcha_train.py", *options(TRAINING), cwd=folder)
    process.kill()
    process.communicate()
    assert second.returncode == 2
    assert own_lines(second.stderr) == [
        f"captcha_train.py: error: save: process {process.pid} is training there; stop it, or name another folder"
        " (--save_dir)"
    ]


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(config, folder, capsys):
    captcha_train.train(replace(config, save_dir=str(folder / "undisturbed"), max_steps=12))
    captcha_train.train(config)
    data = folder / "save" / "ckpt-12.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    for path in (folder / "save").glob("best-12.*"):
        path.unlink()
    captcha_train.train(config)
    said = capsys.readouterr()
    assert "ckpt-12: damaged (ckpt-12.data-00000-of-00001 is not as it was written); passed over" in said.err
    assert checkpoint_values(folder / "save", "ckpt-12") == checkpoint_values(folder / "undisturbed", "ckpt-12")


def test_a_save_is_not_swept_for_the_sake_of_a_damaged_later_one(config, folder):
    """Gone back past damaged checkpoints, with one to keep: what is saved now is what is kept."""
    captcha_train.train(replace(config, save_every=12))
    for path in (folder / "save").glob("*-12.index"):
        path.write_bytes(b"")
    model = captcha_model.build(SMALL)
    optimizer = captcha_optimizer.build(model, SMALL)
    for step in (3, 5):
        captcha_save.write(folder / "save", captcha_save.LATEST, step, model, optimizer, {})
        captcha_save.keep(folder / "save", captcha_save.LATEST, step, 1)
    assert captcha_save.newest(folder / "save", captcha_save.LATEST)["step"] == 5
    assert not (folder / "save" / "ckpt-3.json").exists()


def test_where_no_checkpoint_is_whole_it_refuses_to_start_over(config, folder):
    captcha_train.train(config)
    for path in (folder / "save").glob("*.index"):
        path.write_bytes(b"")
    before = files(folder)
    with pytest.raises(UserError, match="has checkpoint files, but no whole checkpoint"):
        captcha_train.train(config)
    assert files(folder) == before


def test_a_commit_is_written_after_its_files_are_on_the_disk(config, folder, monkeypatch):
    """The order of the syncs and the renames of one save."""
    model = captcha_model.build(SMALL)
    optimizer = captcha_optimizer.build(model, SMALL)
    trace = []
    sync, replace_path = captcha_save.sync, Path.replace

    def traced_sync(path):
        trace.append(f"sync {path.relative_to(folder)}")
        sync(path)

    def traced_replace(path, target):
        trace.append(f"move {path.relative_to(folder)} to {Path(target).relative_to(folder)}")
        return replace_path(path, target)

    monkeypatch.setattr(captcha_save, "sync", traced_sync)
    monkeypatch.setattr(captcha_seal, "sync", traced_sync)
    monkeypatch.setattr(Path, "replace", traced_replace)
    captcha_save.write(folder / "save", captcha_save.LATEST, 5, model, optimizer, {})
    assert trace == [
        "sync save/.pending/ckpt-5.data-00000-of-00001",
        "sync save/.pending/ckpt-5.index",
        "sync save/.pending/.ckpt-5.json.new",
        "move save/.pending/.ckpt-5.json.new to save/.pending/ckpt-5.json",
        "sync save/.pending",
        "move save/.pending/ckpt-5.data-00000-of-00001 to save/ckpt-5.data-00000-of-00001",
        "move save/.pending/ckpt-5.index to save/ckpt-5.index",
        "sync save",
        "move save/.pending/ckpt-5.json to save/ckpt-5.json",
        "sync save",
    ]


def test_the_data_state_of_a_checkpoint_is_one_number(config, folder):
    """Nothing of the input pipeline is saved but the step: the commit has no more, and stays small."""
    captcha_train.train(config)
    commit = folder / "save" / "ckpt-12.json"
    assert json.loads(commit.read_text())["step"] == 12
    assert not list((folder / "save").glob("*iterator*"))
    values = checkpoint_values(folder / "save", "ckpt-12")
    assert all(name.startswith(("model/", "optimizer/", "save_counter")) for name in values)


def test_a_checkpoint_is_read_back_whatever_models_the_process_made_before(config, folder):
    """Keras numbers the layers of a process; a checkpoint of the first is one of the fifth all the same."""
    captcha_train.train(config)
    for _ in range(3):
        captcha_model.build(config)
    done = run("captcha_train.py", *options(TRAINING), "--max_steps", 14, cwd=folder)
    assert "going on from step 12" in done.stdout, done.stderr
    captcha_train.train(replace(config, max_steps=16))


@pytest.fixture
def teacher(config, folder):
    """A network trained on the characters 0123."""
    config = replace(config, save_dir=str(folder / "teacher"))
    captcha_train.train(config)
    model = captcha_model.build(config)
    captcha_save.restore(captcha_save.best(config, ())[0], model)
    return model


def test_training_starts_from_the_convolutions_of_another_run(config, folder, teacher):
    """Its features are the same; each kernel is as long as a new one, so that a step turns it as much."""
    model = captcha_model.build(config)
    lengths = [np.linalg.norm(layer.kernel) for layer in convolutions(model)]
    said = captcha_train.start_from(str(folder / "teacher"), model, config)
    assert "with the 2 convolutions of" in said
    for ours, theirs, length in zip(convolutions(model), convolutions(teacher), lengths, strict=True):
        assert np.linalg.norm(ours.kernel) == pytest.approx(length, rel=1e-5)
        assert np.allclose(ours.kernel / length, theirs.kernel / np.linalg.norm(theirs.kernel), atol=1e-6)
    for ours, theirs in zip(normalizations(model), normalizations(teacher), strict=True):
        assert np.array_equal(ours.gamma, theirs.gamma)
        assert np.array_equal(ours.beta, theirs.beta)


def convolutions(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]


def normalizations(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def test_what_to_start_from_may_have_other_characters_another_length_and_size(config, folder, teacher):
    config = replace(config, characters="3x1", length=3, width=80)
    model = captcha_model.build(config)
    fresh = model.weights[-2].numpy()
    assert "with the 2 convolutions of" in captcha_train.start_from(str(folder / "teacher"), model, config)
    assert np.array_equal(model.weights[-2], fresh)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"init_from": "nowhere"}, "there is no checkpoint"),
        ({"init_from": "teacher", "channels": (4, 4)}, "was trained with other channels; use the same: --channels 4 8"),
        ({"init_from": "teacher", "full_size": True}, "on images of another scale; use the same: --no-full_size"),
    ],
)
def test_what_cannot_be_started_from_is_refused(config, folder, teacher, change, said, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match=said):
        captcha_train.train(replace(config, **change))
    assert not list((folder / "save").glob("*.json"))


def test_a_run_begun_from_other_weights_goes_on_from_its_own(config, folder, teacher):
    config = replace(config, init_from=str(folder / "teacher"))
    captcha_train.train(config)
    before = files(folder / "save")
    shutil.rmtree(folder / "teacher")
    assert captcha_train.train(config) == 0
    assert files(folder / "save") == before
