"""A set drawn in parts, on many machines, is that of one machine, byte for byte."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import captcha_beam
import captcha_draw
import captcha_slice
from captcha_config import UserError
from captcha_producer import produce

import pytest
from conftest import DRAWING, SMALL, command, files, options, own_lines, run

COUNT = 190  # 5 shards, the last one not full


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with what a single run writes."""
    folder = tmp_path_factory.mktemp("whole") / "tfrecords"
    produce(COUNT, folder.with_name("train"), replace(SMALL, tfrecords_dir=str(folder)), images=False)
    return folder


@pytest.fixture
def config(tmp_path):
    return replace(SMALL, tfrecords_dir=str(tmp_path / "tfrecords"))


def producer(folder, *args):
    return run("captcha_producer.py", *options(DRAWING), "-p", "images/train", *args, cwd=folder)


def test_two_slices_merged_are_the_set_of_a_single_run(tmp_path, whole):
    for part in ("2/2", "1/2"):
        done = producer(tmp_path, "-n", COUNT, "--slice", part)
        assert done.returncode == 0, done.stderr
    assert "3 shards in tfrecords/train.slices/" in producer(tmp_path, "-n", COUNT, "--slice", "2/2").stdout
    done = producer(tmp_path, "--merge")
    assert done.returncode == 0 and "train: 190 captchas in 5 shards" in done.stdout
    assert files(tmp_path / "tfrecords") == files(whole)


def test_slices_from_other_machines_are_copied_into_one_folder(config, tmp_path, whole):
    for number in (1, 2, 3):
        machine = replace(config, tfrecords_dir=str(tmp_path / f"machine{number}"))
        captcha_slice.produce_slice(COUNT, "train", number, 3, machine)
        shutil.copytree(tmp_path / f"machine{number}", config.tfrecords_dir, dirs_exist_ok=True)
    captcha_slice.merge("train", config)
    assert files(tmp_path / "tfrecords") == files(whole)


def test_an_earlier_set_stays_until_the_slices_are_merged(config, tmp_path):
    produce(40, tmp_path / "images" / "train", config)
    before = files(tmp_path)
    captcha_slice.produce_slice(COUNT, "train", 1, 2, config)
    assert {name: content for name, content in files(tmp_path).items() if ".slices" not in name} == before
    with pytest.raises(UserError, match="slice 2 of 2 is missing; draw it again, or copy it again"):
        captcha_slice.merge("train", config)
    captcha_slice.produce_slice(COUNT, "train", 2, 2, config)
    captcha_slice.merge("train", config)
    assert len(list((tmp_path / "tfrecords").glob("train-*.tfrecord"))) == 5


def test_what_is_not_of_one_set_is_refused_and_nothing_changes(config, tmp_path):
    captcha_slice.produce_slice(COUNT, "train", 1, 2, config)
    for wrong, other in (("seed", replace(config, seed=2)), ("characters", replace(config, characters="01"))):
        captcha_slice.produce_slice(COUNT, "train", 2, 2, other)
        before = files(tmp_path)
        with pytest.raises(UserError, match=f"slices 1 of 2 and 2 of 2 are not of the same set .{wrong}"):
            captcha_slice.merge("train", config)
        assert files(tmp_path) == before


def test_slices_with_shards_of_other_sizes_are_refused(config):
    captcha_slice.produce_slice(COUNT, "train", 1, 2, config)
    captcha_slice.produce_slice(COUNT, "train", 2, 2, replace(config, images_per_shard=39))
    with pytest.raises(UserError, match="shards of different sizes; draw all with the same --images_per_shard"):
        captcha_slice.merge("train", config)


def test_threads_of_one_process_draw_what_they_draw_alone(config):
    """As the workers of a cluster do."""
    alone = [captcha_draw.draw(i, "train", config)[1].tobytes() for i in range(200)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda i: captcha_draw.draw(i, "train", config)[1].tobytes(), range(200)))
    finally:
        sys.setswitchinterval(interval)
    assert together == alone


def test_a_damaged_slice_is_refused_by_the_name_of_its_shard(config, tmp_path):
    for number in (1, 2):
        captcha_slice.produce_slice(COUNT, "train", number, 2, config)
    shard = next(captcha_slice.folder_of("train", config).glob("*.tfrecord"))
    shard.write_bytes(shard.read_bytes()[:-1])
    before = files(tmp_path)
    with pytest.raises(UserError, match=shard.name):
        captcha_slice.merge("train", config)
    assert files(tmp_path) == before


def test_a_killed_slice_does_not_count_and_can_be_drawn_again(config, tmp_path, whole):
    words = (*options(DRAWING), "-p", "images/train", "-n", COUNT, "--slice", "1/2")
    process = subprocess.Popen(command("captcha_producer.py", *words), cwd=tmp_path, stderr=subprocess.DEVNULL)
    folder = captcha_slice.folder_of("train", config)
    while not list(folder.glob(".1-of-2.new/*")):
        assert process.poll() is None
    process.kill()
    process.wait()
    captcha_slice.produce_slice(COUNT, "train", 2, 2, config)
    with pytest.raises(UserError, match="slice 1 of 2 is missing"):
        captcha_slice.merge("train", config)
    captcha_slice.produce_slice(COUNT, "train", 1, 2, config)
    captcha_slice.merge("train", config)
    assert files(tmp_path / "tfrecords") == files(whole)


@pytest.mark.parametrize("args", [("--slice", "0/2", "-n", 9), ("--slice", "3/2", "-n", 9), ("--slice", "x", "-n", 9),
                                  ("--slice", "1/9", "-n", 90), ("--slice", "1/2", "--stats"),
                                  ("--merge",)])  # fmt: skip
def test_what_makes_no_sense_is_one_line(args, tmp_path):
    done = producer(tmp_path, *args)
    (line,) = own_lines(done.stderr)
    assert done.returncode == 2 and ("slice" in line)
    assert files(tmp_path) == {}


def test_on_beam_it_is_the_set_of_a_single_run(config, tmp_path, whole):
    words = [*options(DRAWING), "-n", str(COUNT), "--split", "train", "--output", "tfrecords"]
    done = run("captcha_beam.py", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "tfrecords") == files(whole)


def test_beam_does_not_touch_a_set_that_is_there(config, whole):
    before = files(whole)
    with pytest.raises(UserError, match="there is a set already; move it away, or name another --output"):
        captcha_beam.draw_set(10, "train", str(whole), config, [])
    assert files(whole) == before
