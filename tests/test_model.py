"""The network, its loss, and what counts as correct."""

import functools
from dataclasses import replace

import captcha_data
import captcha_export
import captcha_model
from captcha_cli import UserError
from captcha_config import Config
from captcha_runs import messages, scores
from captcha_runs.checkpoints import Checkpoints
from captcha_sets.manifest import SPLITS, VALIDATION, read_manifest
from captcha_sets.pixels import grey

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL


def test_logits_have_a_score_for_each_character_at_each_position():
    model = captcha_model.build(Config())
    assert model(np.zeros((3, 64, 128, 1), np.uint8)).shape == (3, 4, 10)


@pytest.mark.parametrize(("width", "height", "length"), [(16, 16, 1), (100, 60, 4), (201, 33, 7)])
def test_any_size_and_length_can_be_built(width, height, length):
    config = replace(SMALL, width=width, height=height, length=length)
    model = captcha_model.build(config)
    assert model(np.zeros((2, height, width, 1), np.uint8)).shape == (2, length, 4)


def test_without_input_downsampling_the_convolutions_see_the_image_at_full_size():
    shapes = []
    for input_downsampling in (True, False):
        model = captcha_model.build(replace(SMALL, input_downsampling=input_downsampling))
        shapes.append(next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)).output.shape[1:3])
    assert shapes == [(16, 24), (32, 48)]


def test_an_rgb_model_predicts_what_the_grey_one_with_its_weights_does():
    of_grey, of_rgb = captcha_model.build(SMALL), captcha_model.build(SMALL, channels=3)
    of_rgb.set_weights(of_grey.get_weights())
    images = np.random.default_rng(1).integers(0, 256, (4, 32, 48, 3), np.uint8)
    stored = tf.cast(grey(images), tf.uint8)
    assert np.array_equal(of_rgb(images).numpy(), of_grey(stored).numpy())


def test_the_network_converts_to_grey_as_the_stored_pixels_were(monkeypatch):
    """There is one definition; the model calls it for the images of every kind."""
    shapes = []

    def observed(images):
        shapes.append(images.shape)
        return grey(images)

    monkeypatch.setattr(captcha_model, "grey", observed)
    captcha_model.build(SMALL)
    captcha_model.build(SMALL, channels=3)
    assert shapes == [(None, 32, 48, 1), (None, 32, 48, 3)]


def test_paler_and_darker_images_give_the_same_logits():
    """Each image is standardized: a captcha of half the contrast gives nearly the same."""
    model = captcha_model.build(SMALL)
    image = np.random.default_rng(1).integers(0, 128, (1, 32, 48, 1), np.uint8)
    assert np.allclose(model(image), model(image * 2), atol=1e-2)


# Which columns belong to which position


VARYING = replace(SMALL, min_length=1, length=3)


@pytest.fixture
def counted(monkeypatch):
    """A function from a config to what a network of random weights counts in eight images: amounts and weights."""
    positions, seen = captcha_model._weights, []

    def observed(amounts, length):
        seen[:] = [amounts, positions(amounts, length)]
        return seen[1]

    def count(config, kernel=None):
        model = captcha_model.build(config)
        layer = model.get_layer("amounts")
        layer.kernel.assign(np.random.default_rng(1).normal(size=layer.kernel.shape) if kernel is None else kernel)
        images = np.random.default_rng(2).integers(0, 256, (8, config.height, config.width, 1), np.uint8)
        amounts, weights = keras.Model(model.input, list(seen))(images)
        return amounts.numpy()[..., 0], weights.numpy()  # [8, columns], [8, length, columns]

    monkeypatch.setattr(captcha_model, "_weights", observed)
    return count


def integrate_and_fire(amounts: list[float], length: int) -> list[list[float]]:
    """The weights of each position, by filling one position after the other: each holds one character."""
    weights = [[0.0] * len(amounts) for _ in range(length)]
    position, room = 0, 1.0
    for column, amount in enumerate(amounts):
        while amount > 0 and position < length:
            taken = min(amount, room)
            weights[position][column] += taken
            amount -= taken
            room -= taken
            if room == 0:
                position, room = position + 1, 1.0
    return weights


@pytest.mark.parametrize("total", [2.3, 4.0, 6.5], ids=["too little", "just enough", "too much"])
def test_a_position_takes_the_columns_that_integrate_and_fire_gives_it(total):
    """Against an independent reference."""
    amounts = np.random.default_rng(1).exponential(size=(20, 16, 1))
    amounts[:, 3] = 0  # a column may hold nothing
    amounts *= total / amounts.sum(axis=1, keepdims=True)
    found = captcha_model._weights(tf.constant(amounts, tf.float32), 4)
    expected = [integrate_and_fire(row, 4) for row in amounts[..., 0].tolist()]
    assert np.allclose(found, expected, atol=1e-5)


def test_a_column_may_hold_several_characters():
    weights = captcha_model._weights(tf.constant([[[0.5], [2.0], [0.5]]]), 3)
    assert weights.numpy().tolist() == [[[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.5, 0.5]]]


def test_where_the_length_is_fixed_the_amounts_add_up_to_it_and_the_weights_of_a_position_to_one(counted):
    amounts, weights = counted(SMALL)
    assert amounts.std(axis=1).min() > 0.005
    assert amounts.sum(axis=1) == pytest.approx(np.full(8, 2), abs=1e-5)
    assert weights.sum(axis=2) == pytest.approx(np.ones((8, 2)), abs=1e-5)


def test_where_lengths_vary_a_position_gets_what_is_left(counted):
    amounts, weights = counted(VARYING)
    totals = amounts.sum(axis=1)
    assert totals.std() > 0.01
    expected = [[np.clip(total - position, 0, 1) for position in range(3)] for total in totals]
    assert weights.sum(axis=2) == pytest.approx(np.array(expected), abs=1e-5)


@pytest.mark.parametrize(("config", "length"), [(SMALL, 2), (VARYING, 2)], ids=["fixed", "varying"])
def test_a_new_network_counts_the_mean_length_in_columns_that_are_alike(counted, config, length):
    amounts, _ = counted(config, kernel=np.zeros((config.head_units[0], 1)))
    assert amounts == pytest.approx(np.full(amounts.shape, length / amounts.shape[1]), abs=1e-5)


# Half the size


@pytest.mark.parametrize("size", [(32, 48), (6, 20), (6, 18), (32, 47), (31, 48)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_is_halved_as_average_pooling_does_it(size, channels):
    """Against an independent reference."""
    images = np.random.default_rng(1).normal(size=(2, *size, channels)).astype("float32")
    pooled = tf.nn.avg_pool2d(images, 2, 2, "SAME")
    assert captcha_model._halved(tf.constant(images)).numpy() == pytest.approx(pooled.numpy(), abs=1e-6)


# Colour


@pytest.mark.parametrize("input_color", [False, True])
def test_only_a_network_that_sees_colour_tells_images_apart_that_are_equal_in_grey(input_color):
    model = captcha_model.build(replace(SMALL, input_color=input_color), channels=3)
    image = np.random.default_rng(1).integers(0, 256, (1, 32, 48, 3), np.uint8)
    red_and_blue_exchanged = image[..., ::-1]
    assert np.array_equal(grey(image), grey(red_and_blue_exchanged))
    assert np.allclose(model(image), model(red_and_blue_exchanged), atol=1e-3) != input_color


def test_a_network_sees_as_many_channels_as_its_training_images_have():
    assert captcha_model.build(SMALL).input_shape == (None, 32, 48, 1)
    assert captcha_model.build(replace(SMALL, input_color=True)).input_shape == (None, 32, 48, 3)


# The loss, and what counts as correct


def test_the_loss_is_that_of_keras_for_each_captcha():
    """Against an independent reference."""
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(5, 4, 10)).astype("float32")
    labels = rng.integers(0, 10, (5, 4)).astype("int32")
    reference = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1, reduction=None)
    expected = np.mean(reference(np.eye(10, dtype="float32")[labels], logits), axis=1)
    assert np.allclose(captcha_model.loss(tf.constant(logits), tf.constant(labels), 0.1), expected, atol=1e-6)


def test_a_captcha_is_correct_only_if_all_its_characters_are():
    labels = tf.constant([[1, 2], [3, 0], [2, 2]])
    logits = tf.one_hot([[1, 2], [3, 1], [0, 1]], 4)
    captchas, characters = captcha_model.evaluation(logits, labels, SMALL)
    assert captchas.tolist() == [True, False, False]
    assert characters.tolist() == [[True, True], [True, False], [False, False]]


@pytest.mark.parametrize("batch_size", [37, 16, 1])
def test_every_image_is_counted_once_whatever_the_batches(config, batch_size):
    records = captcha_data.open_pixels(read_manifest(VALIDATION, config), config)
    model = captcha_model.build(SMALL)
    correct = np.argmax(model(records["image"]), axis=-1) == records["labels"]  # in one batch
    forward = functools.partial(captcha_model.forward, model)
    logits, labels = captcha_model.predict(forward, captcha_data.evaluation_batches(records, batch_size))
    captchas, characters = captcha_model.evaluation(logits, labels, config)
    assert np.array_equal(labels, records["labels"])
    assert np.array_equal(characters, correct)
    assert np.array_equal(captchas, correct.all(axis=1))


@pytest.fixture
def three_are_wrong(monkeypatch):
    """Another definition of what is correct: all but the first three captchas, whatever was predicted."""

    def correct(predicted, labels, config):
        captchas = np.arange(len(labels)) >= 3
        return captchas, np.ma.array(np.repeat(captchas[:, None], 2, axis=1))

    monkeypatch.setattr(captcha_model, "correct", correct)


def test_the_trainer_the_log_the_evaluation_and_the_export_mean_the_same_by_correct(config, three_are_wrong):
    """There is one definition: where it is another one, so are the results of all who use it."""
    records = captcha_data.open_pixels(read_manifest(VALIDATION, config), config)
    logits = np.eye(4, dtype=np.float32)[records["labels"]]
    manifests = {split: read_manifest(split, config) for split in SPLITS}
    assert Checkpoints(config, manifests).judge(1, logits, records["labels"])["captcha_accuracy"] == 34 / 37
    assert messages.misread(records, logits, config).height < 2 * 32 + 3 * 20  # one row of three
    results = scores.Results(logits, records["labels"], lambda indices: [], config, "model", "source", {})
    assert scores.score(results)["captcha_accuracy"] == 34 / 37
    assert scores.score(results)["character_accuracy"] == 34 / 37


def test_the_8_bit_export_is_compared_by_what_is_correct(monkeypatch):
    logits, labels = np.zeros((10, 2, 4), np.float32), np.zeros((10, 2), np.int32)
    other = logits + 1.0
    captcha_export._compare("int8", other, logits, labels, SMALL)

    def evaluation(of, labels, config):
        return np.full(len(labels), of is logits), None

    monkeypatch.setattr(captcha_model, "evaluation", evaluation)
    captcha_export._compare("int8", other[:2], logits, labels[:2], SMALL)  # two may be lost, however few there are
    with pytest.raises(UserError, match="int8: reads 0 of 10, the checkpoint 10; not kept"):
        captcha_export._compare("int8", other, logits, labels, SMALL)
