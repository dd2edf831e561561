"""Images without labels: those that a network reads with confidence join the training split."""

from captcha_cli import UserError
from captcha_config import Config
from captcha_sets.draw import draw
from captcha_sets.importing import import_images
from captcha_sets.manifest import SPLITS, TRAIN, VALIDATION, make_command, open_manifest
from captcha_sets.shards import examples

import pytest
from conftest import errors, files, in_folder, run
from PIL import Image
from test_producer import follow

LABELLED, UNLABELLED = 10, 6


@pytest.fixture
def config(tmp_path):
    return in_folder(tmp_path, Config())


@pytest.fixture
def mine(tmp_path):
    """Labelled captchas that the shipped digits read."""
    return drawn(tmp_path / "mine", range(LABELLED), "{index}_{text}.png")


@pytest.fixture
def more(tmp_path):
    """Others without labels, an image that is no captcha, and one that has a label."""
    folder = drawn(tmp_path / "more", range(LABELLED, LABELLED + UNLABELLED), "{index}.png")
    Image.effect_noise((128, 64), 80).save(folder / "noise.png")
    draw(0, TRAIN, Config())[1].save(folder / "known.png")
    return folder


def drawn(folder, indices, name):
    folder.mkdir()
    for index in indices:
        text, image = draw(index, TRAIN, Config())
        image.save(folder / name.format(index=index, text=text))
    return folder


def texts(split, config):
    return sorted(text for text, _ in examples(open_manifest(split, config), config))


def truth(indices):
    return [draw(index, TRAIN, Config())[0] for index in indices]


def test_what_is_read_with_confidence_joins_the_training_split_alone(mine, more, config):
    import_images(mine, SPLITS, config, unlabelled=more, model="digits")
    assert len(texts(VALIDATION, config)) == 0.2 * LABELLED
    everything = sorted(texts(TRAIN, config) + texts(VALIDATION, config))
    assert everything == sorted(truth(range(LABELLED + UNLABELLED)))


def test_the_images_held_out_are_the_same_with_and_without_others(mine, more, config, tmp_path):
    import_images(mine, SPLITS, config)
    with_more = in_folder(tmp_path / "again", Config())
    import_images(mine, SPLITS, with_more, unlabelled=more, model="digits")
    assert texts(VALIDATION, config) == texts(VALIDATION, with_more)


def test_an_image_of_the_other_split_does_not_join(mine, more, config):
    other = drawn(more.parent / "other", range(LABELLED, LABELLED + 2), "{index}_{text}.png")
    import_images(other, (VALIDATION,), config, typed={"characters"})
    import_images(mine, (TRAIN,), config, unlabelled=more, model="digits")
    assert texts(TRAIN, config) == sorted(truth([*range(LABELLED), *range(LABELLED + 2, LABELLED + UNLABELLED)]))


def test_a_file_that_cannot_be_read_stops_the_import_or_is_left_out(mine, more, config, tmp_path):
    (more / "notes.txt").write_text("no image")
    before = files(tmp_path)
    with pytest.raises(UserError, match=f"{more}: nothing was written; .*\n  {more}/notes.txt: is not a PNG"):
        import_images(mine, SPLITS, config, unlabelled=more, model="digits")
    assert files(tmp_path) == before
    import_images(mine, SPLITS, config, unlabelled=more, model="digits", leave_out=True)
    assert len(texts(TRAIN, config)) == 0.8 * LABELLED + UNLABELLED


def test_where_nothing_is_read_with_confidence_nothing_is_written(mine, config, tmp_path):
    (tmp_path / "noise").mkdir()
    Image.effect_noise((128, 64), 80).save(tmp_path / "noise" / "0.png")
    before = files(tmp_path)
    with pytest.raises(UserError, match=r"noise: digits reads none of its images with a confidence of 0.9; label more"):
        import_images(mine, SPLITS, config, unlabelled=tmp_path / "noise", model="digits")
    assert files(tmp_path) == before


def test_the_advised_command_imports_the_same(mine, more, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("captcha_producer.py", "--source", "mine", "--unlabelled", "more", "--model", "digits", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[1]) == (
        0, "more: 6 images join the training split with what digits reads in them"
    ), done.stderr  # fmt: skip
    before = texts(TRAIN, Config())
    follow(make_command(TRAIN, Config(), open_manifest(TRAIN, Config())), tmp_path)
    assert texts(TRAIN, Config()) == before


@pytest.mark.parametrize(
    "words",
    [
        ("--unlabelled", "more"),
        ("--model", "digits"),
        ("--unlabelled", "more", "--model", "digits", "--splits", "validation"),
    ],
)
def test_the_folder_the_network_and_the_training_split_are_named_together(mine, tmp_path, words):
    done = run("captcha_producer.py", "--source", mine, *words, cwd=tmp_path)
    (line,) = errors(done.stderr)
    assert done.returncode == 2
    assert line.endswith("--unlabelled adds images that --model reads to the training split; name all three")
