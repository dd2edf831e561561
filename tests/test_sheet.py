"""The sheet: a picture of a split's first captchas, and how often each character is where."""

import struct
from dataclasses import replace

from captcha_cli import UserError
from captcha_sets.draw import draw
from captcha_sets.drawing import produce
from captcha_sets.importing import import_images
from captcha_sets.sheet import contact_sheet, write_sheet

import numpy as np
import pytest
from conftest import DRAWING, SMALL, errors, files, in_folder, options, run
from PIL import Image

GAP = 8  # pixels between two images


def test_the_producer_writes_a_sheet_of_the_first_captchas_beside_the_images(tmp_path):
    words = (*options(DRAWING), "--splits", "train")
    done = run("captcha_producer.py", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    sheet = np.asarray(Image.open(tmp_path / "images" / "train.png"))
    for i in (0, 7, 47):
        top, left = GAP + i // 6 * (32 + GAP), GAP + i % 6 * (48 + GAP)
        assert np.array_equal(sheet[top : top + 32, left : left + 48], np.asarray(draw(i, "train", SMALL)[1]))
    done = run("captcha_producer.py", *words, "--replace", "--seed", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not np.array_equal(sheet, np.asarray(Image.open(tmp_path / "images" / "train.png")))


def test_without_images_there_is_no_sheet(tmp_path):
    done = run("captcha_producer.py", *options(DRAWING), "--splits", "train", "--no-images", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "images" / "train.png").exists()


@pytest.mark.parametrize("kind", ["a picture of ours", "a text", "a damaged picture"])
def test_the_sheet_never_overwrites_a_file_that_the_producer_did_not_write(folder, config, kind):
    path = folder / "images" / "train.png"
    if kind == "a text":
        path.write_text("mine")
    elif kind == "a damaged picture":
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 4) + b"IHDR" + bytes(8))
    else:
        Image.new("RGB", (4, 4)).save(path)
    before = files(folder)
    message = r"images/train\.png: is a file that the producer did not write; move it, or set another --images_dir"
    for write in (lambda: write_sheet("train", config), lambda: produce("train", replace(config, seed=2))):
        with pytest.raises(UserError, match=message):
            write()
        assert files(folder) == before


def test_the_name_of_a_source_is_printed_as_it_is(folder, tmp_path):
    source = tmp_path / "my[red]" / "a[/b]"
    source.mkdir(parents=True)
    for i in range(4):
        draw(i, "mine", SMALL)[1].save(source / f"{i}_01.png")
    import_images(source, ("train",), in_folder(tmp_path))
    done = run("captcha_sets.sheet", "train", cwd=tmp_path)
    assert f"imported from {source} (4 of 48x32)" in done.stdout, done.stderr


def test_the_command_counts_each_character_at_each_position(folder):
    texts = [draw(i, "train", SMALL)[0] for i in range(100)]
    done = run("captcha_sets.sheet", "train", cwd=folder)  # characters and size are those of the set
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("train: 100 captchas of 48x32, drawn with seed 1\n")
    rows = [line.replace("│", " ").split() for line in done.stdout.splitlines() if line.startswith("│")]
    assert rows == [
        [character, *(str(sum(text[position] == character for text in texts)) for position in (0, 1)),
         str("".join(texts).count(character))] for character in "0123"
    ]  # fmt: skip
    assert done.stdout.endswith("the first of them: images/train.png\n")
    assert Image.open(folder / "images" / "train.png").size == (6 * (48 + GAP) + GAP, 8 * (32 + GAP) + GAP)


def test_a_split_that_does_not_exist_is_one_line(tmp_path):
    done = run("captcha_sets.sheet", "train", cwd=tmp_path)
    (line,) = errors(done.stderr)
    assert done.returncode == 2 and "tfrecords/train.json: there is no such set; draw it: " in line


def test_a_split_that_cannot_exist_is_one_line(tmp_path):
    done = run("captcha_sets.sheet", "test", cwd=tmp_path)
    (line,) = errors(done.stderr)
    assert done.returncode == 2 and "invalid choice: 'test' (choose from " in line


@pytest.mark.parametrize("captions", [(), ("first", "second", "third", "fourth")])
def test_a_contact_sheet_shows_images_in_rows_with_captions_below(captions):
    images = [draw(i, "sheet", SMALL)[1] for i in range(4)]
    sheet = np.asarray(contact_sheet(images, 3, captions))
    line = 12 if captions else 0
    assert sheet.shape == (GAP + 2 * (32 + GAP + line), GAP + 3 * (48 + GAP), 3)
    for i, image in enumerate(images):
        top, left = GAP + i // 3 * (32 + GAP + line), GAP + i % 3 * (48 + GAP)
        assert np.array_equal(sheet[top : top + 32, left : left + 48], np.asarray(image))
        below = sheet[top + 32 : top + 32 + GAP + line, left : left + 48]
        assert (below.min() < 128) == bool(captions)
