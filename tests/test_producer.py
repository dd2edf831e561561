import collections
import hashlib
import json
import signal
import subprocess
import time
from dataclasses import replace
from urllib.parse import unquote

import captcha_draw
from captcha_config import Config, UserError
from captcha_producer import produce

import numpy as np
import pytest
import tensorflow as tf
from conftest import DRAWING, SMALL, command, files, options, own_lines, run
from PIL import Image


def records(path):
    for serialized in tf.data.TFRecordDataset(str(path)):
        yield tf.train.Example.FromString(serialized.numpy()).features.feature


def test_the_same_seed_gives_the_same_bytes_with_one_worker_and_with_two(tmp_path):
    for workers in (1, 2):
        config = replace(SMALL, workers=workers, tfrecords_dir=str(tmp_path / f"{workers}" / "tfrecords"))
        produce(130, tmp_path / f"{workers}" / "images" / "train", config)
    assert files(tmp_path / "1") == files(tmp_path / "2")


def test_another_seed_or_another_split_draws_other_captchas():
    pixels = {draw[1].tobytes() for draw in (
        captcha_draw.draw(0, "train", SMALL),
        captcha_draw.draw(0, "validation", SMALL),
        captcha_draw.draw(0, "train", replace(SMALL, seed=2)),
        captcha_draw.draw(1, "train", SMALL),
    )}  # fmt: skip
    assert len(pixels) == 4


def test_a_draw_does_not_depend_on_the_draws_before_it():
    alone = captcha_draw.draw(5, "train", SMALL)[1].tobytes()
    for index in range(5):
        captcha_draw.draw(index, "train", SMALL)
    assert captcha_draw.draw(5, "train", SMALL)[1].tobytes() == alone


def test_the_library_draws_the_pixels_when_its_randomness_is_replaced(monkeypatch):
    """Against an independent reference: the public captcha module, its `secrets` exchanged by hand."""
    import random

    import captcha.image

    config = Config()
    text, image = captcha_draw.draw(3, "train", config)
    rng = random.Random("1/train/3")

    class Secrets:
        randbelow, randbits, choice = rng.randrange, rng.getrandbits, rng.choice

    monkeypatch.setattr(captcha.image, "secrets", Secrets)
    assert "".join(rng.choices("0123456789", k=4)) == text
    expected = captcha.image.ImageCaptcha(128, 64, font_sizes=(40,)).generate_image(text)
    assert expected.tobytes() == image.tobytes()


def test_half_of_the_characters_are_those_that_shall_come_often():
    texts = [captcha_draw.draw(i, "train", replace(SMALL, often="3"))[0] for i in range(500)]
    counts = collections.Counter("".join(texts))
    assert counts["3"] == pytest.approx(500, abs=70)  # four and a half deviations
    for other in "012":
        assert counts[other] == pytest.approx(500 / 3, abs=60)


def test_a_record_holds_the_png_its_text_and_its_index(folder):
    shard = sorted((folder / "tfrecords").glob("train-*"))[1]
    for index, features in enumerate(records(shard), start=40):
        text = features["image/text"].bytes_list.value[0].decode()
        png = (folder / "images" / "train" / f"{index:08}_{text}.png").read_bytes()
        assert features["image/encoded"].bytes_list.value[0] == png
        assert features["image/format"].bytes_list.value[0] == b"png"
        assert features["image/index"].int64_list.value[0] == index
        drawn_text, drawn = captcha_draw.draw(index, "train", SMALL)
        assert drawn_text == text
        with Image.open(folder / "images" / "train" / f"{index:08}_{text}.png") as image:
            assert np.array_equal(np.asarray(image), np.asarray(drawn))


def test_the_manifest_tells_all_there_is_and_nothing_else(folder):
    manifest = json.loads((folder / "tfrecords" / "train.json").read_text())
    assert manifest["characters"] == "0123"
    assert (manifest["count"], manifest["seed"], manifest["width"], manifest["height"]) == (100, 1, 48, 32)
    assert [shard["records"] for shard in manifest["shards"]] == [40, 40, 20]
    assert {shard["name"] for shard in manifest["shards"]} == {p.name for p in (folder / "tfrecords").glob("train-*")}
    for shard in manifest["shards"]:
        content = (folder / "tfrecords" / shard["name"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (shard["bytes"], shard["sha256"])


def test_a_set_of_another_number_replaces_the_old_one_whole(folder, config):
    produce(30, folder / "images" / "train", config)
    assert [path.name for path in (folder / "tfrecords").glob("train-*")] == ["train-00000-of-00001.tfrecord"]
    assert len(list((folder / "images" / "train").glob("*.png"))) == 30
    assert len(list((folder / "images" / "validation").glob("*.png"))) == 37


def test_no_images_writes_the_records_alone(tmp_path):
    config = replace(SMALL, tfrecords_dir=str(tmp_path / "tfrecords"))
    manifest = produce(10, tmp_path / "images" / "train", config, images=False)
    assert manifest["count"] == 10
    assert not list((tmp_path / "images").rglob("*.png"))


def test_no_images_leaves_the_images_of_another_set_alone(folder, config):
    before = files(folder / "images")
    produce(10, folder / "images" / "train", replace(config, tfrecords_dir=str(folder / "other")), images=False)
    assert files(folder / "images") == before


def test_a_worker_that_is_killed_ends_the_producer_with_one_line_and_the_earlier_set(folder):
    before = files(folder)
    producer, _ = _drawing(folder, stderr=subprocess.PIPE)
    subprocess.run(["pkill", "-KILL", "-f", "spawn_main", "-P", str(producer.pid)], check=True)
    _, said = producer.communicate(timeout=60)
    assert own_lines(said) == [
        "captcha_producer.py: error: a process that draws was killed; make room in memory, or use fewer (--workers)"
    ]
    assert producer.returncode == 2
    assert files(folder) == before


def test_images_that_the_producer_did_not_draw_are_never_removed(folder, config):
    (folder / "images" / "train" / "my holiday.png").write_bytes(b"mine")
    before = files(folder)
    with pytest.raises(UserError, match=r"holds files that the producer did not draw, such as my holiday\.png"):
        produce(30, folder / "images" / "train", config)
    assert files(folder) == before


@pytest.mark.parametrize("seconds", [0.2, 0.6, 1.2])
def test_killed_while_drawing_it_leaves_the_earlier_set_and_draws_the_same_one_later(folder, config, seconds):
    before = files(folder)
    args = (*options(DRAWING), "-n", 20000, "-p", "images/train", "--seed", "9", "--workers", "2")
    producer = subprocess.Popen(command("captcha_producer.py", *args), cwd=folder, stderr=subprocess.DEVNULL)
    while not list((folder / "tfrecords").glob(".train.new/train-00000*")):
        time.sleep(0.01)
    time.sleep(seconds)
    producer.send_signal(signal.SIGKILL)
    producer.wait()
    assert {name: content for name, content in files(folder).items() if ".train.new" not in name} == before
    produce(100, folder / "images" / "train", config)
    assert files(folder) == before


def test_stopped_by_a_signal_it_sweeps_up_and_leaves_no_worker(folder):
    before = files(folder)
    producer, workers = _drawing(folder)
    producer.send_signal(signal.SIGTERM)
    assert producer.wait(timeout=60) == 143
    assert files(folder) == before
    assert not any(_alive(pid) for pid in workers)


def test_killed_it_leaves_no_worker_behind(folder):
    producer, workers = _drawing(folder)
    producer.kill()
    producer.wait()
    ends = time.monotonic() + 20
    while any(_alive(pid) for pid in workers) and time.monotonic() < ends:
        time.sleep(0.1)
    assert not any(_alive(pid) for pid in workers)


def _drawing(folder, stderr=subprocess.DEVNULL):
    """A producer at work, and the processes that draw for it."""
    args = (*options(DRAWING), "-n", 20000, "-p", "images/train", "--workers", "2")
    producer = subprocess.Popen(command("captcha_producer.py", *args), cwd=folder, stderr=stderr, text=True)
    workers: list[str] = []
    while len(workers) < 2:  # Python's own resource tracker may be one of them: it ends with the others
        time.sleep(0.01)
        workers = subprocess.run(["pgrep", "-P", str(producer.pid)], capture_output=True, text=True).stdout.split()
    time.sleep(0.5)
    return producer, workers


def _alive(pid: str) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def test_characters_that_the_font_cannot_draw_are_refused_before_anything_is_drawn(tmp_path):
    config = replace(SMALL, characters="01猫犬", tfrecords_dir=str(tmp_path / "tfrecords"))
    with pytest.raises(UserError, match="has no '猫'; leave it out or use another font"):
        produce(10, tmp_path / "images" / "train", config)
    assert files(tmp_path) == {}


def test_characters_that_the_font_draws_alike_are_refused(tmp_path):
    with pytest.raises(UserError, match="draws 'A' and 'Α' alike"):  # the second one is Greek
        captcha_draw.check_fonts(replace(SMALL, characters="AΑ"))


def test_a_font_that_is_none_is_refused_by_name(tmp_path):
    (tmp_path / "font.ttf").write_text("no font")
    with pytest.raises(UserError, match=r"font\.ttf cannot be read"):
        captcha_draw.check_fonts(replace(SMALL, fonts=(str(tmp_path / "font.ttf"),)))


def test_any_characters_can_be_a_file_name(tmp_path):
    config = replace(SMALL, characters="/\\:*?.", tfrecords_dir=str(tmp_path / "tfrecords"))
    produce(20, tmp_path / "images" / "train", config)
    for path in (tmp_path / "images" / "train").glob("*.png"):
        index, _, label = path.stem.partition("_")
        assert unquote(label) == captcha_draw.draw(int(index), "train", config)[0]


@pytest.mark.parametrize(("width", "height", "size", "length"), [(16, 16, 8, 1), (300, 40, 30, 9), (33, 61, 17, 3)])
def test_any_size_and_any_length_draw(width, height, size, length):
    config = Config(width=width, height=height, font_sizes=(size,), length=length)
    text, image = captcha_draw.draw(0, "train", config)
    assert (len(text), image.size) == (length, (width, height))


def test_progress_is_plain_lines_where_there_is_no_terminal(tmp_path):
    done = run("captcha_producer.py", *options(DRAWING), "-n", 60, "-p", "images/train", cwd=tmp_path)
    assert done.returncode == 0
    assert "drawing train: 60 of 60, " in done.stderr
    assert done.stdout == "train: 60 captchas in 2 shards in tfrecords/\n"


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_captchas_for_other_uses_are_files_alone(tmp_path, suffix):
    paths = captcha_draw.save_images(tmp_path / "some", 7, SMALL, suffix)
    assert sorted(tmp_path.rglob("*.*")) == paths
    for i, path in enumerate(paths):
        text, image = captcha_draw.draw(i, "some", SMALL)
        assert path.name == f"{i:08}_{text}.{suffix}"
        difference = np.asarray(Image.open(path), int) - np.asarray(image, int)
        assert abs(difference).mean() < (1 if suffix == "png" else 20)


def test_captchas_for_other_uses_touch_no_files_of_others(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty; name another folder"):
        captcha_draw.save_images(tmp_path, 3, SMALL)
    with pytest.raises(UserError, match=r"Pillow writes no \.mp3 files"):
        captcha_draw.save_images(tmp_path / "new", 3, SMALL, "mp3")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_beside_the_images_lies_a_sheet_of_the_first(tmp_path):
    done = run("captcha_producer.py", "-n", 9, "-p", "images/new", *options(DRAWING), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    sheet = np.asarray(Image.open(tmp_path / "images" / "new.png"))
    assert np.array_equal(sheet[8:40, 8:56], np.asarray(captcha_draw.draw(0, "new", SMALL)[1]))
    done = run("captcha_producer.py", "-n", 9, "-p", "images/bare", "--no-images", *options(DRAWING), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "images" / "bare.png").exists()
