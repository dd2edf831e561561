"""--init_from: a new network with what a trained one learnt."""

import random
import re
import shutil
from dataclasses import replace
from pathlib import Path

import captcha_model
import captcha_train
from benchmarks.own_style import picture
from captcha_cli import UserError
from captcha_config import Config
from captcha_predict.images import resized
from captcha_runs import checkpoint_files, checkpoints, transfer

import keras
import numpy as np
import pytest
from conftest import SMALL, TRAINING, errors, files, in_folder, options, run

HEADS = ("finder", "amounts", "values")  # the layers that find characters, and describe them


@pytest.fixture
def teacher(trained_once):
    """A network trained on the characters 0123."""
    config = in_folder(trained_once)
    metadata, _ = checkpoints.best(config, ())
    model = captcha_model.build(config)
    checkpoint_files.restore(metadata, model)
    return model


@pytest.fixture
def source(trained_once):
    """The folder that the teacher was saved to."""
    return str(trained_once / "save")


def layers_of(model, kind):
    return [layer for layer in model.layers if isinstance(layer, kind)]


def started(source, config):
    """A new network with what the one in a folder learnt."""
    model = captcha_model.build(config)
    transfer.start_from(source, model, config)
    return model


# What is taken over


def test_training_starts_from_the_convolutions_of_another_run(config, source, teacher):
    """Its features are the same; each kernel is as long as a new one, so that a step turns it as much."""
    model = captcha_model.build(config)
    lengths = [np.linalg.norm(layer.kernel) for layer in layers_of(model, keras.layers.Conv2D)]
    transfer.start_from(source, model, config)
    convolutions = zip(*(layers_of(each, keras.layers.Conv2D) for each in (model, teacher)), lengths, strict=True)
    for ours, theirs, length in convolutions:
        assert np.linalg.norm(ours.kernel) == pytest.approx(length, rel=1e-5)
        assert np.allclose(ours.kernel / length, theirs.kernel / np.linalg.norm(theirs.kernel), atol=1e-6)
    normalizations = zip(*(layers_of(each, keras.layers.BatchNormalization) for each in (model, teacher)), strict=True)
    for ours, theirs in normalizations:
        assert np.array_equal(ours.gamma, theirs.gamma)
        assert np.array_equal(ours.beta, theirs.beta)


def test_before_training_it_reads_the_same_captchas_as_the_other_network(config, source, teacher):
    images = np.random.default_rng(1).integers(0, 256, (20, config.height, config.width, 1), np.uint8)
    ours, theirs = (np.asarray(captcha_model.forward(model, images)) for model in (started(source, config), teacher))
    assert np.allclose(ours, theirs, atol=0.05 * theirs.std())


def test_for_the_same_captchas_all_that_is_behind_the_convolutions_is_the_same(config, source, teacher):
    model = started(source, config)
    for name in (*HEADS, "classifier"):
        for ours, theirs in zip(model.get_layer(name).weights, teacher.get_layer(name).weights, strict=True):
            assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("changed", [{"length": 5}, {"length": 1}])
def test_captchas_of_another_length_start_from_the_same_weights(config, source, teacher, changed):
    model = started(source, replace(config, **changed))
    for name in HEADS:
        for ours, theirs in zip(model.get_layer(name).weights, teacher.get_layer(name).weights, strict=True):
            assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("changed", [{"width": 51}, {"height": 27}])
def test_an_image_of_an_odd_size_starts_from_the_same_weights(config, source, teacher, changed):
    """It is halved by another layer."""
    model = started(source, replace(config, **changed))
    ours, theirs = (each.get_layer("classifier").weights for each in (model, teacher))
    assert all(np.array_equal(*pair) for pair in zip(ours, theirs, strict=True))


def test_for_lengths_that_vary_a_network_of_one_length_does_not_say_how_much_a_column_holds(config, source):
    """Its amounts were scaled to add up to the length, so that their sum means nothing."""
    amounts = started(source, replace(config, length=4, min_length=2)).get_layer("amounts")
    assert not np.any(amounts.kernel)


def test_in_a_wider_image_each_column_holds_less_of_a_character(config, source, teacher):
    """Of twice as many columns each is told to hold half as much, as far as softplus is an exponential."""
    amounts = started(source, replace(config, width=2 * config.width)).get_layer("amounts")
    trained = teacher.get_layer("amounts")
    assert np.array_equal(amounts.kernel, trained.kernel)
    assert np.allclose(np.exp(amounts.bias), np.exp(trained.bias) / 2)


def sum_over_rows(kernel, config):
    """float32 [..., filters * units] of a kernel [..., rows * filters, units]."""
    filters = config.channels[-1]
    return kernel.reshape(-1, kernel.shape[-2] // filters, filters * kernel.shape[-1]).sum(axis=1)


@pytest.mark.parametrize("height", [16, 24, 40, 64])
def test_for_another_height_the_rows_are_resampled_and_keep_their_sum(config, source, teacher, height):
    """A stroke that fills the height has the same effect, however many rows it fills."""
    model = started(source, replace(config, height=height))
    for name in ("finder", "values"):
        ours, theirs = (each.get_layer(name).kernel.numpy() for each in (model, teacher))
        assert ours.shape[-2] != theirs.shape[-2]
        assert np.allclose(*(sum_over_rows(kernel, config) for kernel in (ours, theirs)), atol=1e-5)
    assert np.array_equal(model.get_layer("classifier").kernel, teacher.get_layer("classifier").kernel)


def test_resampled_rows_are_shares_of_those_in_their_place():
    """Three rows become two: each has one and a half of them."""
    kernel = np.array([[1.0], [10.0], [100.0]])
    assert transfer._for_other_rows(kernel, 2, filters=1).tolist() == [[6.0], [105.0]]
    assert transfer._for_other_rows(kernel, 6, filters=1).tolist() == [[0.5], [0.5], [5.0], [5.0], [50.0], [50.0]]


def test_characters_that_both_know_keep_their_part_of_the_classifier(config, source, teacher):
    """The others begin anew."""
    config = replace(config, characters="3x1")
    model = captcha_model.build(config)
    before, known = model.get_layer("classifier").kernel.numpy(), teacher.get_layer("classifier")
    transfer.start_from(source, model, config)
    classifier = model.get_layer("classifier")
    for ours, theirs in ((0, 3), (2, 1)):  # the labels of 3 and of 1
        assert np.array_equal(classifier.kernel[:, ours], known.kernel[:, theirs])
        assert classifier.bias[ours] == known.bias[theirs]
    assert np.array_equal(classifier.kernel[:, 1], before[:, 1])
    assert classifier.bias[1] == 0


def test_the_end_of_a_text_begins_anew_where_the_other_network_knows_none(config, source):
    config = replace(config, min_length=1)
    model = captcha_model.build(config)
    before = model.get_layer("classifier").kernel.numpy()
    transfer.start_from(source, model, config)
    assert np.array_equal(model.get_layer("classifier").kernel[:, 4], before[:, 4])


def test_a_shipped_model_is_named_as_it_is_for_reading(config):
    config = transfer.like_network(replace(config, init_from="digits"), ())
    by_name, by_folder = (started(name, config) for name in ("digits", str(transfer.WEIGHTS / "digits")))
    gammas = [
        [layer.gamma for layer in layers_of(model, keras.layers.BatchNormalization)] for model in (by_name, by_folder)
    ]
    assert all(np.array_equal(*pair) and not np.all(pair[0] == 1) for pair in zip(*gammas, strict=True))


# The network's settings


def saved_with(folder, **settings):
    """The config, in a folder of its own, of a run that was trained for one step with these settings."""
    config = replace(in_folder(folder), save_dir=str(folder / "teacher"), max_steps=1, **settings)
    captcha_train.train(config)
    return config


def test_settings_of_the_network_are_taken_over_and_need_not_be_typed(config, folder):
    settings = {"channels": (4, 6), "input_downsampling": False, "input_color": True, "head_units": (3, 5)}
    teacher = saved_with(folder, **settings)
    like = transfer.like_network(replace(config, init_from=teacher.save_dir), ("init_from",))
    assert like == replace(config, init_from=teacher.save_dir, **settings)
    assert captcha_train.train(replace(like, max_steps=1)) == 0


def test_count_freely_stays_where_it_was_typed(config):
    like = transfer.like_network(replace(config, init_from="digits", count_freely=True), ("count_freely",))
    assert like.count_freely


def test_without_a_network_to_start_from_the_config_stays_as_it_is(config):
    assert transfer.like_network(config, ()) is config


def test_a_typed_setting_stays_and_is_refused_where_it_differs(folder, trained_once):
    (folder / "teacher").symlink_to(trained_once / "save")
    done = run("captcha_train.py", *options(TRAINING), "--init_from", "teacher", "--channels", 4, 4, cwd=folder)
    (line,) = errors(done.stderr)
    assert line == (
        "captcha_train.py: error: init_from: teacher was trained with channels (4, 8); leave out --channels, or train"
        " from scratch (without --init_from)"
    )
    assert done.returncode == 2
    assert not list((folder / "save").glob("*.json"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"init_from": "digit"},
            "init_from: digit is neither a folder that the .* nor one of capitals, digits, letters, starter",
        ),
        (
            {"init_from": "teacher", "input_downsampling": False},
            "init_from: teacher was trained with input_downsampling True; leave out --input_downsampling",
        ),
        (
            {"init_from": "teacher", "input_color": True},
            "init_from: teacher was trained with input_color False; leave out --input_color",
        ),
        (
            {"init_from": "teacher", "head_units": (8, 64)},
            r"init_from: teacher was trained with head_units \(16, 64\); leave out --head_units",
        ),
    ],
)
def test_a_network_that_does_not_fit_is_refused(config, folder, trained_once, changed, said, monkeypatch):
    (folder / "teacher").symlink_to(trained_once / "save")
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match=said):
        captcha_train.train(replace(config, **changed))
    assert not list((folder / "save").glob("*.json"))


# The run


def test_the_run_says_what_it_started_from_and_what_that_reads_already(config, source, capsys):
    captcha_train.train(replace(config, init_from=source, max_steps=1))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f", from the weights of {source}")
    assert lines[1].startswith("starting at step 0")
    assert re.fullmatch(r"before training: captcha accuracy \d+\.\d\d% on the validation split", lines[2])


def test_a_run_that_started_from_other_weights_resumes_from_its_own(config, folder, source):
    shutil.copytree(source, folder / "teacher")
    config = replace(config, init_from=str(folder / "teacher"))
    captcha_train.train(config)
    before = files(Path(config.save_dir))
    shutil.rmtree(folder / "teacher")
    assert captcha_train.train(config) == 0
    assert files(Path(config.save_dir)) == before


def test_it_resumes_by_the_same_command_although_the_other_network_is_gone(folder, source):
    """Its settings, which were not typed, are those of the run."""
    shutil.copytree(source, folder / "teacher")
    words = options(tuple(name for name in TRAINING if name != "channels"))
    words += ["--init_from", "teacher"]
    assert run("captcha_train.py", *words, cwd=folder).returncode == 0
    shutil.rmtree(folder / "teacher")
    done = run("captcha_train.py", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert f"step {SMALL.max_steps} is reached" in done.stdout


def test_the_starter_reads_captchas_of_another_size_and_of_one_length_before_the_first_step():
    rng = random.Random("test of transfer")
    texts = ["".join(rng.choices("23456789", k=4)) for _ in range(100)]
    config = transfer.like_network(Config(width=156, height=52, init_from="starter"), ())
    model = captcha_model.build(config, channels=3)
    transfer.start_from("starter", model, config)
    images = np.stack([np.asarray(resized(picture(text, rng), (156, 52))) for text in texts])
    labels = np.array([[int(digit) for digit in text] for text in texts])
    captchas, _ = captcha_model.evaluation(captcha_model.forward(model, images), labels, config)
    assert captchas.mean() > 0.7
