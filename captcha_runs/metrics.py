"""Calibration and intervals: how far to trust a confidence and an accuracy.

temperature(logits, labels, captcha)        what to divide logits by to calibrate them
wilson_interval(correct, count)             where the true accuracy lies
calibration(confidence, correct)            confidence and accuracy, in bins
calibration_error(confidence, correct)      how far apart they are
thresholds(confidence, correct)             accuracy and coverage at several thresholds of the confidence
"""

import math
from typing import Any

import captcha_model
from captcha_predict.decode import LEAST, probabilities

import numpy as np
import tensorflow as tf

BINS = 15  # of the calibration error
SHARES = (1.0, 0.99, 0.98, 0.95, 0.9)  # of the captchas, the most certain first, for which a threshold is shown
TEMPERATURES = np.geomspace(0.1, 10, 95, dtype=np.float32)  # candidates, 5 % apart


def temperature(logits: np.ndarray, labels: np.ndarray, captcha: Any) -> float:
    """What to divide logits by, so that the probabilities say how often a prediction is correct.

    Guo et al. 2017 (https://arxiv.org/abs/1706.04599) choose the value with the smallest loss on captchas that training
    did not see. Label smoothing by as much as one wrong character (Platt 1999) keeps it finite where all are correct.

    Args:
      logits: float32 [count, length, classes].
      labels: int32 [count, length].
      captcha: as in captcha_predict.decode.
    """
    losses = [_loss(probabilities(logits / t, captcha), labels) for t in TEMPERATURES]
    return float(TEMPERATURES[np.argmin(losses)])


def _loss(predicted: np.ndarray, labels: np.ndarray) -> float:
    logarithms = tf.constant(np.log(predicted.clip(LEAST)))  # as logits, they give the same probabilities
    return float(tf.reduce_mean(captcha_model.loss(logarithms, tf.constant(labels), 1 / (labels.size + 1))))


def wilson_interval(correct: int, count: int) -> tuple[float, float]:
    """The 95 % confidence interval of an accuracy, `correct` of `count`.

    Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953: sound near 100 % too, where the common one is not.
    """
    z = 1.959964  # 95 % of a normal distribution lie within so many deviations
    share, spread = correct / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def calibration(confidence: np.ndarray, correct: np.ndarray) -> list[dict[str, float]]:
    """Confidence and accuracy, in BINS bins of equally many captchas, the least certain first.

    Bins of equal width (Guo et al. 2017) would put nearly all captchas of a good network into one; bins of equal
    count follow Nguyen and O'Connor 2015, https://arxiv.org/abs/1508.05154.

    Args:
      confidence: float [count], 0 to 1.
      correct: bool [count].
    Returns:
      For each bin: the mean confidence, the accuracy, and the count.
    """
    bins = np.array_split(np.argsort(confidence, kind="stable"), min(BINS, len(confidence)))
    return [
        {"confidence": float(confidence[part].mean()), "accuracy": float(correct[part].mean()), "count": len(part)}
        for part in bins
    ]


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """The expected calibration error, 0 to 1: |confidence - accuracy|, averaged over the captchas of all bins."""
    bins = calibration(confidence, correct)
    return sum(part["count"] * abs(part["confidence"] - part["accuracy"]) for part in bins) / len(confidence)


def thresholds(confidence: np.ndarray, correct: np.ndarray) -> list[dict[str, float]]:
    """The accuracy and coverage at several thresholds of the confidence.

    Returns:
      For each of SHARES: the threshold, the share of captchas at or above it, and their accuracy.
    """
    descending = np.sort(confidence)[::-1]
    rows = []
    for share in SHARES:
        threshold = descending[max(1, math.ceil(share * len(descending))) - 1]
        read = confidence >= threshold
        values = {"threshold": threshold, "share_read": read.mean(), "accuracy": correct[read].mean()}
        rows.append({name: float(value) for name, value in values.items()})
    return rows
