"""Drawing: what decides a captcha, what is written, and what is never lost."""

import argparse
import collections
import hashlib
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import captcha_producer
from captcha_cli import UserError
from captcha_config import MAX_LENGTH, Config
from captcha_sets.draw import draw
from captcha_sets.drawing import produce
from captcha_sets.files import read_checksummed, write_checksummed
from captcha_sets.library import check_fonts
from captcha_sets.manifest import make_command, manifest_for_model, read_manifest
from captcha_sets.pool import draw_many, save_images
from captcha_sets.replace import write_split
from captcha_sets.shards import check_shards, image_name
from captcha_sets.sheet import write_sheet

import numpy as np
import pytest
import tensorflow as tf
from conftest import DRAWING, SMALL, errors, files, in_folder, options, run, start
from PIL import Image

KILLED = "a process that draws was killed; free some memory, or use fewer processes (--workers)"


def records(path):
    for serialized in tf.data.TFRecordDataset(str(path)):
        yield tf.train.Example.FromString(serialized.numpy()).features.feature


# One captcha


def test_another_seed_split_or_index_draws_another_captcha():
    pixels = {
        drawn[1].tobytes()
        for drawn in (
            draw(0, "train", SMALL),
            draw(0, "validation", SMALL),
            draw(0, "train", replace(SMALL, seed=2)),
            draw(1, "train", SMALL),
        )
    }
    assert len(pixels) == 4


def test_a_captcha_does_not_depend_on_those_drawn_before_it():
    alone = draw(5, "train", SMALL)[1].tobytes()
    for index in range(5):
        draw(index, "train", SMALL)
    assert draw(5, "train", SMALL)[1].tobytes() == alone


def test_threads_of_one_process_draw_what_they_draw_alone():
    """As the workers of a cluster do."""
    alone = [draw(i, "train", SMALL)[1].tobytes() for i in range(200)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda i: draw(i, "train", SMALL)[1].tobytes(), range(200)))
    finally:
        sys.setswitchinterval(interval)
    assert together == alone


def test_the_pixels_are_the_librarys_own_with_its_randomness_replaced(monkeypatch):
    """Compared with an independent reference: the public captcha module, its `secrets` replaced by hand."""
    import captcha.image

    text, image = draw(3, "train", Config())
    rng = random.Random("1/train/3")

    class Secrets:
        randbelow, randbits, choice = rng.randrange, rng.getrandbits, rng.choice

    monkeypatch.setattr(captcha.image, "secrets", Secrets)
    assert "".join(rng.choices("0123456789", k=4)) == text
    expected = captcha.image.ImageCaptcha(128, 64, font_sizes=(40,)).generate_image(text)
    assert expected.tobytes() == image.tobytes()


@pytest.mark.parametrize(("split", "expected"), [("train", 500), ("validation", 250)])
def test_oversampled_characters_make_up_half_of_the_training_split_alone(split, expected):
    texts = [draw(i, split, replace(SMALL, oversample_characters="3"))[0] for i in range(500)]
    counts = collections.Counter("".join(texts))
    assert counts["3"] == pytest.approx(expected, abs=70)  # over four standard deviations
    for other in "012":
        assert counts[other] == pytest.approx((1000 - expected) / 3, abs=65)


@pytest.mark.parametrize(("width", "height", "size", "length"), [(16, 16, 8, 1), (300, 40, 30, 9), (33, 61, 17, 3)])
def test_any_size_and_any_length_can_be_drawn(width, height, size, length):
    config = Config(width=width, height=height, font_sizes=(size,), length=length)
    text, image = draw(0, "train", config)
    assert (len(text), image.size) == (length, (width, height))


def test_characters_that_the_font_lacks_are_refused_before_anything_is_drawn(tmp_path):
    config = replace(in_folder(tmp_path), characters="01猫犬")
    with pytest.raises(UserError, match="has no '猫'; leave it out or use another font"):
        produce("train", config)
    assert files(tmp_path) == {}


def test_characters_that_the_font_draws_alike_are_refused():
    with pytest.raises(UserError, match="draws 'A' and 'Α' alike"):  # the second one is Greek
        check_fonts(replace(SMALL, characters="AΑ"))


def test_a_file_that_is_not_a_font_is_refused_by_name(tmp_path):
    (tmp_path / "font.ttf").write_text("not a font")
    with pytest.raises(UserError, match=r"font\.ttf cannot be read"):
        check_fonts(replace(SMALL, fonts=(str(tmp_path / "font.ttf"),)))


# The files of a split


def test_one_worker_and_two_write_the_same_bytes(tmp_path):
    for workers in (1, 2):
        produce("train", replace(in_folder(tmp_path / str(workers)), workers=workers, train_count=130))
    assert files(tmp_path / "1") == files(tmp_path / "2")


def test_a_record_holds_the_png_file_its_text_and_its_index(folder):
    shard = sorted((folder / "tfrecords").glob("train-*"))[1]
    for index, features in enumerate(records(shard), start=40):
        text = features["image/text"].bytes_list.value[0].decode()
        path = folder / "images" / "train" / f"{index:08}_{text}.png"
        assert features["image/encoded"].bytes_list.value[0] == path.read_bytes()
        assert features["image/format"].bytes_list.value[0] == b"png"
        assert features["image/index"].int64_list.value[0] == index
        drawn_text, drawn = draw(index, "train", SMALL)
        assert drawn_text == text
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image), np.asarray(drawn))


def test_the_manifest_describes_every_shard_and_nothing_else(folder):
    manifest = json.loads((folder / "tfrecords" / "train.json").read_text())
    assert manifest["characters"] == "0123"
    assert (manifest["count"], manifest["seed"], manifest["width"], manifest["height"]) == (100, 1, 48, 32)
    assert [shard["records"] for shard in manifest["shards"]] == [40, 40, 20]
    assert {shard["name"] for shard in manifest["shards"]} == {p.name for p in (folder / "tfrecords").glob("train-*")}
    for shard in manifest["shards"]:
        content = (folder / "tfrecords" / shard["name"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (shard["bytes"], shard["sha256"])


def test_a_split_of_another_count_replaces_the_earlier_one_whole(folder, config):
    produce("train", replace(config, train_count=30))
    assert [path.name for path in (folder / "tfrecords").glob("train-*")] == ["train-00000-of-00001.tfrecord"]
    assert len(list((folder / "images" / "train").glob("*.png"))) == 30
    assert len(list((folder / "images" / "validation").glob("*.png"))) == 37


def test_any_characters_can_be_part_of_a_file_name(tmp_path):
    config = replace(in_folder(tmp_path), characters="/\\:*?.", train_count=20)
    produce("train", config)
    paths = list((tmp_path / "images" / "train").glob("*.png"))
    assert len(paths) == 20
    for path in paths:
        index, _, label = path.stem.partition("_")
        assert unquote(label) == draw(int(index), "train", config)[0]


def test_the_longest_text_of_any_alphabet_can_be_part_of_a_file_name(tmp_path):
    (tmp_path / image_name(0, MAX_LENGTH * "漢")).touch()


def test_without_images_only_the_records_are_written(tmp_path):
    manifest = produce("train", replace(in_folder(tmp_path), train_count=10), images=False)
    assert manifest["count"] == 10
    assert not list((tmp_path / "images").rglob("*.png"))


def test_without_images_the_pictures_of_the_replaced_split_are_removed(folder, config):
    write_sheet("train", config)
    produce("train", replace(config, seed=2, train_count=10), images=False)
    assert not [name for name in files(folder / "images") if "train" in name]
    assert len(list((folder / "images" / "validation").glob("*.png"))) == 37


def test_without_images_those_of_another_set_are_left_alone(folder, config):
    before = files(folder / "images")
    produce("train", replace(config, tfrecords_dir=str(folder / "other"), train_count=10), images=False)
    assert files(folder / "images") == before


@pytest.mark.parametrize("records_dir", ["data", "data/../data", "link"])
def test_images_and_records_may_be_in_the_same_folder(tmp_path, records_dir):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    config = replace(
        SMALL, images_dir=str(tmp_path / "data"), tfrecords_dir=str(tmp_path / records_dir), train_count=50
    )
    for seed in (1, 2):
        config = replace(config, seed=seed)
        manifest = produce("train", config)
        assert read_manifest("train", config) == manifest
    assert len(list((tmp_path / "data" / "train").glob("*.png"))) == 50
    assert len(list((tmp_path / "data").glob("train-*.tfrecord"))) == 2


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_images_for_other_uses_are_files_alone(tmp_path, suffix):
    paths = save_images(tmp_path / "some", 7, SMALL, suffix)
    assert sorted(tmp_path.rglob("*.*")) == paths
    for i, path in enumerate(paths):
        text, image = draw(i, "some", SMALL)
        assert path.name == f"{i:08}_{text}.{suffix}"
        difference = np.asarray(Image.open(path), int) - np.asarray(image, int)
        assert abs(difference).mean() < (1 if suffix == "png" else 20)


def test_images_for_other_uses_touch_no_other_files(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty; name another folder"):
        save_images(tmp_path, 3, SMALL)
    with pytest.raises(UserError, match=r"Pillow writes no \.mp3 files"):
        save_images(tmp_path / "new", 3, SMALL, "mp3")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


# The command


def test_it_draws_the_missing_splits_and_says_so(tmp_path):
    words = options(DRAWING)
    done = run("captcha_producer.py", *words, "--splits", "validation", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "validation: 37 captchas in 1 shards in tfrecords/\n"), done.stderr
    before = files(tmp_path)
    done = run("captcha_producer.py", *words, cwd=tmp_path)
    assert done.stdout.splitlines() == [
        "validation: 37 captchas are in tfrecords/ already",
        "train: 100 captchas in 3 shards in tfrecords/",
    ]
    assert before.items() <= files(tmp_path).items()


def test_progress_is_plain_lines_where_there_is_no_terminal(tmp_path):
    done = run("captcha_producer.py", *options(DRAWING), "--splits", "train", "--no-images", cwd=tmp_path)
    assert done.returncode == 0
    assert re.fullmatch(r"drawing train: 100 of 100, \d+ images/s, 0 s left\n", done.stderr)


def test_oversampling_does_not_make_the_validation_split_another_one(tmp_path):
    words = (*options(DRAWING), "--oversample_characters", "3", "--no-images")
    for already in (0, 2):
        done = run("captcha_producer.py", *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("already") == already


@pytest.mark.parametrize(
    ("other", "message"),
    [(("--seed", 2), "the train split has seed 1, not 2"), (("--train_count", 90), "has train_count 100, not 90")],
)
def test_a_split_that_is_there_and_differs_is_replaced_only_when_asked(folder, other, message):
    before = files(folder)
    words = (*options(DRAWING), *other, "--splits", "train")
    done = run("captcha_producer.py", *words, cwd=folder)
    assert done.returncode == 2 and done.stdout == ""
    (line,) = errors(done.stderr)
    assert line.startswith("captcha_producer.py: error: tfrecords: ") and message in line
    assert line.endswith(
        "; add --update to draw anew what no longer fits, --replace to draw all anew, or set another"
        " --tfrecords_dir and --images_dir"
    )
    assert files(folder) == before
    elsewhere = ("--tfrecords_dir", "elsewhere", "--images_dir", "elsewhere")
    assert run("captcha_producer.py", *words, *elsewhere, cwd=folder).returncode == 0
    assert before.items() < files(folder).items()
    assert run("captcha_producer.py", *words, "--replace", cwd=folder).returncode == 0
    assert not before.items() <= files(folder).items()


def test_a_million_png_files_and_more_are_written_only_when_asked(tmp_path):
    words = ("--splits", "train", "--train_count", 1_000_001, "--characters", "0猫")  # refused just before drawing
    done = run("captcha_producer.py", *words, cwd=tmp_path)
    assert errors(done.stderr) == [
        "captcha_producer.py: error: this would write 1000001 PNG files; add --no-images for TFRecords alone, or"
        " --images to write them too"
    ]
    for asked in ("--images", "--no-images"):
        done = run("captcha_producer.py", *words, asked, cwd=tmp_path)
        assert done.returncode == 2 and "has no '猫'" in done.stderr
    assert files(tmp_path) == {}


def test_a_million_png_files_are_written_unasked():
    args = argparse.Namespace(images=None, source=None)
    assert captcha_producer.wants_images(["train"], args, Config(train_count=1_000_000))


# What is never lost


@pytest.mark.parametrize("images", [True, False])
def test_images_that_the_producer_did_not_draw_are_never_removed(folder, config, images):
    (folder / "images" / "train" / "my holiday.png").write_bytes(b"mine")
    before = files(folder)
    with pytest.raises(UserError, match=r"holds files that the producer did not write, such as my holiday\.png"):
        produce("train", replace(config, seed=2), images=images)
    assert files(folder) == before


def test_nothing_is_drawn_if_one_of_the_splits_cannot_be_replaced(folder):
    (folder / "images" / "validation" / "my holiday.png").write_bytes(b"mine")
    before = files(folder)
    done = run("captcha_producer.py", *options(DRAWING), "--replace", "--seed", 2, cwd=folder)
    (line,) = errors(done.stderr)
    assert "images/validation: holds files that the producer did not write, such as my holiday.png" in line
    assert files(folder) == before


def test_files_that_a_file_manager_leaves_in_the_folder_do_not_matter(folder, config):
    (folder / "images" / "train" / ".DS_Store").write_bytes(b"how the folder looked")
    assert produce("train", replace(config, seed=2))["seed"] == 2


def test_a_folder_of_images_with_the_producers_names_is_not_the_producers(folder, config):
    """As after copying a set's pictures without the hidden mark."""
    (folder / "images" / "train" / ".drawn").unlink()
    before = files(folder)
    with pytest.raises(UserError, match="holds files that the producer did not write, such as 00000000_"):
        produce("train", replace(config, seed=2))
    assert files(folder) == before


def test_index_100_million_and_more_are_the_producers_own_names(folder, config):
    drawn = folder / "images" / "train"
    for index in (99_999_999, 100_000_000, 1_234_567_890):
        (drawn / f"{index}_01.png").write_bytes(b"drawn")
    produce("train", replace(config, train_count=10))
    assert len(list(drawn.glob("*.png"))) == 10


def test_the_images_of_another_existing_set_are_not_replaced(folder, config):
    before = files(folder)
    other = replace(config, tfrecords_dir=str(folder / "other"), seed=2)
    with pytest.raises(UserError, match=r"holds the pictures of the set .*tfrecords/train\.json; set another"):
        produce("train", other)
    assert files(folder) == before
    (folder / "tfrecords" / "train.json").unlink()  # that set is gone
    produce("train", other)
    assert len(list((folder / "images" / "train").glob("*.png"))) == 100


def test_another_producer_at_work_on_the_same_split_is_refused(config):
    with pytest.raises(UserError, match="another producer is making train; wait for it or stop it"):
        write_split(_meanwhile(config), 100, "train", config)


def _meanwhile(config):
    """Captchas that come while another producer begins."""
    produce("validation", config)  # another split is free
    produce("train", config)
    yield


def test_a_folder_on_another_file_system_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"ram://sets: is not on this machine; .* draw with captcha_sets.beam"):
        produce("train", replace(SMALL, tfrecords_dir="ram://sets"))
    assert not list(tmp_path.iterdir())


def test_a_file_system_that_tensorflow_does_not_know_is_one_line(tmp_path):
    done = run("captcha_producer.py", "--tfrecords_dir", "nowhere://bucket", cwd=tmp_path)
    (line,) = errors(done.stderr)
    assert done.returncode == 2 and "nowhere://bucket/train.json: cannot be read" in line


# Killed, stopped, interrupted


def drawing(folder, *words) -> tuple:
    """A producer at work on a new train split, and the processes that draw for it."""
    words = (*options(DRAWING), "--train_count", 20000, "--splits", "train", "--replace", "--workers", 2, *words)
    producer = start("captcha_producer.py", *words, cwd=folder)
    while not list((folder / "images").glob(".train.images.new/*.png")):
        assert producer.poll() is None, producer.stderr.read()
        time.sleep(0.01)
    workers = subprocess.run(["pgrep", "-P", str(producer.pid)], capture_output=True, text=True).stdout.split()
    assert len(workers) == 2
    while not all(map(catches_sigterm, workers)):
        time.sleep(0.01)
    return producer, workers


def catches_sigterm(pid: str) -> bool:
    caught = subprocess.run(["ps", "-o", "caught=", "-p", pid], capture_output=True, text=True).stdout
    return bool(int(caught, 16) >> signal.SIGTERM - 1 & 1)


def ended(pid: str) -> bool:
    """Whether a process is gone, within ten seconds."""
    for _ in range(100):
        state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True).stdout.strip()
        if not state or state.startswith("Z"):
            return True
        time.sleep(0.1)
    return False


def test_a_killed_worker_ends_the_producer_with_one_line_and_leaves_the_earlier_set(folder):
    before = files(folder)
    producer, workers = drawing(folder)
    os.kill(int(workers[0]), signal.SIGKILL)
    _, stderr = producer.communicate()
    assert errors(stderr) == [f"captcha_producer.py: error: {KILLED}"]
    assert producer.returncode == 2
    assert files(folder) == before
    assert ended(workers[1])


@pytest.mark.parametrize("seconds", [0.0, 0.4, 0.8])
def test_killed_it_leaves_the_earlier_set_and_no_worker_and_draws_the_same_later(folder, config, seconds):
    before = files(folder)
    producer, workers = drawing(folder, "--seed", 9)
    time.sleep(seconds)
    producer.kill()
    producer.wait()
    assert {name: content for name, content in files(folder).items() if ".train." not in name} == before
    assert all(ended(pid) for pid in workers)
    produce("train", config)
    assert files(folder) == before


@pytest.mark.parametrize(
    ("signal_number", "status", "message"),
    [
        (signal.SIGTERM, 143, []),
        (signal.SIGINT, 130, ["captcha_producer.py: stopped; run the same command again"]),
    ],
)
def test_stopped_it_cleans_up_says_how_to_continue_and_leaves_no_worker(folder, signal_number, status, message):
    before = files(folder)
    producer, workers = drawing(folder)
    producer.send_signal(signal_number)
    _, stderr = producer.communicate()
    assert (producer.returncode, errors(stderr)) == (status, message)
    assert files(folder) == before
    assert all(ended(pid) for pid in workers)


def test_a_signal_to_its_workers_alone_does_not_stop_it(folder):
    """Signals may reach the whole group of processes; the producer ends its workers."""
    producer, workers = drawing(folder)
    for pid in workers:
        os.kill(int(pid), signal.SIGTERM)
    time.sleep(0.5)
    assert producer.poll() is None
    producer.send_signal(signal.SIGTERM)
    assert producer.wait() == 143


def test_the_same_command_after_an_interrupt_keeps_what_is_complete(tmp_path):
    words = (*options(DRAWING), "--validation_count", 20000)
    producer = start("captcha_producer.py", *words, cwd=tmp_path)
    while not list((tmp_path / "images").glob(".validation.images.new/*.png")):
        assert producer.poll() is None
        time.sleep(0.01)
    producer.send_signal(signal.SIGINT)
    assert producer.wait() == 130
    done = run("captcha_producer.py", *options(DRAWING), cwd=tmp_path)
    assert done.stdout.splitlines() == [
        "train: 100 captchas are in tfrecords/ already",
        "validation: 37 captchas in 1 shards in tfrecords/",
    ]


# The processes that draw


UNGUARDED = """
import sys
from pathlib import Path

with open("runs.txt", "a") as runs:
    print("run", file=runs)
main = sys.modules["__main__"]

from captcha_config import Config
from captcha_sets.files import read_checksummed, write_checksummed
from captcha_sets.pool import draw_many

def check(captchas):
    first = next(captchas)
    for line in Path("/proc/self/task").glob("*/children"):
        for worker in line.read_text().split():
            libraries = Path(f"/proc/{worker}/maps").read_text()
            assert "_imaging" in libraries  # Pillow, so the worker is at work
            assert "tensorflow" not in libraries
            print("worker")
    assert sys.modules["__main__"] is main
    assert not [name for name in sys.modules if name.startswith(("multiprocessing", "tensorflow"))]
    return [first, *captchas]

print(len(check(draw_many(range(120), "train", Config(workers=2)))))
"""


def test_a_script_without_a_main_guard_can_draw(tmp_path):
    """Its workers import neither the script nor TensorFlow, and neither it nor they need multiprocessing."""
    (tmp_path / "script.py").write_text(UNGUARDED)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["worker", "worker", "120"], done.stderr
    assert (tmp_path / "runs.txt").read_text().split() == ["run"]


def test_captchas_come_in_order_whichever_worker_draws_them():
    drawn = list(draw_many(range(7, 400, 3), "train", replace(SMALL, workers=3)))
    assert [text for text, _ in drawn] == [draw(i, "train", SMALL)[0] for i in range(7, 400, 3)]


# What an error advises


def advised(message: str) -> list[str]:
    """The arguments of the producer's command in a message."""
    command = message.partition("python captcha_producer.py ")[2]
    assert command, message
    return shlex.split(command)


def follow(message: str, folder: Path) -> list[str]:
    """Run the advised command as it stands, in the folder where the message appeared."""
    words = advised(message)
    done = run("captcha_producer.py", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    return words


@pytest.fixture
def here(folder, monkeypatch):
    """The working folder, as the current one, and a config with the folders' default names."""
    monkeypatch.chdir(folder)
    return replace(SMALL, width=100, height=40)  # the set in tfrecords/ is of 48x32


def test_the_advised_command_draws_a_missing_set_in_its_own_folder(here, folder):
    before = files(folder)
    config = replace(here, tfrecords_dir="other", train_count=60)
    with pytest.raises(UserError, match=r"other/train\.json: there is no such set; draw it: ") as caught:
        read_manifest("train", config)
    follow(str(caught.value), folder)
    assert read_manifest("train", config)["count"] == 60
    assert before.items() <= files(folder).items()  # the set in tfrecords/ and its pictures are as before


def test_the_advised_command_replaces_a_set_of_other_captchas(here, folder):
    with pytest.raises(UserError, match=r"the set has width 48, not 100; height 32, not 40; .*or replace the set") as c:
        read_manifest("train", here)
    words = follow(str(c.value), folder)
    assert "--replace" in words
    assert read_manifest("train", here)["count"] == 100
    assert len(list((folder / "images" / "train").glob("*.png"))) == 100


@pytest.mark.parametrize("damage", ["cut", "another version"])
def test_the_advised_command_replaces_a_damaged_manifest(here, folder, damage):
    path = folder / "tfrecords" / "train.json"
    content = read_checksummed(path)
    if damage == "cut":
        path.write_text(path.read_text()[:100])
    else:
        write_checksummed(path, content | {"format": 1})
    with pytest.raises(UserError, match="make the set again: ") as caught:
        read_manifest("train", SMALL)
    follow(str(caught.value), folder)
    assert {**read_checksummed(path), "shards": []} == {**content, "shards": []}


def test_the_advised_command_makes_a_damaged_set_again_as_it_was(here, folder):
    """With its own font sizes, seed and count, whatever the config that reads it says of them."""
    small = options(("characters", "length", "width", "height", "font_sizes", "images_per_shard"))
    words = (*small, "--train_count", 70, "--seed", 5, "--oversample_characters", 0, "--tfrecords_dir", "other")
    assert run("captcha_producer.py", *words, "--splits", "train", "--no-images", cwd=folder).returncode == 0
    before = files(folder)
    reader = Config(characters="0123", length=2, width=48, height=32, tfrecords_dir="other")
    (folder / "other" / "train-00001-of-00002.tfrecord").unlink()
    with pytest.raises(UserError, match="the shard is missing; copy that file again, or make the set again") as caught:
        check_shards(manifest_for_model("train", reader), reader)
    follow(str(caught.value), folder)
    assert files(folder) == before


def test_characters_that_begin_with_a_dash_are_read_as_the_advised_command_has_them(tmp_path):
    config = Config(characters="-+0123", tfrecords_dir=str(tmp_path))
    assert "--characters=-+0123" in shlex.split(make_command("validation", config))


def test_the_advised_command_is_the_producers_own_for_the_folders_of_the_trainer(here):
    config = replace(here, tfrecords_dir="o'ther", images_dir="pictures", characters="0 '\"1".replace(" ", ""))
    words = shlex.split(make_command("validation", config))
    assert words[words.index("--tfrecords_dir") + 1] == "o'ther"
    assert words[words.index("--images_dir") + 1] == "pictures"
    assert words[words.index("--characters") + 1] == "0'\"1"
    assert "--no-images" not in words
