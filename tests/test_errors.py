"""What a person can do wrong: one line that says what, where and what to do; status 2; nothing changed on disk."""

import hashlib
import os
from pathlib import Path

from captcha_sets.files import read_checksummed, write_checksummed

import pytest
import tensorflow as tf
from conftest import DRAWING, TRAINING, errors, files, options, run

SHARD = "train-00001-of-00003.tfrecord"


def cut(folder: Path) -> None:
    path = folder / "tfrecords" / SHARD
    path.write_bytes(path.read_bytes()[:-100])


def flip(folder: Path) -> None:
    path = folder / "tfrecords" / SHARD
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)


def lose(folder: Path) -> None:
    (folder / "tfrecords" / SHARD).unlink()


def lose_set(folder: Path) -> None:
    (folder / "tfrecords" / "train.json").unlink()


def tear(folder: Path) -> None:
    path = folder / "tfrecords" / "train.json"
    path.write_text(path.read_text()[:200])


def make_older(folder: Path) -> None:
    path = folder / "tfrecords" / "train.json"
    write_checksummed(path, read_checksummed(path) | {"format": 1})


def mislabel(folder: Path) -> None:
    """A shard with a label outside the characters, and a manifest that fits it."""
    path = folder / "tfrecords" / "validation-00000-of-00001.tfrecord"
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    example = tf.train.Example.FromString(records[3])
    example.features.feature["image/text"].bytes_list.value[0] = b"1x"
    records[3] = example.SerializeToString()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    manifest = read_checksummed(folder / "tfrecords" / "validation.json")
    content = path.read_bytes()
    manifest["shards"][0] |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    write_checksummed(folder / "tfrecords" / "validation.json", manifest)


def do_nothing(folder: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("do", "args", "message"),
    [
        (lose_set, (), "train.json: there is no such set; draw it: python captcha_producer.py --splits train"),
        (tear, (), "train.json: is not a complete manifest"),
        (make_older, (), "train.json: is of another version of this project; make the set again: python captcha_pro"),
        (lose, (), f"{SHARD}: the shard is missing; copy that file again, or make the set again: python captcha_prod"),
        (cut, (), f"{SHARD}: has "),
        (flip, (), f"{SHARD}: its sha256 is not the manifest's"),
        (mislabel, (), "record 3 has the label '1x', which is not 2 of the characters '0123'"),
        (do_nothing, ("--max_step", 5), "unrecognized arguments: --max_step 5 (see --help)"),
        (do_nothing, ("--shift", 40), "shift: 40 must be less than width 48 and height 32"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_trainer_refuses(folder, do, args, message):
    do(folder)
    before = files(folder)
    done = run("captcha_train.py", *options(TRAINING), *args, cwd=folder)
    (line,) = errors(done.stderr)
    assert message in line
    assert line.startswith("captcha_train.py: error: ")
    assert done.returncode == 2
    assert files(folder) == before


@pytest.mark.parametrize("script", ["captcha_producer.py", "captcha_train.py"])
def test_a_folder_that_cannot_be_made_is_named(folder, script):
    (folder / "file").write_text("in the way")  # root may write anywhere, but not below a file
    before = files(folder)
    if script == "captcha_train.py":
        done = run(script, *options(TRAINING), "--save_dir", "file/save", cwd=folder)
    else:
        done = run(script, *options(DRAWING), "--images_dir", "new", "--tfrecords_dir", "file/sets", cwd=folder)
    (line,) = errors(done.stderr)
    assert line.startswith(f"{script}: error: Not a directory: ")
    assert line.endswith("file/save" if script == "captcha_train.py" else "file/sets")
    assert done.returncode == 2
    assert files(folder) == before


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(folder):
    (folder / "locked").mkdir(mode=0o500)
    done = run("captcha_train.py", *options(TRAINING), "--save_dir", "locked/save", cwd=folder)
    assert errors(done.stderr) == ["captcha_train.py: error: Permission denied: locked/save"]
    assert done.returncode == 2


@pytest.mark.parametrize("count", ["0", "-5"])
def test_a_number_of_captchas_out_of_range_is_refused(tmp_path, count):
    done = run("captcha_producer.py", f"--train_count={count}", cwd=tmp_path)
    message = f"train_count: {count} is out of range; it must be from 1 to 1000000000"
    assert errors(done.stderr) == [f"captcha_producer.py: error: {message}"]
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []
