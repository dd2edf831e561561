"""All results as plain values, for --json and for the report."""

import dataclasses
import math
from collections.abc import Sequence

from captcha_runs import metrics
from captcha_strengths.cells import Measurement
from captcha_strengths.curve import Answer, Point
from captcha_strengths.meaning import TRIES, Strength, seconds_per_label, through
from captcha_strengths.words import answer, answer_in_words, verdict

IDENTITY = ("setting", "labels", "start", "seed", "correct", "count")


def summary(found: Sequence[Strength], measurements: Sequence[Measurement]) -> dict:
    """All results, as values that JSON can hold.

    Returns:
      answer, a text; seconds_per_label, for typing; settings, each with its curves; and measurements, each with its
      accuracy, 95 % interval and seconds. Labels outside the sizes are None; "words" says on which side.
    """
    pace = seconds_per_label(found)
    return {
        "answer": answer(found),
        "seconds_per_label": pace,
        "settings": [_setting(strength, pace) for strength in found],
        "measurements": [_measurement(each) for each in measurements],
    }


def _measurement(each: Measurement) -> dict:
    return {
        **{name: getattr(each, name) for name in IDENTITY},
        "accuracy": each.accuracy,
        "interval": metrics.wilson_interval(each.correct, each.count),
        "seconds": each.seconds,
    }


def _setting(strength: Strength, pace: float) -> dict:
    last, human = strength.best_reader.points[-1], strength.human
    return {
        "name": strength.name,
        "verdict": verdict(strength),
        "unreadable": strength.is_unreadable,
        "trivial": strength.is_trivial,
        "best_start": strength.best_reader.start,
        "accuracy": last.accuracy,
        "through": {tries: through(last.accuracy, tries) for tries in TRIES},
        "human": human and {**dataclasses.asdict(human), "interval": human.interval},
        "stops_people_more": strength.stops_people_more,
        "curves": [
            {
                "start": each.start,
                "points": [point._asdict() for point in each.points],
                "answers": [_answer(found, each.points, pace) for found in each.answers],
            }
            for each in strength.curves
        ],
    }


def _answer(found: Answer, points: Sequence[Point], pace: float) -> dict:
    labels, low, high = (value if math.isfinite(value) else None for value in (found.labels, found.low, found.high))
    return {
        "target": found.target,
        "labels": labels,
        "interval": [low, high],
        "words": answer_in_words(found, points),
        "typing_seconds": labels and labels * pace,
        "training_seconds": found.seconds,
    }
