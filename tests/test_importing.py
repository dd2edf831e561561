"""What the producer finds out about labelled images: characters, lengths, size, and what looks like a mistake."""

import itertools
import shutil
from dataclasses import replace
from pathlib import Path

from captcha_cli import UserError
from captcha_config import Config
from captcha_sets import importing
from captcha_sets.draw import draw
from captcha_sets.drawing import produce
from captcha_sets.importing import import_images
from captcha_sets.labelled import LabelledImage, suspects
from captcha_sets.manifest import (
    CAPTCHA_FIELDS,
    SPLITS,
    TRAIN,
    VALIDATION,
    check_same_import,
    like_sets,
    make_command,
    open_manifest,
    set_exists,
)
from captcha_sets.replace import write_split
from captcha_sets.shards import examples

import numpy as np
import pytest
from conftest import SMALL, errors, files, in_folder, options, run
from PIL import Image
from test_producer import follow

LABELS = ["ba", "cab", "b", "ca"]
numbers = itertools.count()


@pytest.fixture
def config(tmp_path):
    """The default config, pointed at the test's folder, which has no sets yet."""
    return in_folder(tmp_path, Config())


@pytest.fixture
def pictures(tmp_path):
    """A function (labels, size of an image, name of the folder) → a folder of images, no two of which are alike."""

    def make(labels, size=(160, 60), name="mine"):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for label in labels:
            noise = np.random.default_rng(number := next(numbers)).integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(noise).resize(size).save(folder / f"{number:05}_{label}.png")
        return folder

    return make


def captcha(manifest: dict) -> dict:
    return {name: manifest[name] for name in CAPTCHA_FIELDS}


def imported(source, config, *args, **kwargs) -> dict:
    """What was found in the images, which all go to the training split."""
    (manifest,) = import_images(source, (TRAIN,), config, *args, **kwargs)
    return captcha(manifest)


def texts(split, config) -> list[str]:
    return [text for text, _ in examples(open_manifest(split, config), config)]


# What is found


def test_the_characters_are_those_of_the_labels_sorted(pictures, config):
    assert imported(pictures(LABELS), config)["characters"] == "abc"


def test_the_lengths_are_those_of_the_labels(pictures, config):
    found = imported(pictures(LABELS), config)
    assert (found["min_length"], found["length"]) == (1, 3)


def test_where_all_labels_have_one_length_lengths_do_not_vary(pictures, config):
    found = imported(pictures(["ab", "bc", "ca"]), config)
    assert (found["min_length"], found["length"]) == (0, 2)


def test_the_texts_are_the_labels(pictures, config):
    import_images(pictures(LABELS), (TRAIN,), config)
    assert texts(TRAIN, config) == LABELS


def test_characters_and_lengths_are_those_of_both_splits(pictures, config):
    """A character may be in the images of one split alone."""
    source = pictures(["ab", "bc", "cd", "defg", "a"])
    manifests = import_images(source, SPLITS, config)
    assert [manifest["count"] for manifest in manifests] == [4, 1]
    for manifest in manifests:
        assert (manifest["characters"], manifest["min_length"], manifest["length"]) == ("abcdefg", 1, 4)


def test_what_was_found_is_printed(pictures, config, capsys):
    source = pictures(LABELS)
    imported(source, config)
    first = capsys.readouterr().out.splitlines()[0]
    assert first == f"{source}: 4 images with 1 to 3 of 3 characters (abc), imported at 147x55"


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((160, 60), (147, 55)),
        ((128, 64), (128, 64)),
        ((130, 65), (128, 64)),
        ((512, 256), (128, 64)),
        ((32, 16), (128, 64)),
        ((50, 50), (90, 90)),
        ((60, 160), (55, 147)),
        ((1000, 10), (905, 16)),
    ],
)
def test_the_size_has_the_proportion_of_the_images_and_at_most_the_configs_pixels(pictures, config, size, expected):
    found = imported(pictures(LABELS, size), config)
    assert (found["width"], found["height"]) == expected


def test_the_size_is_that_of_most_images(pictures, config):
    pictures(["ab", "ba"], (50, 50))
    source = pictures(["aa", "bb", "ab"], (160, 60))
    found = imported(source, config)
    assert (found["width"], found["height"]) == (147, 55)


def test_where_all_images_have_a_size_of_their_own_the_middle_proportion_counts(pictures, config):
    for size in [(60, 60), (60, 60), (159, 60), (160, 60), (161, 60)]:
        source = pictures(["ab"], size)
    found = imported(source, config)
    assert (found["width"], found["height"]) == (147, 55)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ({"width": 80}, (80, 30)),
        ({"height": 30}, (80, 30)),
        ({"width": 51}, (51, 19)),
        ({"width": 80, "height": 80}, (80, 80)),
    ],
)
def test_a_width_or_a_height_that_is_typed_keeps_the_proportion(pictures, config, typed, expected):
    found = imported(pictures(LABELS), replace(config, **typed), typed=typed)
    assert (found["width"], found["height"]) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["starter"], (192, 64)),
        (["letters"], (100, 60)),
        (["starter", "--width", 100], (100, 64)),
    ],
)
def test_with_a_network_to_start_from_the_size_is_that_of_its_images(pictures, tmp_path, words, expected):
    pictures(LABELS)
    done = run("captcha_producer.py", "--source", "mine", "--init_from", *words, cwd=tmp_path)
    assert f"imported at {expected[0]}x{expected[1]}\n" in done.stdout, done.stderr


def test_a_network_that_does_not_exist_is_refused_before_anything_is_written(pictures, tmp_path):
    pictures(LABELS)
    before = files(tmp_path)
    done = run("captcha_producer.py", "--source", "mine", "--init_from", "start", cwd=tmp_path)
    (line,) = errors(done.stderr)
    assert line.startswith("captcha_producer.py: error: init_from: start is neither a folder")
    assert (done.returncode, files(tmp_path)) == (2, before)


def test_square_images_stay_square_at_any_width(pictures, config):
    source = pictures(LABELS, (21, 21))
    for width in (51, 59, 97):
        found = imported(source, replace(config, width=width), typed={"width"})
        assert found["height"] == width


# What looks like a mistake


def labelled(*labels: str) -> list[LabelledImage]:
    return [LabelledImage(f"{i}.png", label, (160, 60), b"") for i, label in enumerate(labels)]


def test_a_label_with_a_character_that_occurs_nowhere_else_is_a_suspect():
    assert suspects(labelled("0123", "3210", "012O")) == ["2.png: the label '012O': 'O' occurs nowhere else"]


def test_a_label_of_a_length_that_at_most_one_in_a_hundred_has_is_a_suspect():
    line = "100.png: the label '012': only 1 of 101 labels have this length"
    assert suspects(labelled(*100 * ["0123"], "012")) == [line]
    assert suspects(labelled(*98 * ["0123"], "012")) == []


def test_labels_that_are_alike_in_characters_and_length_are_no_suspects():
    assert suspects(labelled(*50 * ["0123", "3210"], *50 * ["012", "321"])) == []


def test_suspects_are_printed_and_imported_all_the_same(pictures, config, capsys):
    source = pictures(["ab", "ba", "ax"])
    assert imported(source, config)["characters"] == "abx"
    _, heading, line = capsys.readouterr().out.splitlines()
    assert heading == "these labels look like a mistake; if one is, correct it and run the command again:"
    assert line.startswith(f"  {source}/") and line.endswith("_ax.png: the label 'ax': 'x' occurs nowhere else")


def test_without_suspects_nothing_is_said_of_mistakes(pictures, config, capsys):
    imported(pictures(["ab", "ba"]), config)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_of_many_suspects_the_first_20_are_printed_and_the_rest_counted(pictures, config, capsys):
    imported(pictures("abcdefghijklmnopqrstuvwxy"), config)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 1 + 20 + 1 and lines[-1] == "  and 5 more"


# What is insisted on


@pytest.mark.parametrize(
    ("words", "wrong", "problem"),
    [
        (("--characters", "ab"), ["cab", "ca"], "has 'c', which is not one of the characters"),
        (("--length", 2), ["cab", "b"], "has 1 characters, not 2"),
        (("--length", 3, "--min_length", 2), ["b"], "has 1 characters, not 2 to 3"),
        (("--min_length", 3), ["ba", "b", "ca"], "has 2 characters, fewer than 3"),
    ],
    ids=["characters", "length", "both lengths", "min_length"],
)
def test_what_was_typed_is_insisted_on_and_every_problem_is_listed(pictures, tmp_path, words, wrong, problem):
    pictures(LABELS)
    before = files(tmp_path)
    done = run("captcha_producer.py", "--source", "mine", *words, cwd=tmp_path)
    heading, *lines = errors(done.stderr)
    assert heading.startswith("captcha_producer.py: error: mine: nothing was written; correct these files, or leave")
    assert [line.partition("_")[2].partition(".png")[0] for line in lines] == wrong
    assert f"the label {wrong[-1]!r} {problem}" in lines[-1]
    assert (done.returncode, files(tmp_path)) == (2, before)


def test_characters_that_were_typed_are_kept_in_their_order_with_those_that_do_not_occur(pictures, config):
    typed = replace(config, characters="cbaz")
    assert imported(pictures(LABELS), typed, typed={"characters"})["characters"] == "cbaz"


def test_a_largest_length_alone_that_was_typed_is_that_of_all(pictures, config):
    found = imported(pictures(["ab", "ba"]), replace(config, length=2), typed={"length"})
    assert (found["min_length"], found["length"]) == (0, 2)


def test_a_smallest_length_that_was_typed_is_kept(pictures, config):
    found = imported(pictures(["abc", "baab"]), replace(config, min_length=2), typed={"min_length"})
    assert (found["min_length"], found["length"]) == (2, 4)


def test_a_smallest_length_counts_although_it_is_that_of_the_config(pictures, config):
    """The config has one way to write min_length 3, length 3: as min_length 0."""
    typed = replace(config, length=3, min_length=3)
    found = imported(pictures(["abc", "baab", "ab"]), typed, typed={"min_length"}, leave_out=True)
    assert (found["min_length"], found["length"]) == (3, 4)
    assert texts(TRAIN, config) == ["abc", "baab"]


def test_what_does_not_match_is_left_out_when_asked(pictures, config):
    found = imported(pictures(LABELS), replace(config, length=2), typed={"length"}, leave_out=True)
    assert (found["characters"], found["min_length"], found["length"]) == ("abc", 0, 2)


@pytest.mark.parametrize(
    "label", ["a b", "a\u00a0b", "a\tb", "a\u200bb"], ids=["blank", "no-break", "tab", "zero width"]
)
def test_a_label_with_a_character_that_cannot_be_seen_is_refused(pictures, config, label):
    with pytest.raises(UserError) as caught:
        imported(pictures(["ab", label]), config)
    assert f"the label {label!r} has {label[1]!r}, which cannot be seen in an image" in str(caught.value)


@pytest.mark.parametrize("label", ["", 33 * "a"], ids=["none", "33"])
def test_a_label_of_no_characters_or_of_too_many_is_refused(pictures, config, label):
    with pytest.raises(UserError, match=f"the label '{label}' has {len(label)} characters; 1 to 32 are possible"):
        imported(pictures(["ab", label]), config)


def test_images_of_one_character_alone_are_refused(pictures, config, tmp_path):
    with pytest.raises(UserError, match="characters: 'a' must be two or more characters"):
        imported(pictures(["a", "aa"]), config)
    assert not (tmp_path / "tfrecords").exists()


# Upper and lower case


def test_upper_and_lower_case_are_different_characters(pictures, config):
    assert imported(pictures(["aB", "Ab"]), config)["characters"] == "ABab"


def test_where_case_is_ignored_labels_are_in_lower_case(pictures, tmp_path):
    pictures(["aB", "Ab", "BA", "aa", "bb"])
    done = run("captcha_producer.py", "--source", "mine", "--ignore_case", "--splits", "train", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert texts(TRAIN, in_folder(tmp_path, Config())) == ["ab", "ab", "ba", "aa", "bb"]


def test_where_case_is_ignored_labels_take_the_case_of_the_characters_that_were_typed(pictures, config):
    typed = replace(config, characters="aB", length=2)
    import_images(pictures(["AB", "ab", "bA"]), (TRAIN,), typed, typed={"characters"}, ignore_case=True)
    assert texts(TRAIN, config) == ["aB", "aB", "Ba"]


def test_a_letter_whose_other_case_is_two_letters_stays_as_it_is(pictures, config):
    import_images(pictures(["İß", "ΣΑ", "ΑΣ"]), (TRAIN,), config, ignore_case=True)
    assert texts(TRAIN, config) == ["İß", "σα", "ασ"]


# One split after the other


@pytest.fixture
def with_training_split(pictures, config):
    """The captcha of a training split of images of 160x60 with 2 to 4 of the characters abc."""
    found = imported(pictures(["ab", "abc", "cccc"]), config)
    assert (found["length"], found["width"]) == (4, 147)
    return found


def test_the_second_split_has_the_captcha_of_the_first(pictures, config, with_training_split):
    """Whatever its own images have."""
    (manifest,) = import_images(pictures(["aaa", "bb"], (50, 50), "others"), (VALIDATION,), config)
    assert captcha(manifest) == with_training_split


@pytest.mark.parametrize(
    ("label", "problem"),
    [("ax", "has 'x', which is not one of the characters"), ("a", "has 1 characters, not 2 to 4")],
)
def test_a_label_that_does_not_match_the_first_split_is_a_problem(
    pictures, config, with_training_split, label, problem
):
    with pytest.raises(UserError, match=f"_{label}.png: the label '{label}' {problem}"):
        import_images(pictures(["ab", label], name="others"), (VALIDATION,), config)


def test_the_second_split_has_the_captcha_of_a_first_one_that_was_drawn(pictures, tmp_path):
    config = in_folder(tmp_path)
    produce(TRAIN, replace(config, train_count=5))
    (manifest,) = import_images(pictures(["01", "32"]), (VALIDATION,), in_folder(tmp_path, Config()))
    assert captcha(manifest) == captcha(open_manifest(TRAIN, config))


def test_what_is_typed_for_a_split_must_be_what_the_other_split_has(pictures, config):
    imported(pictures(["ab", "abc", "cccc"]), config)
    source = pictures(["ab", "bc"], name="others")
    with pytest.raises(UserError, match="the train split has length 4, not 2; set another --tfrecords_dir"):
        import_images(source, (VALIDATION,), replace(config, length=2), typed={"length"})
    assert not set_exists(VALIDATION, config)


def test_a_split_is_not_imported_from_the_source_of_the_other_split(pictures, config):
    """Its images would be in both splits."""
    source = pictures(8 * ["ab"])
    import_images(source, SPLITS, config)
    before = files(Path(config.tfrecords_dir))
    with pytest.raises(UserError, match="the validation split was imported from it, and its images would be in both"):
        import_images(source, (TRAIN,), config)
    assert files(Path(config.tfrecords_dir)) == before


def test_images_that_the_other_split_has_are_refused_in_one_list_or_left_out(pictures, config):
    """Wherever their files are."""
    first, others = pictures(["ab", "ba"]), pictures(["aa", "bb"], name="others")
    import_images(first, (TRAIN,), config)
    before = files(Path(config.tfrecords_dir))
    copies = [shutil.copy(path, others / f"copy_{path.name}") for path in sorted(first.iterdir())]
    refused = "".join(f"\n  {path}: is in the other split, too" for path in copies)
    with pytest.raises(UserError, match=f"{others}: nothing was written; .*:{refused}$"):
        import_images(others, (VALIDATION,), config)
    assert files(Path(config.tfrecords_dir)) == before
    (manifest,) = import_images(others, (VALIDATION,), config, leave_out=True)
    assert manifest["count"] == 2


def test_beside_an_imported_split_the_other_one_is_to_be_imported(pictures, config):
    imported(pictures(["ab", "ba"]), config)
    with pytest.raises(UserError, match=r"no such set; import it, as the other split: .* --splits validation --source"):
        open_manifest(VALIDATION, config)


def test_images_are_not_imported_from_the_folder_that_their_pictures_would_replace(pictures, config):
    import_images(pictures(8 * ["ab"]), SPLITS, config)
    source = Path(config.images_dir, TRAIN)
    before = files(source)
    with pytest.raises(UserError, match=f"is in {source}, whose files this import would replace"):
        import_images(source, SPLITS, config)
    assert files(source) == before


@pytest.mark.parametrize("damage", [lambda text: text[:50], lambda text: text.replace('"count": 6', '"count": 7')])
def test_a_damaged_manifest_of_an_import_advises_the_import_and_is_not_drawn_over(pictures, config, damage):
    source = pictures(8 * ["ab"])
    import_images(source, SPLITS, config)
    manifest = Path(config.tfrecords_dir, f"{TRAIN}.json")
    manifest.write_text(damage(manifest.read_text()))
    with pytest.raises(UserError, match=f"make the set again: python captcha_producer.py --replace --source {source}"):
        open_manifest(TRAIN, config)
    with pytest.raises(UserError, match="the train split was imported"):
        produce(TRAIN, config)


def test_both_splits_are_found_anew_although_there_are_some(pictures, config):
    import_images(pictures(6 * ["ab"]), SPLITS, config)
    for manifest in import_images(pictures(6 * ["xyz"], name="others"), SPLITS, config):
        assert (manifest["characters"], manifest["length"]) == ("xyz", 3)


def test_a_split_left_from_an_earlier_import_of_both_is_refused(pictures, config, monkeypatch):
    """An import that was killed between the two: images of one may be in the other."""
    source = pictures(8 * ["ab"])
    import_images(source, SPLITS, config)
    pictures(4 * ["ab"])  # more of them

    def killed_at_validation(items, count, split, *args, **kwargs):
        if split == VALIDATION:
            raise KeyboardInterrupt
        return write_split(items, count, split, *args, **kwargs)

    monkeypatch.setattr(importing, "write_split", killed_at_validation)
    with pytest.raises(KeyboardInterrupt):
        import_images(source, SPLITS, config)
    manifests = [open_manifest(split, config) for split in SPLITS]
    with pytest.raises(UserError, match=r"its splits are of different imports.*--replace --source"):
        check_same_import(manifests, config)
    monkeypatch.undo()
    import_images(source, SPLITS, config)
    check_same_import([open_manifest(split, config) for split in SPLITS], config)


def test_a_folder_with_a_file_of_labels_is_not_imported_by_the_names_of_its_images(pictures, config):
    source = pictures(LABELS)
    (source / "labels.csv").write_text("file,label\n")
    with pytest.raises(UserError, match=r"has a labels.csv; use .*labels.csv as the source, or move that file away"):
        import_images(source, (TRAIN,), config)


def test_imported_sets_have_no_characters_to_draw_more_often(pictures, config):
    """Whatever captcha_config.py says of drawn captchas."""
    drawn = replace(config, characters="abc0O", oversample_characters="0O")
    imported(pictures(LABELS), drawn)
    assert like_sets(drawn, ()).oversample_characters == ""


def test_a_drawn_training_split_keeps_them_beside_an_imported_validation_split(pictures, tmp_path):
    config = in_folder(tmp_path)
    produce(TRAIN, replace(config, train_count=5, oversample_characters="3"))
    import_images(pictures(["01", "32"]), (VALIDATION,), in_folder(tmp_path, Config()))
    assert like_sets(in_folder(tmp_path, Config()), ()).oversample_characters == "3"


def test_where_an_import_was_stopped_before_a_split_the_command_imports_it(pictures, config):
    import_images(pictures(8 * ["ab"]), SPLITS, config)
    Path(config.tfrecords_dir, "validation.json").unlink()
    with pytest.raises(UserError, match=r"its import was stopped; import it again: .* --replace --source .*/mine"):
        open_manifest(VALIDATION, config)


def test_the_size_of_a_split_that_is_there_counts_more_than_that_of_init_from(pictures, tmp_path):
    for source, split, *init in ((LABELS, "train"), (LABELS[1:], "validation", "--init_from", "digits")):
        pictures(source, (100, 40), name=split)
        done = run("captcha_producer.py", "--source", split, "--splits", split, *init, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    config = in_folder(tmp_path, Config())
    train, validation = (captcha(open_manifest(split, config)) for split in SPLITS)
    assert train == validation and (train["width"], train["height"]) != (128, 64)


# The commands


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--ignore_case",),
        ("--seed", 3),
        ("--validation_share", 0.5),
        ("--characters", "cbaABCx"),
        ("--length", 2, "--leave-out"),
        ("--min_length", 1, "--width", 100),
        ("--splits", "validation"),
    ],
    ids=lambda words: " ".join(map(str, words)),
)
def test_the_advised_command_imports_the_same(pictures, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    pictures(["ab", "BA", "cc", "cab", "bC", "aC", "Ac", "bb"])
    done = run("captcha_producer.py", "--source", "mine", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    before = files(tmp_path)
    manifest = open_manifest(VALIDATION, Config())
    (tmp_path / "tfrecords" / "validation-00000-of-00001.tfrecord").unlink()
    follow(make_command(VALIDATION, Config(), manifest), tmp_path)
    now = files(tmp_path)
    changed = {name for name in before | now if before.get(name) != now.get(name)}
    assert changed <= {"tfrecords/train.json", "tfrecords/validation.json"}
    assert captcha(open_manifest(VALIDATION, Config())) == captcha(manifest)


def test_a_smallest_length_that_all_have_is_in_the_advised_command(pictures, config):
    import_images(pictures(8 * ["abc"]), SPLITS, replace(config, min_length=3), typed={"min_length"})
    manifest = open_manifest(VALIDATION, config)
    assert (manifest["min_length"], manifest["length"]) == (0, 3)
    assert "--min_length 3" in make_command(VALIDATION, config, manifest)


TRAINED = ("channels", "batch_size", "max_steps", "warmup_steps", "eval_every", "save_every", "shift")


def test_from_a_folder_of_images_to_their_texts_nothing_of_the_captcha_is_typed(tmp_path):
    """Import, train, read: captchas with 2 to 3 of 4 characters, of another size than the default."""
    (tmp_path / "mine").mkdir()
    config = replace(SMALL, characters="0123", length=3, min_length=2, width=80, height=40, font_sizes=(25,))
    for i in range(60):
        text, image = draw(i, "own", config)
        image.save(tmp_path / "mine" / f"{i:02}_{text}.png")
    done = run("captcha_producer.py", "--source", "mine", cwd=tmp_path)
    assert done.stdout.splitlines() == [
        "mine: 60 images with 2 to 3 of 4 characters (0123), imported at 128x64",
        "train: 48 captchas in 1 shards in tfrecords/",
        "validation: 12 captchas in 1 shards in tfrecords/",
    ], done.stderr
    done = run("captcha_train.py", *options(TRAINED), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\n48 images of 128x64, " in done.stdout
    done = run("captcha_predict", "mine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    read = [line.split()[1] for line in done.stdout.splitlines()]
    assert len(read) == 60 and all(len(text) in (2, 3) and set(text) <= set("0123") for text in read)
