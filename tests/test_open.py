import contextlib
import io
import json
import subprocess
import sys
from dataclasses import replace

import captcha_data
import captcha_draw
import captcha_evaluate
import captcha_train
from captcha_config import UserError
from captcha_open import open_image
from captcha_producer import take_in
from captcha_show import contact_sheet

import numpy as np
import pytest
from conftest import DRAWING, ROOT, SMALL, files, options, own_lines, run
from PIL import Image


def picture(format="png"):
    encoded = io.BytesIO()
    captcha_draw.draw(0, "own", SMALL)[1].save(encoded, format=format)
    return encoded.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is neither a PNG nor a JPEG"),
        (b"not an image", "is neither a PNG nor a JPEG"),
        (picture("gif"), "is neither a PNG nor a JPEG"),
        (picture("tiff"), "is neither a PNG nor a JPEG"),
        (picture()[: len(picture()) // 2], "cannot be read"),
        (picture("jpeg")[: len(picture("jpeg")) // 2], "cannot be read"),
        (picture() + bytes(10_000_001), "more than 10000000; make it smaller"),
    ],
    ids=["empty", "text", "gif", "tiff", "half a png", "half a jpeg", "too many bytes"],
)
def test_what_is_no_whole_image_is_refused_in_one_line(tmp_path, content, said):
    path = tmp_path / "2704.png"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        open_image(path)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_png_cut_anywhere_is_refused_or_is_the_same_picture(tmp_path):
    whole, path = picture(), tmp_path / "cut.png"
    path.write_bytes(whole)
    pixels = open_image(path).tobytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with contextlib.suppress(UserError):
            assert open_image(path).tobytes() == pixels


def test_a_flipped_bit_in_the_pixels_of_a_png_is_found(tmp_path):
    content, path = bytearray(picture()), tmp_path / "flipped.png"
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read"):
        open_image(path)


def test_jpeg_and_png_open_whatever_their_name(tmp_path):
    (tmp_path / "a.png").write_bytes(picture("jpeg"))
    (tmp_path / "b.jpg").write_bytes(picture("png"))
    assert open_image(tmp_path / "a.png").size == open_image(tmp_path / "b.jpg").size == (48, 32)
    assert np.array_equal(open_image(tmp_path / "b.jpg"), captcha_draw.draw(0, "own", SMALL)[1])


def test_what_is_transparent_becomes_white(tmp_path):
    Image.new("RGBA", (48, 32), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("P", (48, 32)).save(tmp_path / "palette.png", transparency=0)
    for name in ("clear.png", "palette.png"):
        assert open_image(tmp_path / name).getextrema() == ((255, 255),) * 3


def test_sixteen_bits_are_scaled(tmp_path):
    Image.fromarray(np.full((32, 48), 0x8000, np.uint16)).save(tmp_path / "deep.png")
    assert open_image(tmp_path / "deep.png").getpixel((0, 0)) == (128, 128, 128)


def test_a_small_file_of_484_megapixels_is_refused_by_its_header_in_little_memory(tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("1", (22000, 22000)).save(path)
    assert path.stat().st_size < 100_000
    code = f"""if True:
        import sys
        sys.path.insert(0, {str(ROOT)!r})
        from pathlib import Path
        from captcha_open import UserError, open_image
        try:
            open_image(Path({str(path)!r}))
        except UserError as error:
            print(error)
        print(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    said, kilobytes = done.stdout.splitlines()
    assert said == f"{path}: has far more than 16000000 pixels; shrink it"
    assert int(kilobytes) < 200_000
    assert not done.stderr


def test_a_hundred_megapixels_are_refused_without_a_warning_of_pillows(tmp_path, recwarn):
    Image.new("1", (10000, 10000)).save(tmp_path / "large.png")
    with pytest.raises(UserError, match=r"has 10000x10000 pixels, more than 16000000; shrink it"):
        open_image(tmp_path / "large.png")
    assert not recwarn.list


@pytest.fixture
def own(tmp_path):
    """Eight labelled images of another size than the config's, named in both ways."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for i in range(8):
        text, image = captcha_draw.draw(i, "own", replace(SMALL, width=96, height=64, font_sizes=(40,)))
        image.save(folder / (f"photo_{i}_{text}.png" if i % 2 else f"{i}_{text}.jpg"))
    return folder


def test_own_images_become_a_split_at_the_configs_size(own, tmp_path):
    config = replace(SMALL, tfrecords_dir=str(tmp_path / "tfrecords"))
    (manifest,) = take_in(own, tmp_path / "images" / "train", config)
    images, labels = captcha_data.load("train", config)
    assert (manifest["count"], manifest["source"], images.shape) == (8, "mine", (8, 32, 48, 1))
    texts = sorted(path.stem.rpartition("_")[2] for path in own.iterdir())
    assert sorted("".join("0123"[label] for label in row) for row in labels) == texts


def test_every_problem_is_listed_at_once_and_nothing_is_written(own, tmp_path):
    (own / "notes.txt").write_text("notes")
    (own / "long_0123.png").write_bytes(picture())
    (own / "letter_0x.png").write_bytes(picture())
    (own / "half_01.png").write_bytes(picture()[:500])
    (own / "same_00.jpg").write_bytes((own / sorted(path.name for path in own.glob("0_*"))[0]).read_bytes())
    before = files(tmp_path)
    done = run("captcha_producer.py", "--source", own, "-p", "images/train", *options(DRAWING), cwd=tmp_path)
    assert done.returncode == 2
    assert files(tmp_path) == before
    problems = own_lines(done.stderr) + [line for line in done.stderr.splitlines() if line.startswith("  ")]
    assert len(problems) == 6
    assert "nothing was written; mend these, or leave them out with --leave-out" in problems[0]
    for said in (
        "half_01.png: cannot be read",
        "letter_0x.png: the label '0x' has 'x', which is not in the characters",
        "long_0123.png: the label '0123' has 4 characters, not 2",
        "notes.txt: is neither a PNG nor a JPEG",
        "same_00.jpg: shows the same as 0_",
    ):
        assert sum(said in line for line in problems) == 1, said


def test_a_csv_file_gives_the_labels(own, tmp_path):
    """As a spreadsheet writes it: with a mark of its encoding, and a column of its own."""
    paths = sorted(own.iterdir())
    texts = {}
    for i, path in enumerate(paths):
        texts[f"scan {i}{path.suffix}"] = path.stem.rpartition("_")[2]
        path.rename(own / f"scan {i}{path.suffix}")
    lines = "\n".join(f"{text},{name},good" for name, text in texts.items())
    (own / "labels.csv").write_text(f"label,file,quality\n{lines}\n", encoding="utf-8-sig")
    config = replace(SMALL, tfrecords_dir=str(tmp_path / "tfrecords"))
    take_in(own / "labels.csv", tmp_path / "images" / "train", config)
    _, labels = captcha_data.load("train", config)
    assert ["".join("0123"[label] for label in row) for row in labels] == list(texts.values())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name,text\na.png,01\n", "its first line must name the columns: file,label"),
        ("", "its first line must name the columns: file,label"),
        ("file,label\na.png\n", "line 2 has not a file and a label"),
        ("file,label\nmissing.png,01\n", "missing.png: cannot be read (No such file or directory)"),
        ("file,label\n", "0 images that can be used are too few"),
        (b"file,label\n\xff.png,01\n", "is no CSV file in UTF-8"),
    ],
)
def test_a_csv_file_that_is_wrong_is_refused(tmp_path, content, said):
    (tmp_path / "labels.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        take_in(tmp_path / "labels.csv", tmp_path / "images" / "train", SMALL)
    assert said in str(caught.value)
    assert not (tmp_path / "images").exists()


def test_a_part_is_kept_for_validation_chosen_by_the_seed(own, tmp_path):
    texts = {path.read_bytes(): path.stem.rpartition("_")[2] for path in own.iterdir()}
    chosen = []
    for seed in (1, 1, 2, 3):
        config = replace(SMALL, tfrecords_dir=str(tmp_path / "tfrecords"), seed=seed)
        made = take_in(own, tmp_path / "images" / "train", config, validation=0.25)
        assert [(manifest["split"], manifest["count"]) for manifest in made] == [("train", 6), ("validation", 2)]
        (train, _), (validation, labels) = (captcha_data.load(split, config) for split in ("train", "validation"))
        assert len({image.tobytes() for image in [*train, *validation]}) == 8  # each in one of the two
        chosen.append(validation.tobytes())
    assert chosen[0] == chosen[1] and len(set(chosen)) > 1
    assert all("".join("0123"[i] for i in row) in texts.values() for row in labels)


def test_a_part_of_too_few_images_is_refused(own, tmp_path):
    for share in (0.01, 0.99):
        with pytest.raises(UserError, match="8 images that can be used are too few"):
            take_in(own, tmp_path / "images" / "train", SMALL, validation=share)


def test_stats_count_each_character_at_each_place(own, tmp_path):
    (own / "0_123.png").unlink(missing_ok=True)
    texts = [path.stem.rpartition("_")[2] for path in own.iterdir()]
    done = run("captcha_producer.py", "--source", own, "-p", "images/train", *options(DRAWING), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run("captcha_producer.py", "--stats", "-p", "images/train", cwd=tmp_path)  # characters: as in the set
    assert "train: 8 captchas of 48x32, taken in from mine (8 of 96x64)" in done.stdout
    rows = [line.replace("│", " ").split() for line in done.stdout.splitlines() if line.startswith("│")]
    assert rows == [
        [character, *(str(sum(text[place] == character for text in texts)) for place in (0, 1)),
         str("".join(texts).count(character))] for character in "0123"
    ]  # fmt: skip
    sheet = Image.open(tmp_path / "images" / "train.png")
    assert sheet.width >= 6 * 48 and sheet.height >= 2 * 32


def test_the_sheet_shows_the_first_images_in_rows(own, tmp_path):
    images = [open_image(path).resize((48, 32)) for path in sorted(own.iterdir())]
    sheet = np.asarray(contact_sheet(images, 3))
    gap = 8
    for i, image in enumerate(images):
        top, left = gap + i // 3 * (32 + gap), gap + i % 3 * (48 + gap)
        assert np.array_equal(sheet[top : top + 32, left : left + 48], np.asarray(image))
    assert sheet.shape == (gap + 3 * (32 + gap), gap + 3 * (48 + gap), 3)


def test_what_cannot_be_used_is_left_out_when_asked(own, tmp_path):
    (own / "notes.txt").write_text("notes")
    args = ("--source", own, "-p", "images/train", "--leave-out", *options(DRAWING))
    done = run("captcha_producer.py", *args, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "train: 8 captchas in 1 shards in tfrecords/\n"), done.stderr
    assert json.loads((tmp_path / "tfrecords" / "train.json").read_text())["count"] == 8


@pytest.mark.parametrize("make", [False, True])
def test_a_folder_that_is_missing_or_empty_is_refused(tmp_path, make):
    if make:
        (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="has no images" if make else "is no folder and no CSV file"):
        take_in(tmp_path / "mine", tmp_path / "images" / "train", SMALL)


def test_a_network_of_own_images_is_scored_on_them_and_not_on_drawn_ones(own, tmp_path):
    config = replace(SMALL, tfrecords_dir=str(tmp_path / "tfrecords"), save_dir=str(tmp_path / "save"), batch_size=4)
    for split in ("train", "validation"):
        take_in(own, tmp_path / "images" / split, config)
    captcha_train.train(config)
    assert captcha_evaluate.evaluate(config)["count"] == 8
    with pytest.raises(UserError, match="was trained on the images of mine, which cannot be drawn"):
        captcha_evaluate.evaluate(config, fresh=10)
