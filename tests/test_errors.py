"""What a person can do wrong: one line that says what, where and what to do; status 2; nothing changed on disk."""

import os
from dataclasses import replace

import captcha_train
from captcha_seal import read_sealed, write_sealed

import pytest
import tensorflow as tf
from conftest import DRAWING, SMALL, TRAINING, files, options, own_lines, run


def cut(folder):
    path = folder / "tfrecords" / "train-00001-of-00003.tfrecord"
    path.write_bytes(path.read_bytes()[:-100])


def flip(folder):
    path = folder / "tfrecords" / "train-00001-of-00003.tfrecord"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)


def lose(folder):
    (folder / "tfrecords" / "train-00001-of-00003.tfrecord").unlink()


def lose_set(folder):
    (folder / "tfrecords" / "train.json").unlink()


def tear(folder):
    path = folder / "tfrecords" / "train.json"
    path.write_text(path.read_text()[:200])


def mislabel(folder):
    """A shard with a label outside the characters, and a manifest that knows it."""
    import hashlib

    path = folder / "tfrecords" / "validation-00000-of-00001.tfrecord"
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    example = tf.train.Example.FromString(records[3])
    example.features.feature["image/text"].bytes_list.value[0] = b"1x"
    records[3] = example.SerializeToString()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    manifest = read_sealed(folder / "tfrecords" / "validation.json")
    content = path.read_bytes()
    manifest["shards"][0] |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    write_sealed(folder / "tfrecords" / "validation.json", manifest)


def other_network(folder):
    config = replace(SMALL, tfrecords_dir=str(folder / "tfrecords"), save_dir=str(folder / "save"), channels=(4, 4))
    captcha_train.train(config)


def nothing(folder):
    pass


@pytest.mark.parametrize(
    ("do", "args", "said"),
    [
        (lose_set, (), "train.json: there is no such set; produce it: python captcha_producer.py"),
        (tear, (), "train.json: is not a whole manifest"),
        (lose, (), "train-00001-of-00003.tfrecord: the shard is missing; produce the set again"),
        (cut, (), "train-00001-of-00003.tfrecord: has "),
        (flip, (), "train-00001-of-00003.tfrecord: its sha256 is not the manifest's"),
        (mislabel, (), "validation: record 3 is labelled '1x', which is not 2 of the characters '0123'"),
        (nothing, ("--width", 32, "--height", 48), "the set was drawn with width 48, not 32; height 32, not 48"),
        (nothing, ("--characters", "3210"), "the set was drawn with characters '0123', not '3210'"),
        (nothing, ("--max_step", 5), "unrecognized arguments: --max_step 5 (see --help)"),
        (other_network, (), "channels is (4, 8), was (4, 4); set that back, or start fresh"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_trainer_refuses(folder, do, args, said):
    do(folder)
    before = files(folder)
    done = run("captcha_train.py", *options(TRAINING), *args, cwd=folder)
    (line,) = own_lines(done.stderr)
    assert said in line
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
        done = run(script, *options(DRAWING), "-n", 5, "-p", "images/new", "--tfrecords_dir", "file/x", cwd=folder)
    assert own_lines(done.stderr) == [f"{script}: error: Not a directory: file/{'save' if 'train' in script else 'x'}"]
    assert done.returncode == 2
    assert files(folder) == before


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(folder):
    (folder / "locked").mkdir(mode=0o500)
    done = run("captcha_train.py", *options(TRAINING), "--save_dir", "locked/save", cwd=folder)
    assert own_lines(done.stderr) == ["captcha_train.py: error: Permission denied: locked/save"]
    assert done.returncode == 2


@pytest.mark.parametrize("count", ["0", "-5"])
def test_a_senseless_number_of_captchas_is_refused(folder, count):
    done = run("captcha_producer.py", f"-n={count}", "-p", "images/train", cwd=folder)
    assert own_lines(done.stderr) == [
        f"captcha_producer.py: error: -n {count} is out of range; it must be from 1 to 1000000000"
    ]
    assert done.returncode == 2


def test_a_split_without_a_name_is_refused(tmp_path):
    done = run("captcha_producer.py", "-n", 5, "-p", "/", cwd=tmp_path)
    assert "the folder's name is the split's" in own_lines(done.stderr)[0]
    assert done.returncode == 2
