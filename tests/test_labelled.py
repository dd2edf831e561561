"""Importing images that people label themselves."""

import json
from dataclasses import replace

import captcha_data
import captcha_evaluate
import captcha_train
from captcha_cli import UserError
from captcha_sets.draw import draw, png
from captcha_sets.importing import import_images
from captcha_sets.labelled import labelled_images
from captcha_sets.manifest import SPLITS, TRAIN, like_sets, make_command, read_manifest
from captcha_sets.shards import image_name

import numpy as np
import pytest
from conftest import DRAWING, IMPORTING, SMALL, errors, files, in_folder, options, run
from PIL import Image
from test_producer import follow


@pytest.fixture
def mine(tmp_path):
    """Eight labelled images of another size than the config's, named in both ways."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for i in range(8):
        text, image = draw(i, "own", replace(SMALL, width=96, height=64, font_sizes=(40,)))
        image.save(folder / (f"photo_{i}_{text}.png" if i % 2 else f"{i}_{text}.jpg"))
    return folder


@pytest.fixture
def small(tmp_path):
    """The small config, pointed at the test's folder, which has no sets yet."""
    return in_folder(tmp_path)


def everything(split, config):
    """The images and the texts of a split."""
    records = captcha_data.open_pixels(read_manifest(split, config), config)
    images, labels = (np.concatenate(part) for part in zip(*captcha_data.evaluation_batches(records, 64), strict=True))
    return images, ["".join(config.characters[label] for label in row) for row in labels]


def text_of(path):
    return path.stem.rpartition("_")[2]


def test_own_images_become_a_split_at_the_size_that_was_typed(mine, small):
    square = replace(small, width=40, height=40)
    (manifest,) = import_images(mine, (TRAIN,), square, typed={"width", "height"})
    images, texts = everything(TRAIN, square)
    assert (manifest["count"], manifest["source"], images.shape) == (8, str(mine), (8, 40, 40, 1))
    assert manifest["sizes"] == {"96x64": 8}
    assert sorted(texts) == sorted(map(text_of, mine.iterdir()))


def test_every_problem_is_listed_at_once_and_nothing_is_written(mine, tmp_path):
    picture = png(draw(0, "other", SMALL)[1])
    (mine / "notes.txt").write_text("notes")
    (mine / "long_0123.png").write_bytes(picture)
    (mine / "letter_0x.png").write_bytes(picture)
    (mine / "half_01.png").write_bytes(picture[:500])
    (mine / "same_00.jpg").write_bytes(next(mine.glob("0_*")).read_bytes())
    before = files(tmp_path)
    done = run("captcha_producer.py", "--source", mine, "--splits", "train", *options(IMPORTING), cwd=tmp_path)
    assert done.returncode == 2
    assert files(tmp_path) == before
    heading, *problems = errors(done.stderr)
    assert "nothing was written; correct these files, or leave them out with --leave-out:" in heading
    assert len(problems) == 5
    for expected in (
        "half_01.png: cannot be read",
        "letter_0x.png: the label '0x' has 'x', which is not one of the characters",
        "long_0123.png: the label '0123' has 4 characters, not 2",
        "notes.txt: is not a PNG, JPEG, GIF, WebP or BMP file",
        "same_00.jpg: shows the same image as 0_",
    ):
        assert sum(expected in line for line in problems) == 1, expected


def test_blank_images_of_different_sizes_are_different(tmp_path):
    for i, size in enumerate([(20, 16), (16, 20)]):
        Image.new("RGB", size).save(tmp_path / f"{i}_01.png")
    good, problems = labelled_images(tmp_path, SMALL)
    assert (len(good), problems) == (2, [])


def test_files_that_cannot_be_used_are_left_out_when_asked(mine, tmp_path):
    (mine / "notes.txt").write_text("notes")
    words = ("--source", mine, "--splits", "train", "--leave-out", *options(IMPORTING))
    done = run("captcha_producer.py", *words, cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()) == (0, [
        f"left out: {mine}/notes.txt: is not a PNG, JPEG, GIF, WebP or BMP file; convert it or leave it out",
        f"{mine}: 8 images with 2 of 4 characters (0123), imported at 48x32",
        "train: 8 captchas in 1 shards in tfrecords/",
    ]), done.stderr  # fmt: skip
    assert json.loads((tmp_path / "tfrecords" / "train.json").read_text())["count"] == 8
    assert (tmp_path / "images" / "train.png").exists()


@pytest.mark.parametrize("option", ["--leave-out", "--ignore_case"])
def test_some_options_are_for_imports_alone(tmp_path, option):
    done = run("captcha_producer.py", option, cwd=tmp_path)
    assert errors(done.stderr) == [
        "captcha_producer.py: error: --leave-out, --ignore_case, --unlabelled, --init_from, --validation_share need"
        " --source"
    ]
    assert files(tmp_path) == {}


def test_of_one_split_no_share_is_held_out(mine, tmp_path):
    words = ("--source", mine, "--splits", "train", "--validation_share", 0.3)
    done = run("captcha_producer.py", *words, cwd=tmp_path)
    assert errors(done.stderr) == [
        "captcha_producer.py: error: --validation_share divides images between both splits; leave it out where --splits"
        " names one"
    ]


def test_some_options_are_for_drawing_alone(mine, tmp_path):
    done = run("captcha_producer.py", "--source", mine, "--noise_dots", 5, "--workers", 2, cwd=tmp_path)
    (line,) = errors(done.stderr)
    assert done.returncode == 2
    assert "--noise_dots, --workers: for captchas that are drawn; not with --source" in line
    assert not (tmp_path / "tfrecords").exists()


def test_a_csv_file_gives_the_labels(mine, small):
    """As a spreadsheet writes it: with a byte-order mark, and a column of its own."""
    texts = {}
    for i, path in enumerate(sorted(mine.iterdir())):
        texts[f"scan {i}{path.suffix}"] = text_of(path)
        path.rename(mine / f"scan {i}{path.suffix}")
    lines = "\n".join(f"{text},{name},good" for name, text in texts.items())
    (mine / "labels.csv").write_text(f"label,file,quality\n{lines}\n", encoding="utf-8-sig")
    import_images(mine / "labels.csv", (TRAIN,), small)
    assert everything(TRAIN, small)[1] == list(texts.values())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,text\na.png,01\n", "its first line must name the columns: file,label"),
        ("", "its first line must name the columns: file,label"),
        ("file,label\na.png\n", "line 2 does not have a file and a label"),
        ("file,label\na.png,3,14\n", "line 2 does not have a file and a label"),
        ("file,label\nmissing.png,01\n", "missing.png: cannot be read (No such file or directory)"),
        ("file,label\n", "none of its images can be used"),
        (b"file,label\n\xff.png,01\n", "is not a CSV file in UTF-8"),
    ],
)
def test_a_csv_file_that_is_wrong_is_refused(tmp_path, small, content, message):
    (tmp_path / "labels.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        import_images(tmp_path / "labels.csv", (TRAIN,), small)
    assert message in str(caught.value)
    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize("make", [False, True])
def test_a_folder_that_is_missing_or_empty_is_refused(tmp_path, small, make):
    if make:
        (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="has no images" if make else "is neither a folder nor a CSV file"):
        import_images(tmp_path / "mine", (TRAIN,), small)


def test_a_share_is_held_out_for_validation_chosen_by_the_seed(mine, small):
    texts, chosen = sorted(map(text_of, mine.iterdir())), []
    for seed in (1, 1, 2, 3):
        config = replace(small, seed=seed, validation_share=0.25)
        made = import_images(mine, SPLITS, config)
        assert [(manifest["split"], manifest["count"]) for manifest in made] == [("train", 6), ("validation", 2)]
        (train, train_texts), (validation, validation_texts) = (everything(split, config) for split in SPLITS)
        assert len({image.tobytes() for image in [*train, *validation]}) == 8  # each is in one of the two
        assert sorted(train_texts + validation_texts) == texts
        chosen.append(validation.tobytes())
    assert chosen[0] == chosen[1] and len(set(chosen)) > 1


def test_the_usual_share_is_a_fifth(mine, small):
    assert [manifest["count"] for manifest in import_images(mine, SPLITS, small)] == [6, 2]


@pytest.mark.parametrize("share", [0.001, 0.01])
def test_too_few_images_for_two_splits_are_refused(mine, small, share):
    with pytest.raises(UserError, match="8 usable images are too few"):
        import_images(mine, SPLITS, replace(small, validation_share=share))


def test_a_set_that_is_there_is_replaced_only_when_asked(mine, folder):
    before = files(folder)
    words = ("--source", mine, *options(IMPORTING))
    done = run("captcha_producer.py", *words, cwd=folder)
    assert done.returncode == 2 and files(folder) == before
    (line,) = errors(done.stderr)
    assert "tfrecords: there is a train split already; add --replace to put the new one in its place" in line
    done = run("captcha_producer.py", *words, "--replace", cwd=folder)
    assert done.stdout.splitlines()[1:] == [
        "train: 6 captchas in 1 shards in tfrecords/", "validation: 2 captchas in 1 shards in tfrecords/"
    ], done.stderr  # fmt: skip


def test_imported_splits_are_not_drawn_over_by_the_producer(mine, tmp_path):
    assert run("captcha_producer.py", "--source", mine, *options(IMPORTING), cwd=tmp_path).returncode == 0
    before = files(tmp_path)
    done = run("captcha_producer.py", *options(DRAWING), cwd=tmp_path)
    assert done.returncode == 0 and "train: 6 captchas are in tfrecords/ already" in done.stdout
    assert files(tmp_path) == before


def test_the_sheet_command_says_where_the_images_came_from(mine, tmp_path):
    import_images(mine, (TRAIN,), in_folder(tmp_path))
    done = run("captcha_sets.sheet", "train", cwd=tmp_path)
    assert f"train: 8 captchas of 48x32, imported from {mine} (8 of 96x64)" in done.stdout


@pytest.fixture
def here(mine, monkeypatch, small):
    """The small config with the default folders, in the working folder of the images and of the sets."""
    monkeypatch.chdir(mine.parent)
    return replace(small, images_dir="images", tfrecords_dir="tfrecords", save_dir="save", batch_size=4, max_steps=4)


def test_from_the_current_folder_they_are_recorded_as_imported(mine, monkeypatch, tmp_path):
    """--source . must not read as if the set had no source: an imported set cannot be drawn."""
    monkeypatch.chdir(mine)
    small = replace(in_folder(tmp_path), batch_size=4, max_steps=4)
    folders = [word for name in ("images_dir", "tfrecords_dir") for word in (f"--{name}", getattr(small, name))]
    done = run("captcha_producer.py", "--source", ".", *options(IMPORTING), *folders, cwd=mine)
    assert done.returncode == 0, done.stderr
    for split in SPLITS:
        assert read_manifest(split, small)["source"] == "."
    assert captcha_train.train(small) == 0
    done = run("captcha_evaluate.py", "--fresh", 10, "--save_dir", small.save_dir, cwd=mine)
    (line,) = errors(done.stderr)
    assert done.returncode == 2
    assert "--fresh: the network was trained on images imported from ., which cannot be drawn" in line
    results = captcha_evaluate.predict(small)
    assert (len(results.labels), results.source) == (2, "validation split")


@pytest.mark.parametrize("splits", [SPLITS, ("validation",)])
def test_the_advised_command_imports_them_again(here, mine, splits):
    """A split of its own source leaves the other one alone."""
    import_images(mine.relative_to(mine.parent), splits, here, typed=DRAWING)
    if splits != SPLITS:
        others = [draw(i, "others", SMALL) for i in range(10)]
        (mine.parent / "others").mkdir()
        for i, (text, image) in enumerate(others):
            image.save(mine.parent / "others" / f"{i}_{text}.png")
        import_images(mine.parent / "others", (TRAIN,), here)
    before = {path: path.read_bytes() for path in mine.parent.rglob("*.tfrecord")}
    (mine.parent / "tfrecords" / "validation-00000-of-00001.tfrecord").unlink()
    follow(make_command("validation", here, read_manifest("validation", here)), mine.parent)
    assert {path: path.read_bytes() for path in mine.parent.rglob("*.tfrecord")} == before


def test_images_are_imported_in_the_order_of_their_names(mine, small):
    import_images(mine, (TRAIN,), small)
    assert everything(TRAIN, small)[1] == [text_of(path) for path in sorted(mine.iterdir())]


def test_a_letter_with_an_accent_is_one_character(tmp_path):
    """However the file system composes it."""
    config = in_folder(tmp_path)
    (tmp_path / "mine").mkdir()
    for i, label in enumerate(["e\u0301a", "a\u00e9"]):
        draw(i, "own", SMALL)[1].save(tmp_path / "mine" / f"{i}_{label}.png")
    import_images(tmp_path / "mine", (TRAIN,), config)
    assert everything(TRAIN, like_sets(config, ()))[1] == ["\u00e9a", "a\u00e9"]


def test_a_label_may_hold_any_character_as_the_producer_names_them(tmp_path):
    config = replace(in_folder(tmp_path), characters="/\\:*?_")
    (tmp_path / "mine").mkdir()
    texts = []
    for i in range(5):
        text, image = draw(i, "own", config)
        texts.append(text)
        image.save(tmp_path / "mine" / image_name(i, text))
    import_images(tmp_path / "mine", (TRAIN,), config)
    assert everything(TRAIN, like_sets(config, ()))[1] == texts
