"""Intervals, calibration, thresholds: against published numbers, and against what they mean."""

import captcha_model
from captcha_config import Config
from captcha_runs import metrics

import numpy as np
import pytest
import tensorflow as tf


def test_the_interval_is_wilsons():
    """Against the published examples of Newcombe 1998, table I: 81 of 263 and 15 of 148."""
    assert metrics.wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert metrics.wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert metrics.wilson_interval(100, 100)[1] == 1.0


def test_the_calibration_error_is_what_confidence_and_accuracy_differ_by():
    rng = np.random.default_rng(1)
    confidence = rng.random(30_000)
    correct = rng.random(30_000) < confidence
    assert metrics.calibration_error(confidence, correct) < 0.01
    overconfident = rng.random(30_000) < confidence**2  # by the integral of x - x²
    assert metrics.calibration_error(confidence, overconfident) == pytest.approx(1 / 6, abs=0.01)
    assert metrics.calibration_error(np.ones(10), np.arange(10) < 7) == pytest.approx(0.3)


def test_the_bins_of_the_calibration_hold_every_captcha_once():
    confidence = np.random.default_rng(1).random(1000)
    bins = metrics.calibration(confidence, confidence > 0.5)
    assert len(bins) == metrics.BINS and sum(part["count"] for part in bins) == 1000
    means = [part["confidence"] for part in bins]
    assert means == sorted(means)
    assert sum(part["count"] * part["confidence"] for part in bins) / 1000 == pytest.approx(confidence.mean())


def test_fewer_captchas_than_bins_have_a_calibration_too():
    assert [part["count"] for part in metrics.calibration(np.array([0.2, 0.9]), np.array([False, True]))] == [1, 1]


def test_the_thresholds_say_what_is_gained_by_leaving_out_the_least_certain():
    confidence = np.arange(1, 101) / 100
    correct = confidence > 0.08  # the eight least certain are wrong
    rows = metrics.thresholds(confidence, correct)
    assert [row["share_read"] for row in rows] == [1, 0.99, 0.98, 0.95, 0.9]
    assert [row["threshold"] for row in rows] == [0.01, 0.02, 0.03, 0.06, 0.11]
    assert [row["accuracy"] for row in rows] == [92 / 100, 92 / 99, 92 / 98, 92 / 95, 90 / 90]


@pytest.mark.parametrize("scale", [0.25, 1.0, 4.0])
def test_the_temperature_undoes_a_wrong_scale_of_the_logits(scale):
    """Labels drawn from the softmax of the logits: these have temperature 1, and as much as they are scaled."""
    rng = np.random.default_rng(1)
    logits = rng.normal(scale=2, size=(3000, 4, 10)).astype(np.float32)
    shares = tf.nn.softmax(logits).numpy().cumsum(axis=-1)
    labels = (rng.random((3000, 4, 1)) > shares[..., :-1]).sum(axis=-1).astype(np.int32)
    found = metrics.temperature(logits * scale, labels, Config())
    assert found == pytest.approx(scale, rel=0.06)  # candidates are 5 % apart


def test_the_temperature_is_finite_where_every_prediction_is_correct():
    labels = np.random.default_rng(1).integers(0, 10, (500, 4), np.int32)
    logits = 8 * np.eye(10, dtype=np.float32)[labels]
    assert captcha_model.evaluation(logits, labels, Config())[0].all()
    assert metrics.TEMPERATURES[0] < metrics.temperature(logits, labels, Config()) < metrics.TEMPERATURES[-1]
