"""A set larger than memory: the same promises, in windows."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import captcha_data
import captcha_log
import captcha_stream
import captcha_train
from captcha_config import UserError
from captcha_producer import produce

import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL, TRAINING, checkpoint_values, command, options, own_lines, run
from test_scale import ended, job

COUNT, PER_SHARD = 850, SMALL.images_per_shard  # 1.3 MiB decoded, in 22 shards; the last one is not full
EPOCH = COUNT // 50  # steps


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The config of a set that is over its memory budget, with windows of four shards."""
    folder = tmp_path_factory.mktemp("large")
    config = replace(SMALL, memory_budget=1, batch_size=50, shift=0, tfrecords_dir=str(folder / "tfrecords"))
    for split, count in (("train", COUNT), ("validation", 50)):
        produce(count, folder / "images" / split, config, images=False)
    return config


@pytest.fixture(scope="module")
def manifest(large):
    return captcha_data.read_manifest("train", large)


@pytest.fixture(scope="module")
def known(large):
    """Image, as bytes → its number in the set, its labels."""
    images, labels = captcha_data.load("train", replace(large, memory_budget=1024))
    return {image.tobytes(): (i, tuple(label)) for i, (image, label) in enumerate(zip(images, labels, strict=True))}


def steps(batches, count):
    return [tuple(part.numpy() for part in batch) for batch in batches.take(count)]


def numbers(batches, known):
    """Which images of the set they are."""
    return [known[image.tobytes()][0] for images, _ in batches for image in images]


def test_each_image_comes_once_an_epoch_with_its_label(large, manifest, known):
    batches = steps(captcha_stream.batches(manifest, 0, large), 2 * EPOCH)
    for epoch in (batches[:EPOCH], batches[EPOCH:]):
        assert sorted(numbers(epoch, known)) == list(range(COUNT))
    for images, labels in batches:
        assert [known[image.tobytes()][1] for image in images] == [tuple(label) for label in labels]


def test_shards_and_images_come_in_another_order_in_each_epoch_and_for_each_seed(large, manifest, known):
    batches = steps(captcha_stream.batches(manifest, 0, large), 2 * EPOCH)
    other = steps(captcha_stream.batches(manifest, 0, replace(large, seed=2)), EPOCH)
    orders = [numbers(part, known) for part in (batches[:EPOCH], batches[EPOCH:], other)]
    assert len({tuple(order) for order in orders}) == 3
    assert len({frozenset(i // PER_SHARD for i in order[:50]) for order in orders}) == 3
    for order in orders:
        assert len({i // PER_SHARD for i in order[:10]}) > 1  # shards are mixed


@pytest.mark.parametrize("step", [1, 5, EPOCH - 1, EPOCH, EPOCH + 3, 40])
def test_the_batches_of_a_step_do_not_depend_on_where_one_began(large, manifest, step):
    config = replace(large, shift=2, batch_size=48)
    through = steps(captcha_stream.batches(manifest, 0, config), step + 3)[step:]
    resumed = steps(captcha_stream.batches(manifest, step, config), 3)
    for one, two in zip(through, resumed, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_going_on_reads_none_of_the_shards_that_were_used_before(large, manifest, known):
    through = steps(captcha_stream.batches(manifest, 0, large), EPOCH)
    batches = captcha_stream.batches(manifest, EPOCH - 1, large)
    used = {i // PER_SHARD for i in numbers(through[: EPOCH - 4], known)}
    paths = captcha_stream._decode(manifest, large)
    for shard in used - {i // PER_SHARD for i in numbers(through[-4:], known)}:
        Path(paths[shard]).unlink()
    assert numbers(steps(batches, 1), known) == numbers(through[-1:], known)


def test_images_are_decoded_once(large, manifest):
    decoded = Path(captcha_stream.folder("train", large))
    captcha_stream.batches(manifest, 0, large)
    before = {path.name: path.stat().st_mtime_ns for path in decoded.iterdir()}
    assert len(before) == len(manifest["shards"])
    sorted(decoded.iterdir())[0].unlink()
    (decoded / "left by a process that was killed").touch()
    captcha_stream.batches(manifest, 0, large)
    after = {path.name: path.stat().st_mtime_ns for path in decoded.iterdir()}
    assert after.keys() == before.keys()
    assert sum(after[name] != before[name] for name in before) == 1


def test_what_was_damaged_since_it_was_decoded_ends_training_in_one_line(large, manifest, tmp_path):
    shutil.copytree(large.tfrecords_dir, tmp_path / "tfrecords")
    for path in captcha_stream._decode(manifest, replace(large, tfrecords_dir=str(tmp_path / "tfrecords"))):
        content = bytearray(Path(path).read_bytes())
        content[5000] ^= 1
        Path(path).write_bytes(content)
    done = run("captcha_train.py", *options(TRAINING, large), "--memory_budget", 1, cwd=tmp_path)
    (line,) = own_lines(done.stderr)
    assert done.returncode == 2
    assert "tfrecords/.train.decoded: cannot be read (" in line and "corrupted record" in line


@pytest.mark.parametrize(("machines", "replicas"), [(1, 2), (2, 2), (2, 4)])
def test_the_parts_of_a_batch_are_together_the_batch_of_one_device(large, manifest, machines, replicas):
    config = replace(large, shift=2, rotate=10.0, batch_size=48)
    parts = [tf.distribute.InputContext(machines, i, replicas) for i in range(machines)]
    here = [iter(captcha_stream.batches(manifest, 15, config, part)) for part in parts]
    for batch in steps(captcha_stream.batches(manifest, 15, config), 4):
        pieces = [next(machine) for machine in here for _ in range(replicas // machines)]
        for one, several in zip(batch, zip(*pieces, strict=True), strict=True):
            assert np.array_equal(one, np.concatenate(several))


def test_killed_and_resumed_it_has_the_weights_of_an_undisturbed_run(large, tmp_path):
    words = (*options(TRAINING, large), "--memory_budget", 1, "--tfrecords_dir", large.tfrecords_dir, "--max_steps", 70)
    assert run("captcha_train.py", *words, "--save_dir", "through", cwd=tmp_path).returncode == 0
    process = subprocess.Popen(command("captcha_train.py", *words), cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:  # an epoch is of 53 steps
        if line.startswith("step 60/"):
            process.kill()
    process.wait()
    assert not (tmp_path / "save" / "ckpt-70.json").exists()
    assert "going on from step 6" in run("captcha_train.py", *words, cwd=tmp_path).stdout
    assert checkpoint_values(tmp_path / "save", "ckpt-70") == checkpoint_values(tmp_path / "through", "ckpt-70")


@pytest.mark.slow
def test_two_machines_that_share_a_folder_have_the_losses_of_one(large, tmp_path):
    config = replace(large, batch_size=48, save_dir=str(tmp_path / "two"))
    shutil.rmtree(captcha_stream.folder("train", large), ignore_errors=True)  # both decode at once
    said = ended(job(config, 2, both=("--memory_budget", 1)))
    assert [status for status, _, _ in said] == [0, 0], said
    captcha_train.train(replace(config, save_dir=str(tmp_path / "one")))
    one, two = ([entry["loss"] for entry in captcha_log.read(tmp_path / folder)] for folder in ("one", "two"))
    assert len(one) == 6 and two == pytest.approx(one, rel=1e-5)


def test_a_run_cannot_go_on_with_windows_of_another_size(large, tmp_path):
    config = replace(large, max_steps=2, save_dir=str(tmp_path))
    captcha_train.train(config)
    with pytest.raises(UserError, match=r"come all shuffled together, came shuffled in windows of 0\.25 MiB"):
        captcha_train.train(replace(config, max_steps=4, memory_budget=100))


def test_a_shard_that_is_larger_than_a_window_is_refused_with_what_to_do(large, tmp_path):
    config = replace(large, images_per_shard=400, tfrecords_dir=str(tmp_path / "tfrecords"))
    manifest = produce(700, tmp_path / "images" / "train", config, images=False)
    with pytest.raises(
        UserError,
        match=r"a shard of 400 images takes more than a 4th of memory_budget 1 MiB; raise it.*--images_per_shard 170",
    ):
        captcha_stream.batches(manifest, 0, config)


def test_a_label_that_is_not_of_the_characters_is_found_before_training(large, manifest, tmp_path):
    shutil.copytree(large.tfrecords_dir, tmp_path, dirs_exist_ok=True)
    with pytest.raises(
        UserError, match=r"train: record \d+ is labelled '.*3.*', which is not 2 of the characters '0124'"
    ):
        captcha_stream.batches(manifest, 0, replace(large, characters="0124", tfrecords_dir=str(tmp_path)))


def test_a_set_can_be_on_any_file_system_that_tensorflow_knows(large, manifest, known):
    for path in Path(large.tfrecords_dir).glob("train*"):
        tf.io.gfile.copy(str(path), f"ram://tfrecords/{path.name}", overwrite=True)
    config = replace(large, tfrecords_dir="ram://tfrecords")
    assert captcha_data.read_manifest("train", config) == manifest
    here, there = (steps(captcha_stream.batches(manifest, 0, one), 3) for one in (large, config))
    assert numbers(here, known) == numbers(there, known)
    with pytest.raises(UserError, match=r"ram://tfrecords/test\.json: there is no such set"):
        captcha_data.read_manifest("test", config)
