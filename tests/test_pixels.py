"""The decoded images of a split: made once, checked whenever they are read, and never another set's."""

import functools
import os
import resource
import shutil
import signal
import tempfile
from dataclasses import replace
from pathlib import Path

import captcha_data
import captcha_sets.pixels
from captcha_cli import UserError
from captcha_sets import files as set_files
from captcha_sets.draw import draw
from captcha_sets.drawing import produce
from captcha_sets.manifest import read_manifest
from captcha_sets.pixels import open_pixels, verified_records

import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL, TRAINING, Process, checkpoint_values, errors, in_folder, options, run, start, wait_for

ALL = np.arange(100)
DAMAGED = r"\.train\.pixels\.npy: was damaged on the disk; run the same command again, which decodes the images anew"


def opened(config):
    """The records of the training split."""
    return open_pixels(read_manifest("train", config), config)


def pixels_file(config):
    return Path(config.tfrecords_dir, ".train.pixels.npy")


@pytest.fixture(scope="module")
def expected():
    """The images of the training split, grey, [100, height, width, 1]."""
    drawn = [np.asarray(draw(i, "train", SMALL)[1]).mean(axis=2) for i in range(100)]
    return np.round(drawn).astype(np.uint8)[..., None]


def overwrite(path, offset, content):
    """Change bytes of a file in place, as a failing disk does."""
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(content)


# Once


def test_images_are_decoded_once(config, capsys, expected):
    pixels_file(config).unlink()
    for decodes in (True, False):
        assert np.array_equal(verified_records(opened(config), ALL)[0], expected)
        assert ("decoding train, once: 100 of 100" in capsys.readouterr().err) == decodes
        status = pixels_file(config).stat()
    assert opened(config).filename == pixels_file(config)
    assert pixels_file(config).stat() == status


def test_records_can_be_read_in_any_order_and_more_than_once(config, expected):
    index = np.array([7, 99, 0, 7])
    images, labels = verified_records(opened(config), index)
    assert np.array_equal(images, expected[index])
    assert ["".join("0123"[label] for label in row) for row in labels] == [draw(i, "train", SMALL)[0] for i in index]


def test_the_images_are_on_the_disk_before_the_note_that_says_so(config, monkeypatch):
    synced = []

    def sync(path):
        synced.append((path.name, note.exists()))
        set_files.sync(path)

    note = pixels_file(config).with_suffix(".json")
    pixels_file(config).unlink()
    monkeypatch.setattr(captcha_sets.pixels, "sync", sync)
    opened(config)
    assert synced == [(".train.pixels.npy.new", False), ("tfrecords", False)]
    assert note.exists()


def open_in_process(config):
    print("ready", flush=True)
    images, _ = verified_records(opened(config), ALL)
    print(images.sum(dtype=np.int64))


def test_another_process_that_is_decoding_is_waited_for(config, expected):
    pixels_file(config).unlink()
    with set_files.lock(Path(config.tfrecords_dir), "train.pixels"):
        processes = [Process(open_in_process, config, cwd=Path(config.tfrecords_dir)) for _ in range(2)]
        for process in processes:
            wait_for(process, "ready")
    outputs = [process.communicate() for process in processes]
    assert [int(stdout) for stdout, _ in outputs] == [expected.sum(dtype=np.int64)] * 2
    assert sorted("decoding train, once: 100 of 100" in stderr for _, stderr in outputs) == [False, True]


def decode_and_die(config, how):
    """Decode until half of it is written; then be killed, or find no space left."""
    captcha_sets.pixels.BLOCK = 10
    if how == "no space left":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, 80_000))
    else:
        written, grey = [], captcha_sets.pixels.grey

        def die_later(images):
            written.append(images)
            if len(written) == 5:
                os.kill(os.getpid(), signal.SIGKILL)
            return grey(images)

        captcha_sets.pixels.grey = die_later
    opened(config)


@pytest.mark.parametrize(("how", "status"), [("killed", -signal.SIGKILL), ("no space left", 1)])
def test_decoding_that_was_cut_short_begins_again(config, expected, how, status):
    pixels_file(config).unlink()
    process = Process(decode_and_die, config, how, cwd=Path(config.tfrecords_dir))
    _, stderr = process.communicate()
    assert process.returncode == status, stderr
    assert not pixels_file(config).exists()
    assert np.array_equal(verified_records(opened(config), ALL)[0], expected)


def test_where_the_network_sees_colour_the_images_are_decoded_in_colour(config, expected):
    """Another network sees them in grey again."""
    images, _ = verified_records(opened(replace(config, input_color=True)), ALL)
    assert (images.shape, images.dtype) == ((100, 32, 48, 3), np.uint8)
    assert np.array_equal(images, [np.asarray(draw(i, "train", SMALL)[1]) for i in range(100)])
    assert np.array_equal(verified_records(opened(config), ALL)[0], expected)


# Never another set's, nor a damaged one


def test_a_replaced_set_is_decoded_anew(config, expected):
    other = replace(config, seed=2)
    opened(config)
    produce("train", other)
    images, _ = verified_records(opened(other), ALL)
    third = np.asarray(draw(3, "train", other)[1])
    assert np.array_equal(images[3, ..., 0], np.round(third.mean(axis=2)))
    assert not np.array_equal(images[3], expected[3])


def test_a_set_that_is_replaced_while_it_is_decoded_is_refused(config, monkeypatch):
    pixels_file(config).unlink()
    grey = captcha_sets.pixels.grey

    def replaced_meanwhile(images):
        produce("train", replace(config, seed=2))
        return grey(images)

    manifest = read_manifest("train", config)
    monkeypatch.setattr(captcha_sets.pixels, "grey", replaced_meanwhile)
    with pytest.raises(UserError, match="the train split was replaced while it was read; run again"):
        open_pixels(manifest, config)
    assert not pixels_file(config).exists()


@pytest.mark.parametrize("with_note", [False, True])
def test_the_pixels_of_another_set_of_the_same_size_are_not_used(config, tmp_path, expected, with_note):
    other = replace(in_folder(tmp_path / "other"), seed=2)
    produce("train", other, images=False)
    opened(other)
    assert pixels_file(other).stat().st_size == pixels_file(config).stat().st_size
    shutil.copy2(pixels_file(other), pixels_file(config))
    if with_note:
        shutil.copy2(pixels_file(other).with_suffix(".json"), pixels_file(config).with_suffix(".json"))
    assert np.array_equal(verified_records(opened(config), ALL)[0], expected)


@pytest.mark.parametrize("length", [0, 50, 5000, -1])
def test_a_file_of_pixels_that_was_cut_is_decoded_anew(config, expected, length):
    content = pixels_file(config).read_bytes()
    pixels_file(config).write_bytes(content[:length])
    assert np.array_equal(verified_records(opened(config), ALL)[0], expected)
    assert pixels_file(config).read_bytes() == content


def test_a_damaged_header_is_decoded_anew(config, expected):
    content = pixels_file(config).read_bytes()
    overwrite(pixels_file(config), content.index(b"'shape': (100,)") + 10, b"010")
    assert np.array_equal(verified_records(opened(config), ALL)[0], expected)


@pytest.mark.parametrize("field", ["checksum", "labels", "image"])
def test_a_damaged_record_is_refused_when_it_is_read_and_decoded_anew_when_opened_again(config, expected, field):
    records = opened(config)
    offset = records.offset + 60 * records.itemsize + records.dtype.fields[field][1]
    overwrite(pixels_file(config), offset, bytes([pixels_file(config).read_bytes()[offset] ^ 1]))
    records = opened(config)
    assert np.array_equal(verified_records(records, ALL[:60])[0], expected[:60])
    with pytest.raises(UserError, match=DAMAGED):
        verified_records(records, np.array([3, 60]))
    assert np.array_equal(verified_records(opened(config), ALL)[0], expected)


def test_records_that_changed_places_are_refused(config):
    records = opened(config)
    content, size = pixels_file(config).read_bytes(), records.itemsize
    for here, there in ((60, 61), (61, 60)):
        start = records.offset + there * size
        overwrite(pixels_file(config), records.offset + here * size, content[start : start + size])
    with pytest.raises(UserError, match=DAMAGED):
        verified_records(opened(config), np.array([61]))


def test_damage_during_training_comes_out_of_the_pipeline_as_it_was_raised(config):
    records = opened(config)
    overwrite(pixels_file(config), records.offset + 50 * records.itemsize, bytes(10 * records.itemsize))
    batches = functools.partial(captcha_data.training_batches, records, 0, config)
    with pytest.raises(UserError, match=DAMAGED):
        for _, _ in zip(range(7), captcha_data.iterate(tf.distribute.get_strategy(), batches), strict=False):
            pass


def test_training_killed_and_resumed_after_the_pixels_were_damaged_has_the_weights_of_an_undisturbed_run(
    config, folder, trained_once
):
    words = (*options(TRAINING), "--eval_every", 12)
    process = start("captcha_train.py", *words, cwd=folder)
    wait_for(process, "step 4/")
    process.kill()
    process.wait()
    records = opened(config)
    overwrite(pixels_file(config), records.offset + 50 * records.itemsize, bytes(40 * records.itemsize))
    done = run("captcha_train.py", *words, cwd=folder)
    (line,) = errors(done.stderr)
    assert done.returncode == 2 and line.startswith(f"captcha_train.py: error: {pixels_file(config)}: was damaged")
    done = run("captcha_train.py", *words, cwd=folder)  # as the message says
    assert done.returncode == 0, done.stderr
    assert "resuming from step " in done.stdout and "decoding train, once: 100 of 100" in done.stderr
    assert checkpoint_values(folder / "save", "ckpt-12") == checkpoint_values(trained_once / "save", "ckpt-12")


def test_a_label_outside_the_characters_is_found_before_training(config):
    manifest = read_manifest("train", config)
    pixels_file(config).unlink()
    with pytest.raises(UserError, match=r"record \d+ has the label '.*3.*', which is not 2 of the characters '0124'"):
        open_pixels(manifest, replace(config, characters="0124"))


# Where they are kept


def test_a_set_may_be_on_any_file_system_that_tensorflow_knows(config, tmp_path, monkeypatch, expected):
    for path in Path(config.tfrecords_dir).glob("train*"):
        tf.io.gfile.copy(str(path), f"ram://tfrecords/{path.name}", overwrite=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    remote = replace(config, tfrecords_dir="ram://tfrecords")
    assert read_manifest("train", remote) == read_manifest("train", config)
    for _ in range(2):
        records = opened(remote)
        assert Path(records.filename).is_relative_to(tmp_path / "cache" / "captcha-trainer")
        assert np.array_equal(verified_records(records, ALL)[0], expected)
    with pytest.raises(UserError, match=r"ram://tfrecords/validation\.json: there is no such set; draw it: ") as caught:
        read_manifest("validation", remote)
    assert "python -m captcha_sets.beam --splits validation " in str(caught.value)


def open_without_permission(tfrecords_dir):
    """Open the training split of a folder that this process may not write to, relative to the current folder."""
    if os.geteuid() == 0:
        os.setuid(65534)  # nobody
    records = opened(replace(SMALL, tfrecords_dir=tfrecords_dir))
    print(records.filename)
    print(verified_records(records, ALL)[0].sum(dtype=np.int64))


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "HOME"])
def test_a_set_in_a_read_only_folder_is_decoded_into_the_users_cache(drawn, expected, variable):
    """Two sets of the same relative name do not share the cache."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are for the current user alone
        top, found = Path(name), []
        home = top / "home"
        home.mkdir()
        for path in (top, home):
            path.chmod(0o777)
        for project in (top / "one", top / "two"):
            project.mkdir()
            shutil.copytree(drawn / "tfrecords", project / "tfrecords", ignore=shutil.ignore_patterns(".*"))
            (project / "tfrecords").chmod(0o555)
            env = {"HOME": str(home), "XDG_CACHE_HOME": str(home) if variable == "XDG_CACHE_HOME" else ""}
            process = Process(open_without_permission, "tfrecords", cwd=project, env=env)
            stdout, stderr = process.communicate()
            assert process.returncode == 0, stderr
            filename, total = stdout.splitlines()
            assert int(total) == expected.sum(dtype=np.int64)
            found.append(Path(filename))
            cache = home if variable == "XDG_CACHE_HOME" else home / ".cache"
            assert found[-1].is_relative_to(cache / "captcha-trainer")
            assert not list((project / "tfrecords").glob(".*.npy*"))
            (project / "tfrecords").chmod(0o755)
        assert found[0] != found[1]
