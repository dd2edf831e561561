"""Captchas of several lengths: where a text ends, how certain that is, and what counts as correct."""

import collections
import itertools
import json
import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import captcha_data
import captcha_evaluate
import captcha_export
import captcha_model
import captcha_predict
import captcha_train
from captcha_cli import UserError
from captcha_config import Config
from captcha_predict.decode import alphabets, classes, decode, probabilities
from captcha_runs import checkpoint_files, checkpoints, scores
from captcha_sets.draw import draw
from captcha_sets.drawing import produce
from captcha_sets.files import read_checksummed, write_checksummed
from captcha_sets.manifest import DRAWING_FIELDS, SPLITS, VALIDATION, read_manifest
from captcha_sets.pixels import arrays
from captcha_sets.shards import examples

import numpy as np
import pytest
from conftest import SMALL, TRAINING, checkpoint_values, files, in_folder, options, run, start, wait_for
from test_export import onnx, saved_model

AB = SimpleNamespace(characters="ab", min_length=1, one_alphabet=False)  # the classes are a, b and nothing
VARYING = replace(SMALL, length=4, min_length=2)
EASY = replace(  # one or two zeros and ones, without noise: learnt in seconds
    SMALL,
    noise_dots=0,
    noise_curves=0,
    character_rotate=(-10, 10),
    characters="01",
    length=2,
    min_length=1,
    channels=(8, 16),
    train_count=400,
    validation_count=100,
    max_steps=200,
    eval_every=200,
    save_every=40,
)


def logits_of(*shares: tuple[float, ...]) -> np.ndarray:
    """Logits whose softmax is the shares: float32 [length, classes]."""
    return np.log(np.array(shares, np.float32))


# From logits to text


MIXED = SimpleNamespace(characters="01aB", min_length=0, one_alphabet=True)


def test_the_alphabets_are_the_kinds_of_characters_and_their_mixtures():
    found = ["".join(itertools.compress(MIXED.characters, row)) for row in alphabets(MIXED.characters)]
    assert found == ["01", "a", "B", "01a", "01B", "aB", "01aB"]


def test_a_character_without_case_belongs_to_every_alphabet():
    assert alphabets("ab-").tolist() == [[True, True, True]]
    assert alphabets("-+").tolist() == [[True, True]]


def test_what_is_read_elsewhere_decides_between_characters_of_two_alphabets():
    """As an independent reader would, it takes B alone, and 1 beside three digits."""
    doubtful, digit = (0.02, 0.44, 0.02, 0.52), (0.97, 0.01, 0.01, 0.01)
    for others, label in (((digit, digit, digit), 1), ((), 3)):
        labels, _ = decode(probabilities(logits_of(*others, doubtful), MIXED), MIXED)
        assert labels[-1] == label


def test_the_probabilities_of_one_alphabet_follow_from_bayes_rule():
    """Of the alphabets that have it, a digit is one of 2, 3, 3 and 4 characters, and a letter one of 1, 2, 3 and 4."""
    found = probabilities(logits_of((0.1, 0.5, 0.1, 0.3)), MIXED)
    digit, letter = 1 / 2 + 1 / 3 + 1 / 3 + 1 / 4, 1 + 1 / 2 + 1 / 3 + 1 / 4
    shares = np.array([0.1 * digit, 0.5 * digit, 0.1 * letter, 0.3 * letter])
    assert found[0] == pytest.approx(shares / shares.sum())


def test_where_lengths_vary_the_last_class_is_nothing():
    assert classes(AB) == ("a", "b", "")


def test_where_all_have_one_length_the_classes_are_the_characters():
    assert classes(SimpleNamespace(characters="ab", min_length=0, one_alphabet=False)) == ("a", "b")


def test_before_the_smallest_length_nothing_is_impossible():
    found = probabilities(logits_of((0.3, 0.1, 0.6), (0.3, 0.1, 0.6)), AB)
    assert found == pytest.approx(np.array([[0.75, 0.25, 0.0], [0.3, 0.1, 0.6]]), abs=1e-6)


def test_probabilities_leave_the_logits_as_they_are():
    logits = logits_of((0.3, 0.1, 0.6))
    before = logits.copy()
    probabilities(logits, AB)
    assert np.array_equal(logits, before)


def test_a_text_ends_at_the_first_position_where_nothing_is_the_most_probable():
    labels, _ = decode(np.array([[0.8, 0.2, 0.0], [0.3, 0.2, 0.5], [0.1, 0.9, 0.0]]), AB)
    assert labels.tolist() == [0, 2, 2]


def test_a_text_that_never_ends_has_the_largest_length():
    labels, _ = decode(np.array([[0.8, 0.2, 0.0], [0.3, 0.5, 0.2], [0.4, 0.3, 0.3]]), AB)
    assert labels.tolist() == [0, 1, 0]


def test_the_confidence_is_the_product_of_the_characters_and_of_the_end():
    predicted = [
        [[0.75, 0.25, 0.0], [0.1, 0.1, 0.8], [0.5, 0.3, 0.2]],  # "a", and its end
        [[0.75, 0.25, 0.0], [0.1, 0.9, 0.0], [0.3, 0.2, 0.5]],  # "ab", and its end
        [[0.75, 0.25, 0.0], [0.1, 0.9, 0.0], [0.6, 0.2, 0.2]],  # "aba", which needs no end
    ]
    labels, confidence = decode(np.array(predicted), AB)
    assert labels.tolist() == [[0, 2, 2], [0, 1, 2], [0, 1, 0]]
    assert confidence == pytest.approx([0.75 * 0.8, 0.75 * 0.9 * 0.5, 0.75 * 0.9 * 0.6])


def test_where_all_have_one_length_the_confidence_is_the_product_of_all_positions():
    fixed = SimpleNamespace(characters="ab", min_length=0, one_alphabet=False)
    labels, confidence = decode(probabilities(logits_of((0.9, 0.1), (0.4, 0.6)), fixed), fixed)
    assert labels.tolist() == [0, 1] and confidence == pytest.approx(0.9 * 0.6)


# What counts as correct


def predicted(*texts: str) -> np.ndarray:
    """Logits of a network that is sure of these texts of up to 4 of the characters 0123."""
    labels = [[VARYING.characters.index(c) for c in text] + [4] * (4 - len(text)) for text in texts]
    return np.eye(5, dtype=np.float32)[np.array(labels)] * 9


@pytest.mark.parametrize(
    ("truth", "prediction", "correct", "characters"),
    [
        ("012", "012", True, [True, True, True, None]),
        ("012", "013", False, [True, True, False, None]),
        ("012", "01", False, [True, True, False, None]),
        ("01", "012", False, [True, True, False, None]),
        ("01", "0123", False, [True, True, False, False]),
        ("0123", "01", False, [True, True, False, False]),
        ("0123", "0123", True, [True, True, True, True]),
    ],
)
def test_the_positions_of_the_longer_text_count(truth, prediction, correct, characters):
    labels = predicted(truth).argmax(axis=-1)
    captchas, counted = captcha_model.evaluation(predicted(prediction), labels, VARYING)
    assert captchas.tolist() == [correct]
    assert counted.tolist() == [characters]  # None: masked


def test_the_character_accuracy_is_over_the_positions_that_count():
    labels = predicted("01", "0123", "222").argmax(axis=-1)
    _, characters = captcha_model.evaluation(predicted("012", "0122", "222"), labels, VARYING)
    assert characters.mean() == pytest.approx((2 + 3 + 3) / (3 + 4 + 3))


def test_a_prediction_is_never_shorter_than_the_smallest_length():
    logits = predicted("01")
    logits[0, 1] = 0, 1, 0, 0, 9  # "nothing" at the second position, and a 1 as the next best
    assert captcha_model.evaluation(logits, predicted("01").argmax(axis=-1), VARYING)[0].tolist() == [True]


# The config


def test_a_smallest_length_that_is_the_largest_is_a_fixed_one():
    config = replace(SMALL, length=4, min_length=4)
    assert config == replace(SMALL, length=4)
    assert captcha_model.build(config).output_shape == (None, 4, 4)


def test_where_lengths_vary_the_network_has_one_class_more():
    assert captcha_model.build(VARYING).output_shape == (None, 4, 5)


def test_a_smallest_length_above_the_largest_is_refused():
    with pytest.raises(UserError, match="min_length: 5 must not be more than length 4"):
        Config(min_length=5)


@pytest.mark.parametrize(
    ("config", "lengths", "words"),
    [(Config(), [4], "4"), (Config(min_length=3), [3, 4], "3 to 4"), (Config(min_length=1), [1, 2, 3, 4], "1 to 4")],
)
def test_the_config_says_which_lengths_there_are(config, lengths, words):
    assert (list(config.lengths), config.lengths_in_words) == (lengths, words)


# Drawing


def test_every_length_is_drawn_and_about_equally_often():
    lengths = collections.Counter(len(draw(i, "train", VARYING)[0]) for i in range(600))
    assert set(lengths) == {2, 3, 4}
    assert all(count == pytest.approx(200, abs=50) for count in lengths.values())  # over four standard deviations


def test_every_character_is_drawn_at_every_position():
    texts = [draw(i, "train", VARYING)[0] for i in range(300)]
    assert [sorted({text[i] for text in texts if len(text) > i}) for i in range(4)] == 4 * [list("0123")]


def test_one_worker_and_two_write_the_same_bytes(tmp_path):
    for workers in (1, 2):
        produce("train", replace(in_folder(tmp_path / str(workers), VARYING), workers=workers, train_count=130))
    assert files(tmp_path / "1") == files(tmp_path / "2")


def test_labels_beyond_the_end_of_a_text_are_nothing(tmp_path):
    config = in_folder(tmp_path, replace(VARYING, validation_count=30))
    records = captcha_data.open_pixels(produce(VALIDATION, config), config)
    for i, labels in enumerate(records["labels"].tolist()):
        text = draw(i, VALIDATION, config)[0]
        assert labels == [*map(config.characters.index, text), *[4] * (4 - len(text))]


@pytest.mark.parametrize("text", ["0", "01230", ""])
def test_a_record_that_is_too_short_or_too_long_is_refused(text):
    message = f"record 0 has the label '{text}', which is not 2 to 4 of the characters '0123'; make the set again"
    with pytest.raises(UserError, match=message):
        next(arrays(iter([(text, b"")]), 1, VARYING))


def test_captchas_drawn_on_the_fly_have_all_lengths():
    _, labels = next(captcha_data.on_the_fly_batches(0, VARYING).as_numpy_iterator())
    texts = ["".join([*VARYING.characters, ""][label] for label in row) for row in labels]
    assert texts == [draw(i, "train", VARYING)[0] for i in range(16)]
    assert {len(text) for text in texts} == {2, 3, 4}


# Training, reading and scoring


@pytest.fixture(scope="module")
def easy(tmp_path_factory):
    """The config of a trained and exported network that reads captchas of one or two zeros and ones."""
    config = in_folder(tmp_path_factory.mktemp("easy"), EASY)
    for split in SPLITS:
        produce(split, config)
    assert captcha_train.train(config) == 0
    captcha_export.export(config, ("litert", "onnx", "saved_model"))
    return config


@pytest.fixture(scope="module")
def scored(easy):
    """(the page of the report, what --json printed, what is printed without it)."""
    folder = Path(easy.save_dir).parent
    words = ("captcha_evaluate.py", "--report", "report.html")
    done, printed = run(*words, "--json", cwd=folder), run("captcha_evaluate.py", cwd=folder)
    assert (done.returncode, printed.returncode) == (0, 0), done.stderr + printed.stderr
    return (folder / "report.html").read_text(encoding="utf-8"), json.loads(done.stdout), printed.stdout


@pytest.fixture(scope="module")
def validation(easy):
    """(text, PNG file) of each captcha of the validation split."""
    return list(examples(read_manifest(VALIDATION, easy), easy))


def test_it_learns_where_texts_end(scored):
    assert scored[1]["captcha_accuracy"] > 0.9


def test_the_reader_reads_texts_of_different_lengths(easy, validation):
    read = captcha_predict.read([encoded for _, encoded in validation], model=easy.save_dir)
    assert {len(text) for text in read} == {1, 2}
    assert np.mean([a == b for a, (b, _) in zip(read, validation, strict=True)]) > 0.9


def test_the_reader_and_the_evaluation_read_alike(easy, validation, scored):
    read = captcha_predict.read([encoded for _, encoded in validation], model=easy.save_dir)
    assert scored[1]["captcha_accuracy"] == np.mean([a == b for a, (b, _) in zip(read, validation, strict=True)])


def test_a_prediction_gives_each_position_the_probability_of_the_end(easy, validation):
    prediction = captcha_predict.read(validation[0][1], model=easy.save_dir, details=True)
    assert [list(position) for position in prediction.positions] == [["0", "1", ""]] * 2
    assert [sum(position.values()) for position in prediction.positions] == pytest.approx([1, 1], abs=1e-5)
    assert prediction.positions[0][""] == 0


def test_the_confidence_of_a_prediction_is_that_of_its_text_and_of_its_end(easy, validation):
    for _, encoded in validation[:20]:
        prediction = captcha_predict.read(encoded, model=easy.save_dir, details=True)
        way = [*prediction.text, ""][: easy.length]
        expected = np.prod([position[name] for position, name in zip(prediction.positions, way, strict=False)])
        assert prediction.confidence == pytest.approx(expected, abs=1e-5)


def test_where_characters_are_named_a_text_can_still_end(easy, validation):
    images = [encoded for _, encoded in validation]
    of_all = captcha_predict.read(images, model=easy.save_dir, details=True)
    narrowed = captcha_predict.read(images, model=easy.save_dir, characters="1", details=True)
    assert {prediction.text for prediction in narrowed} == {"1", "11"}
    for before, after in zip(of_all, narrowed, strict=True):
        _, last = before.positions
        rest = last["1"] + last[""]
        expected = {"0": 0.0, "1": last["1"] / rest, "": last[""] / rest}
        assert after.positions[1] == pytest.approx(expected, abs=1e-4)


def test_the_reader_says_which_lengths_it_reads(easy):
    reader = captcha_predict.load(easy.save_dir)
    assert (reader.min_length, reader.length) == (1, 2)


@pytest.mark.parametrize(
    ("name", "runtime"),
    [
        ("model.tflite", lambda path, images: captcha_predict.load(path).logits(images)),
        ("model.onnx", onnx),
        ("saved_model", saved_model),
    ],
)
def test_an_export_predicts_what_the_checkpoint_does(easy, validation, name, runtime):
    metadata, trained = checkpoints.best(easy, captcha_export.FIELDS)
    model = captcha_model.build(trained, channels=3)
    checkpoint_files.restore(metadata, model)
    images, _ = next(arrays(iter(validation), 100, trained))
    expected = model.predict(images, verbose=0) / metadata["best"]["temperature"]
    found = runtime(Path(easy.save_dir, name), images)
    assert found.shape == (100, 2, 3)
    assert np.abs(found - expected).max() < 1e-2


def test_the_accuracy_of_each_length_is_that_counted_by_hand(easy, validation, scored):
    read = captcha_predict.read([encoded for _, encoded in validation], model=easy.save_dir)
    for length in (1, 2):
        correct = [a == b for a, (b, _) in zip(read, validation, strict=True) if len(b) == length]
        assert scored[1]["by_length"][str(length)] == {
            "count": len(correct),
            "captcha_accuracy": pytest.approx(np.mean(correct)),
        }


def test_the_accuracy_of_each_length_is_printed(scored):
    _, values, printed = scored
    for length, part in values["by_length"].items():
        assert re.search(rf"^\W+{length} +\W +{part['captcha_accuracy']:.2%} +\W +{part['count']} +\W$", printed, re.M)


def test_the_accuracy_of_each_length_is_in_the_report(scored):
    page, values, _ = scored
    table = page.partition("<h2>By length</h2>")[2].partition("<h2>")[0]
    for length, part in values["by_length"].items():
        row = f"<tr><td>{length}</td><td>{part['captcha_accuracy']:.2%}</td><td>{part['count']}</td></tr>"
        assert row in table


def test_a_text_that_is_read_too_short_is_confused_with_the_end(easy):
    labels = np.array([[0, 1], [1, 2]])
    logits = np.eye(3, dtype=np.float32)[[[0, 2], [1, 0]]] * 9
    results = scores.Results(logits, labels, lambda indices: [], easy, "model", "source", {})
    assert sorted(scores.score(results)["confusions"]) == [["", "0", 1], ["1", "", 1]]


def test_the_report_calls_the_end_by_its_name(easy, tmp_path):
    labels = np.array([[0, 1], [1, 2]])
    logits = np.eye(3, dtype=np.float32)[[[0, 2], [1, 0]]] * 9
    images = [draw(i, "own", easy)[1] for i in range(2)]
    results = scores.Results(
        logits, labels, lambda indices: [images[i] for i in indices], easy, f"{tmp_path}/model", "source", {}
    )
    captcha_evaluate.write_report(tmp_path / "report.html", scores.score(results), results)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<tr><td>1</td><td>(end)</td><td>1</td></tr>" in page
    assert "<tr><td>(end)</td><td>0</td><td>1</td></tr>" in page
    assert "truth <b>01</b>, prediction <b>0</b>" in page


def test_a_position_that_no_captcha_has_has_no_accuracy():
    logits, labels = predicted("01", "012"), predicted("01", "012").argmax(axis=-1)
    results = scores.Results(logits, labels, lambda indices: [], VARYING, "model", "source", {})
    scored = scores.score(results)
    assert scored["by_position"] == [1.0, 1.0, 1.0, None]
    assert list(scored["by_length"]) == [2, 3]


def test_fresh_captchas_have_the_lengths_of_the_training(easy):
    results = captcha_evaluate.predict(easy, fresh=50)
    lengths = (results.labels < 2).sum(axis=1)
    assert lengths.tolist() == [len(draw(i, captcha_evaluate.FRESH, easy)[0]) for i in range(50)]


def test_killed_and_resumed_it_ends_with_the_weights_of_an_undisturbed_run(easy, tmp_path):
    shutil.copytree(easy.tfrecords_dir, tmp_path / "tfrecords")
    words = (*options(TRAINING, EASY), "--min_length", 1)
    process = start("captcha_train.py", *words, cwd=tmp_path)
    wait_for(process, "step 80/200 ")
    process.kill()
    process.wait()
    done = run("captcha_train.py", *words, cwd=tmp_path)
    assert re.search(r"^resuming from step \d+, up to step 200$", done.stdout, re.M), done.stderr
    undisturbed = checkpoint_values(Path(easy.save_dir), "ckpt-200")
    assert checkpoint_values(tmp_path / "save", "ckpt-200") == undisturbed


def test_a_network_is_trained_on_captchas_drawn_on_the_fly(easy, tmp_path):
    shutil.copytree(easy.tfrecords_dir, tmp_path / "tfrecords")
    config = in_folder(tmp_path, replace(EASY, on_the_fly=True, max_steps=4, eval_every=4))
    assert captcha_train.train(config) == 0
    assert captcha_evaluate.predict(config).logits.shape == (100, 2, 3)


def test_the_sheet_counts_the_characters_that_are_there(easy, validation):
    done = run("captcha_sets.sheet", "validation", cwd=Path(easy.save_dir).parent)
    rows = re.findall(r"^\W+([01]) +\W +(\d+) +\W +(\d+) +\W +(\d+) +\W$", done.stdout, re.M)
    for character, *counts in rows:
        at = [sum(text[i : i + 1] == character for text, _ in validation) for i in range(2)]
        assert [*map(int, counts)] == [*at, sum(at)]
    assert len(rows) == 2


# What earlier versions saved

EARLIER = {"characters", "length", "width", "height", "seed", "fonts", "font_sizes", "oversample_characters"}
NEW = set(DRAWING_FIELDS) - EARLIER


def without_new(values: dict) -> dict:
    """A description, or metadata, as an earlier version wrote it: without the fields that it did not have."""
    inner = {name: without_new(values[name]) for name in ("config", "drawn_with") if name in values}
    return {name: value for name, value in values.items() if name not in NEW} | inner


def test_a_model_of_an_earlier_version_reads_captchas_of_one_length(tmp_path):
    content = captcha_predict.find("digits").read_bytes()
    with zipfile.ZipFile(captcha_predict.find("digits")) as packed:
        description = without_new(json.loads(packed.read(captcha_predict.DESCRIPTION)))
    (tmp_path / "model.tflite").write_bytes(content[: description["bytes"]])
    with zipfile.ZipFile(tmp_path / "model.tflite", "a") as packed:
        packed.writestr(captcha_predict.DESCRIPTION, json.dumps(description))
    reader, image = captcha_predict.load(tmp_path), draw(0, "own", Config())[1]
    assert reader.min_length == 0 and "min_length" not in reader.description["config"]
    assert reader.read(image) == captcha_predict.load("digits").read(image)
    results = captcha_evaluate.predict(Config(save_dir=str(tmp_path)), fresh=20, model=tmp_path)
    assert results.correct.mean() > 0.8


def test_a_checkpoint_of_an_earlier_version_is_scored_and_resumed(trained, capsys):
    for path in (trained / "save").glob("*-*.json"):
        write_checksummed(path, without_new(read_checksummed(path)))
    config = in_folder(trained)
    assert captcha_evaluate.predict(config).logits.shape == (37, 2, 4)
    assert captcha_train.train(replace(config, max_steps=14)) == 0
    assert "continuing from step 12" in capsys.readouterr().out
