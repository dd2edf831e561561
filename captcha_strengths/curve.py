"""Accuracy over the number of labels, and the labels that an accuracy takes, with 95 % intervals.

points, answers = curve(measurements)       for one setting and one start

Between two sizes, the curve is a straight line of the accuracy's logit, ln(p / (1 - p)), over ln(labels). It is not
extrapolated beyond the smallest and the largest size.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from captcha_strengths.cells import Measurement

import numpy as np

TARGETS = (0.5, 0.9, 0.99)  # captcha accuracies for which the labels are computed
DRAWS = 2000  # random curves for the intervals
TAILS = (0.025, 0.975)  # quantiles of a 95 % interval
BELOW, ABOVE = -math.inf, math.inf  # stand for fewer labels than the smallest size, and more than the largest


class Point(NamedTuple):
    """The mean over the seeds at one size."""

    labels: int
    accuracy: float  # 0 to 1
    low: float  # of its 95 % interval
    high: float
    seconds: float  # of training
    seeds: dict[int, float]  # seed → accuracy
    correct: int  # captchas read, summed over the seeds
    count: int  # held-out captchas, summed over the seeds


class Answer(NamedTuple):
    """How many labels an accuracy takes."""

    target: float  # captcha accuracy, 0 to 1
    labels: float  # or BELOW or ABOVE
    low: float  # of its 95 % interval, or BELOW or ABOVE
    high: float
    seconds: float | None  # of training on that many labels; None for BELOW and ABOVE


def curve(measurements: Sequence[Measurement]) -> tuple[list[Point], list[Answer]]:
    """The curve of one setting and one start.

    The intervals cover two sources of uncertainty. The held-out captchas are a sample: this gives the binomial standard
    error of the logit. The trainings, and the captchas chosen for them, differ: this gives the standard error of the
    mean over the seeds, with Student's t. With one seed, the second is unknown and left out.
    """
    sizes = sorted({each.labels for each in measurements})
    groups = [[each for each in measurements if each.labels == labels] for labels in sizes]
    rng = np.random.default_rng(0)
    possible = np.stack([_possible_logits(group, rng) for group in groups], axis=1)  # [draws, sizes]
    points = [_point(*pair) for pair in zip(groups, possible.T, strict=True)]
    middle = non_decreasing(np.array([_logit(point.accuracy, point.count) for point in points]))
    possible = non_decreasing(possible)
    return points, [_answer(target, points, middle, possible) for target in TARGETS]


def _logit(accuracy: float, count: int) -> float:
    """The logit of an accuracy. 0 and 1 have none: a little more and less stands for them."""
    edge = min(1 / (4 * count), (1 - TARGETS[-1]) / 2)  # beyond every target
    share = min(max(accuracy, edge), 1 - edge)
    return math.log(share / (1 - share))


def _possible_logits(group: Sequence[Measurement], rng: np.random.Generator) -> np.ndarray:
    """Random draws of the logit of the true accuracy, float [DRAWS]."""
    seeds = len(group)
    logits = [_logit(each.accuracy, each.count) for each in group]
    count = sum(each.count for each in group)
    logit = _logit(sum(each.correct for each in group) / count, count)  # of the mean accuracy
    share = _share(logit)
    held_out = 1 / math.sqrt(group[0].count * share * (1 - share))  # all seeds share the held-out captchas
    possible = logit + held_out * rng.standard_normal(DRAWS)
    if seeds > 1:
        possible += np.std(logits, ddof=1) / math.sqrt(seeds) * rng.standard_t(seeds - 1, DRAWS)
    return possible


def _share(logit: np.ndarray | float) -> np.ndarray | float:
    return 1 / (1 + np.exp(-np.asarray(logit).clip(-700, 700)))


def _point(group: Sequence[Measurement], possible: np.ndarray) -> Point:
    low, high = map(float, _share(np.quantile(possible, TAILS)))
    correct, count = sum(each.correct for each in group), sum(each.count for each in group)
    seconds = sum(each.seconds for each in group) / len(group)
    seeds = {each.seed: each.accuracy for each in group}
    accuracy = correct / count
    return Point(group[0].labels, accuracy, min(low, accuracy), max(high, accuracy), seconds, seeds, correct, count)


def non_decreasing(values: np.ndarray) -> np.ndarray:
    """The non-decreasing values nearest to these by least squares: more labels do not make a network worse.

    This is isotonic regression in its min-max form (Robertson, Wright and Dykstra 1988). Values that fall are replaced
    by their mean.

    Args:
      values: float [..., sizes].
    """
    sizes = values.shape[-1]
    result = np.full(values.shape, -np.inf)
    for first in range(sizes):
        lowest = np.full(values.shape[:-1], np.inf)  # of the means from `first` to `last`, and to later ones
        for last in reversed(range(first, sizes)):
            lowest = np.minimum(lowest, values[..., first : last + 1].mean(axis=-1))
            result[..., last] = np.maximum(result[..., last], lowest)
    return result


def _answer(target: float, points: Sequence[Point], middle: np.ndarray, possible: np.ndarray) -> Answer:
    logs, logit = np.log([point.labels for point in points]), math.log(target / (1 - target))
    labels = labels_for(logit, logs, middle)
    low, high = np.quantile([labels_for(logit, logs, row) for row in possible], TAILS, method="inverted_cdf")
    seconds = np.interp(math.log(labels), logs, [point.seconds for point in points]) if 0 < labels < ABOVE else None
    return Answer(target, labels, float(low), float(high), None if seconds is None else float(seconds))


def labels_for(logit: float, log_labels: np.ndarray, logits: np.ndarray) -> float:
    """How many labels it takes to reach a logit, or BELOW or ABOVE. The curve must be non-decreasing.

    Args:
      log_labels, logits: float [sizes].
    """
    if logits[0] >= logit:
        return BELOW
    if logits[-1] < logit:
        return ABOVE
    after = int(np.argmax(logits >= logit))
    part = (logit - logits[after - 1]) / (logits[after] - logits[after - 1])
    return float(np.exp(log_labels[after - 1] + part * (log_labels[after] - log_labels[after - 1])))
