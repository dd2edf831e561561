"""Images without labels: those that a network reads with confidence join the training split."""

from dataclasses import replace

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
    """Others without labels, one of them twice; an image that is no captcha; and one that has a label."""
    folder = drawn(tmp_path / "more", range(LABELLED, LABELLED + UNLABELLED), "{index}.png")
    Image.effect_noise((128, 64), 80).save(folder / "noise.png")
    draw(0, TRAIN, Config())[1].save(folder / "known.png")
    draw(LABELLED, TRAIN, Config())[1].save(folder / "twice.png")
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
    message = r"noise: 0 images join the .*; 1 with a confidence below 0.9, 0 as another captcha, 0 not new; label more"
    with pytest.raises(UserError, match=message):
        import_images(mine, SPLITS, config, unlabelled=tmp_path / "noise", model="digits")
    assert files(tmp_path) == before


def test_what_is_read_as_another_captcha_does_not_join(more, config):
    """The network reads four digits, the labels have two."""
    mine = more.parent / "short"
    mine.mkdir()
    for index, text in enumerate(["40", "24", "94", "69", "13"]):
        draw(100 + index, TRAIN, Config())[1].save(mine / f"{index}_{text}.png")
    with pytest.raises(UserError, match=r"0 images join the .* 7 as another captcha"):
        import_images(mine, SPLITS, config, unlabelled=more, model="digits")


def test_where_case_does_not_count_what_is_read_has_the_case_of_the_labels(config, tmp_path):
    """The network knows lower case alone, the labels have upper case alone."""
    lower, upper = (replace(config, characters=characters) for characters in ("abcdefghkmnp", "ABCDEFGHKMNP"))
    mine, more = tmp_path / "mine", tmp_path / "more"
    mine.mkdir()
    more.mkdir()
    for index in range(12):
        text, image = draw(index, TRAIN, lower)
        image.save(more / f"{index}.png" if index < 4 else mine / f"{index}_{text.upper()}.png")
    given = {"typed": {"characters"}, "ignore_case": True}
    import_images(mine, SPLITS, upper, unlabelled=more, model="letters", **given)
    assert {*texts(TRAIN, upper)} >= {draw(index, TRAIN, lower)[0].upper() for index in range(4)}


@pytest.mark.parametrize("named", ["unlabelled", "model"])
def test_a_name_that_a_manifest_cannot_hold_is_refused_before_anything_is_removed(mine, more, config, tmp_path, named):
    import_images(mine, SPLITS, config)
    before = files(tmp_path)
    names = {"unlabelled": more, "model": "digits"}
    with pytest.raises(UserError, match="its name is not UTF-8"):
        import_images(mine, SPLITS, config, **names | {named: type(names[named])("m\udcff")})
    assert files(tmp_path) == before


def test_the_manifest_says_how_many_joined(mine, more, config):
    import_images(mine, SPLITS, config, unlabelled=more, model="digits")
    assert open_manifest(TRAIN, config)["joined"] == UNLABELLED


def test_the_advised_command_imports_the_same(mine, more, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("captcha_producer.py", "--source", "mine", "--unlabelled", "more", "--model", "digits", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[1]) == (
        0, "more: 6 images join the training split with what digits reads in them;"
        " 1 with a confidence below 0.9, 0 as another captcha, 2 not new"
    ), done.stderr  # fmt: skip
    before = texts(TRAIN, Config())
    follow(make_command(TRAIN, Config(), open_manifest(TRAIN, Config())), tmp_path)
    assert texts(TRAIN, Config()) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--unlabelled", "more"), "--unlabelled names images for --model to read; give both or neither"),
        (("--model", "digits"), "--unlabelled names images for --model to read; give both or neither"),
        (("--unlabelled", "more", "--model", "none"), "none: there is no such model; name a .tflite file"),
        (
            ("--unlabelled", "more", "--model", "digits", "--splits", "validation"),
            "--unlabelled adds images to the training split; add train to --splits",
        ),
    ],
)
def test_options_that_do_not_fit_are_one_line(mine, tmp_path, words, message):
    done = run("captcha_producer.py", "--source", mine, *words, cwd=tmp_path)
    (line,) = errors(done.stderr)
    assert (done.returncode, message in line) == (2, True)
