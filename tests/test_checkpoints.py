"""Checkpoints: complete or absent, recognized, and never another network's."""

import errno
import json
from dataclasses import replace
from pathlib import Path

import captcha_model
import captcha_train
from captcha_cli import UserError
from captcha_runs import checkpoint_files, checkpoints, optimizer
from captcha_runs.checkpoint_files import BEST, LATEST
from captcha_sets import files as set_files
from captcha_sets.files import read_checksummed, write_checksummed

import pytest
import tensorflow as tf
from conftest import SMALL, TRAINING, checkpoint_values, errors, files, in_folder, options, run


@pytest.fixture(scope="module")
def network():
    """A new model, and the variables of its optimizer."""
    model = captcha_model.build(SMALL)
    return model, optimizer.build(model, SMALL).variables


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_taken(trained, trained_once, capsys):
    data = trained / "save" / "ckpt-12.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    for path in (trained / "save").glob("best-12.*"):
        path.unlink()  # it would be as good
    captcha_train.train(in_folder(trained))
    said = capsys.readouterr()
    damage = "ckpt-12.data-00000-of-00001 has a wrong checksum"
    assert f"ckpt-12: damaged ({damage}); skipped" in said.err
    assert "resuming from step 10" in said.out
    assert checkpoint_values(trained / "save", "ckpt-12") == checkpoint_values(trained_once / "save", "ckpt-12")


def test_where_the_best_checkpoint_is_lost_the_next_evaluation_is_the_best(trained):
    for path in [*(trained / "save").glob("best-*"), *(trained / "save").glob("ckpt-12.*")]:
        path.unlink()
    path = trained / "save" / "ckpt-10.json"
    metadata = read_checksummed(path)
    write_checksummed(path, metadata | {"best": metadata["best"] | {"captcha_accuracy": 1.0}})
    captcha_train.train(in_folder(trained))
    assert (trained / "save" / "best-12.json").exists()


def test_where_only_the_best_checkpoint_is_lost_the_evaluation_says_so(trained):
    for path in (trained / "save").glob("best-*"):
        path.unlink()
    with pytest.raises(UserError, match="save: the best checkpoint is lost; train on, past step 12"):
        checkpoints.best(in_folder(trained), ())


def test_where_no_checkpoint_is_complete_nothing_is_started_anew(trained):
    for path in (trained / "save").glob("*.index"):
        path.write_bytes(b"")
    before = files(trained)
    with pytest.raises(UserError, match="has checkpoint files, but no complete checkpoint"):
        captcha_train.train(in_folder(trained))
    assert files(trained) == before


def test_checkpoints_after_the_step_are_not_counted_among_those_to_keep(tmp_path, network):
    """After resuming from before damaged checkpoints, with one to keep: what is saved now is what is kept."""
    checkpoint_files.write(tmp_path, LATEST, 12, *network, {})
    (tmp_path / "ckpt-12.index").write_bytes(b"")
    for step in (3, 5):
        checkpoint_files.write(tmp_path, LATEST, step, *network, {})
        checkpoint_files.keep(tmp_path, LATEST, step, 1)
    assert checkpoint_files.newest(tmp_path, LATEST)["step"] == 5
    assert not (tmp_path / "ckpt-3.json").exists()


def test_metadata_is_written_after_its_files_are_on_the_disk(tmp_path, network, monkeypatch):
    """The order of the syncs and the renames of one save."""
    trace = []
    sync, replace_path = set_files.sync, Path.replace

    def traced_sync(path):
        trace.append(f"sync {path.relative_to(tmp_path)}")
        sync(path)

    def traced_replace(path, target):
        trace.append(f"move {path.relative_to(tmp_path)} to {Path(target).relative_to(tmp_path)}")
        return replace_path(path, target)

    monkeypatch.setattr(checkpoint_files, "sync", traced_sync)
    monkeypatch.setattr(set_files, "sync", traced_sync)
    monkeypatch.setattr(Path, "replace", traced_replace)
    checkpoint_files.write(tmp_path / "save", LATEST, 5, *network, {})
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


def test_the_data_state_of_a_checkpoint_is_one_number(trained_once):
    """Nothing of the input pipeline is saved but the step."""
    save = trained_once / "save"
    assert json.loads((save / "ckpt-12.json").read_text())["step"] == 12
    assert not list(save.glob("*iterator*"))
    values = checkpoint_values(save, "ckpt-12")
    assert all(name.startswith(("model/", "training/", "save_counter")) for name in values)


def test_a_checkpoint_can_be_read_whatever_models_the_process_built_before(trained, capsys):
    """Keras numbers the layers of a process; the first model's checkpoint fits the fifth all the same."""
    config = in_folder(trained)
    for _ in range(3):
        captcha_model.build(config)
    assert captcha_train.train(replace(config, max_steps=14)) == 0
    assert "continuing from step 12" in capsys.readouterr().out


WHERE = "{{function_node __wrapped__SaveV2_device_/job:localhost/replica:0/task:0/device:CPU:0}} "


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("the tensor has no data [Op:SaveV2]", "the tensor has no data"),
        (f"{WHERE}expected 3 tensors; found 4 [Op:SaveV2]\n\t a trace", "expected 3 tensors; found 4"),
        (
            f"{WHERE}save/.pending/ckpt-2_temp/part-00000; No space left on device [Op:SaveV2]",
            "No space left on device",
        ),
    ],
)
def test_of_an_error_of_tensorflow_while_saving_the_reason_is_reported(config, message, told, monkeypatch, capsys):
    def write(*_):
        raise tf.errors.InternalError(None, None, message)

    monkeypatch.setattr(tf.train.Checkpoint, "write", write)
    with pytest.raises(UserError) as caught:
        captcha_train.train(replace(config, max_steps=4))
    assert f"save: step 4 cannot be saved ({told}); the last checkpoint is none" in str(caught.value)
    assert capsys.readouterr().out.count(f"warning: not saved: {told}\n") == 2


def test_a_save_that_fails_raises_an_oserror_of_no_other_kind(tmp_path, network, monkeypatch):
    def write(*_):
        raise tf.errors.InternalError(None, None, "something else")

    monkeypatch.setattr(tf.train.Checkpoint, "write", write)
    with pytest.raises(OSError, match="something else") as caught:
        checkpoint_files.write(tmp_path, LATEST, 5, *network, {})
    assert (type(caught.value), caught.value.errno) == (OSError, errno.EIO)


@pytest.mark.parametrize("script", ["captcha_train.py", "captcha_evaluate.py", "captcha_export.py"])
def test_checkpoints_of_another_format_are_refused_in_one_line(trained, script):
    for path in (trained / "save").glob("*-*.json"):
        write_checksummed(path, read_checksummed(path) | {"format": 1})
    before = files(trained)
    done = run(script, *(options(TRAINING) if script == "captcha_train.py" else ()), cwd=trained)
    (line,) = errors(done.stderr)
    assert line.startswith(f"{script}: error: save/")
    assert "was saved by another version of this project; use that version, or start anew in another folder" in line
    assert done.returncode == 2
    assert files(trained) == before


def test_the_best_is_the_one_with_the_highest_captcha_accuracy(trained_once):
    entries = [json.loads(line) for line in (trained_once / "save" / "log.jsonl").read_text().splitlines()]
    accuracies = {entry["step"]: entry["captcha_accuracy"] for entry in entries if "captcha_accuracy" in entry}
    best = checkpoint_files.newest(trained_once / "save", BEST)["best"]
    assert best["captcha_accuracy"] == max(accuracies.values()) == accuracies[best["step"]]
