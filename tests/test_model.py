import functools
from dataclasses import replace

import captcha_model
from captcha_config import Config

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL


def test_logits_have_a_score_for_each_character_at_each_place():
    model = captcha_model.build(Config())
    assert model(np.zeros((3, 64, 128, 1), np.uint8)).shape == (3, 4, 10)


@pytest.mark.parametrize(("width", "height", "length"), [(16, 16, 1), (100, 60, 4), (201, 33, 7)])
def test_any_size_and_length_builds(width, height, length):
    config = replace(SMALL, width=width, height=height, length=length)
    model = captcha_model.build(config)
    assert model(np.zeros((2, height, width, 1), np.uint8)).shape == (2, length, 4)


def test_an_rgb_model_reads_as_the_grey_one_with_its_weights():
    grey, rgb = captcha_model.build(SMALL), captcha_model.build(SMALL, channels=3)
    rgb.set_weights(grey.get_weights())
    images = np.random.default_rng(1).integers(0, 256, (4, 32, 48, 3), np.uint8)
    stored = tf.cast(captcha_model.grey(images), tf.uint8)
    assert np.array_equal(rgb(images).numpy(), grey(stored).numpy())


def test_paler_and_darker_images_read_alike():
    """Standardized: a captcha of half the contrast gives nearly the same logits."""
    model = captcha_model.build(SMALL)
    image = np.random.default_rng(1).integers(0, 128, (1, 32, 48, 1), np.uint8)
    assert np.allclose(model(image), model(image * 2), atol=1e-2)


def test_the_loss_is_that_of_keras_for_each_captcha():
    """Against an independent reference."""
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(5, 4, 10)).astype("float32")
    labels = rng.integers(0, 10, (5, 4)).astype("int32")
    reference = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1, reduction=None)
    expected = np.mean(reference(np.eye(10, dtype="float32")[labels], logits), axis=1)
    assert np.allclose(captcha_model.loss(tf.constant(logits), tf.constant(labels), 0.1), expected, atol=1e-6)


def test_a_captcha_is_right_only_if_all_its_characters_are():
    labels = tf.constant([[1, 2], [3, 0], [2, 2]])
    logits = tf.one_hot([[1, 2], [3, 1], [0, 1]], 4)
    captchas, characters = captcha_model.evaluation(logits, labels)
    assert captchas.numpy().tolist() == [True, False, False]
    assert characters.numpy().tolist() == [[True, True], [True, False], [False, False]]


def test_the_score_counts_every_image_once_whatever_the_batches():
    import captcha_data

    model = captcha_model.build(SMALL)
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (37, 32, 48, 1), np.uint8)
    labels = rng.integers(0, 4, (37, 2)).astype("int32")
    right = np.argmax(model(images), axis=-1) == labels  # in one batch
    for batch_size in (37, 16, 1):
        batches = captcha_data.evaluation_batches(images, labels, batch_size)
        logits, read = captcha_model.read_all(functools.partial(captcha_model.forward, model), batches)
        captchas, characters = captcha_model.evaluation(logits, read)
        assert np.array_equal(read, labels)
        assert np.array_equal(characters, right)
        assert np.array_equal(captchas, right.all(axis=1))
