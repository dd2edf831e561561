"""Accuracy over the number of labels, and how many labels an accuracy takes, with the uncertainty of both.

points, answers = curve(measurements)       of one setting and one start

Between two sizes the curve is a straight line of the accuracy's logit, ln(p / (1 - p)), over ln(labels). Nothing is
said beyond the smallest and the largest size.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from captcha_strengths.cells import Measurement

import numpy as np

TARGETS = (0.5, 0.9, 0.99)  # captcha accuracies that the labels are given for
DRAWS = 2000  # curves that could be the true one, from which the intervals are taken
TAILS = (0.025, 0.975)  # of a 95 % interval
BELOW, ABOVE = -math.inf, math.inf  # labels: fewer than the smallest size, more than the largest


class Point(NamedTuple):
    """The mean over the seeds at one size."""

    labels: int
    accuracy: float  # 0 to 1
    low: float  # of its 95 % interval
    high: float
    seconds: float  # of training
    seeds: dict[int, float]  # the accuracy with each seed
    correct: int  # of `count`, over all seeds
    count: int


class Answer(NamedTuple):
    """How many labels an accuracy takes."""

    target: float  # captcha accuracy, 0 to 1
    labels: float  # or BELOW or ABOVE
    low: float  # of its 95 % interval, or BELOW or ABOVE
    high: float
    seconds: float | None  # of training with so many labels; None where no number is given


def curve(measurements: Sequence[Measurement]) -> tuple[list[Point], list[Answer]]:
    """The curve of one setting and one start.

    Two things make it uncertain. The held-out captchas are a sample: the binomial standard error of the logit. And
    trainings differ, and so do the captchas that happen to be labelled: the standard error of the mean over the seeds,
    with the tails of Student's t. With one seed the second is unknown, and left out.
    """
    sizes = sorted({each.labels for each in measurements})
    groups = [[each for each in measurements if each.labels == labels] for labels in sizes]
    rng = np.random.default_rng(0)
    possible = np.stack([_possible_logits(group, rng) for group in groups], axis=1)  # [draws, sizes]
    points = [_point(*pair) for pair in zip(groups, possible.T, strict=True)]
    middle = non_decreasing(np.array([_logits(group).mean() for group in groups]))
    possible = non_decreasing(possible)
    return points, [_answer(target, points, middle, possible) for target in TARGETS]


def _logits(group: Sequence[Measurement]) -> np.ndarray:
    """The logit of each accuracy, float [seeds]; half a captcha more of both kinds keeps it finite."""
    correct, count = (np.array([getattr(each, name) for each in group], float) for name in ("correct", "count"))
    return np.log((correct + 0.5) / (count - correct + 0.5))


def _possible_logits(group: Sequence[Measurement], rng: np.random.Generator) -> np.ndarray:
    """Logits that the true accuracy may have, float [DRAWS]."""
    logits, seeds = _logits(group), len(group)
    share = _share(logits.mean())
    held_out = 1 / math.sqrt(group[0].count * share * (1 - share))  # all seeds share the held-out captchas
    possible = logits.mean() + held_out * rng.standard_normal(DRAWS)
    if seeds > 1:
        possible += logits.std(ddof=1) / math.sqrt(seeds) * rng.standard_t(seeds - 1, DRAWS)
    return possible


def _share(logit: np.ndarray | float) -> np.ndarray | float:
    return 1 / (1 + np.exp(-np.asarray(logit).clip(-700, 700)))


def _point(group: Sequence[Measurement], possible: np.ndarray) -> Point:
    low, high = map(float, _share(np.quantile(possible, TAILS)))
    correct, count = sum(each.correct for each in group), sum(each.count for each in group)
    seconds = sum(each.seconds for each in group) / len(group)
    seeds = {each.seed: each.accuracy for each in group}
    return Point(group[0].labels, correct / count, low, high, seconds, seeds, correct, count)


def non_decreasing(values: np.ndarray) -> np.ndarray:
    """The nearest values, by least squares, that never fall: more labels do not make a reader worse.

    Isotonic regression in its min-max form (Robertson, Wright and Dykstra 1988): where values fall, their mean.

    Args:
      values: float [..., sizes].
    """
    sizes = values.shape[-1]

    def at(k: int) -> np.ndarray:
        lowest = [np.min([values[..., i : j + 1].mean(axis=-1) for j in range(k, sizes)], axis=0) for i in range(k + 1)]
        return np.max(lowest, axis=0)

    return np.stack([at(k) for k in range(sizes)], axis=-1)


def _answer(target: float, points: Sequence[Point], middle: np.ndarray, possible: np.ndarray) -> Answer:
    logs, logit = np.log([point.labels for point in points]), math.log(target / (1 - target))
    labels = labels_for(logit, logs, middle)
    low, high = np.quantile([labels_for(logit, logs, row) for row in possible], TAILS, method="inverted_cdf")
    seconds = np.interp(math.log(labels), logs, [point.seconds for point in points]) if 0 < labels < ABOVE else None
    return Answer(target, labels, float(low), float(high), None if seconds is None else float(seconds))


def labels_for(logit: float, log_labels: np.ndarray, logits: np.ndarray) -> float:
    """How many labels a curve that never falls takes to reach a logit; or BELOW, or ABOVE.

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
