"""What the measurements mean for a defender.

found = strengths(measurements, pools, humans)      each setting, with the start that needs the fewest labels
guessing(config), through(accuracy, tries)          what an accuracy is worth
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from captcha_config import Config
from captcha_runs import metrics
from captcha_strengths.cells import Measurement
from captcha_strengths.curve import TARGETS, Answer, Point, curve
from captcha_strengths.humans import Human
from captcha_strengths.settings import Pool

TRIES = (1, 3, 10)  # captchas that a session may try
SECONDS_PER_LABEL = 10.0  # for a person to type a label; a round figure, used if --human gives no seconds
TARGET = 0.9  # captcha accuracy; settings are compared by the labels that it takes; one of TARGETS
TRIVIAL = 100  # labels; a captcha that takes no more for TARGET is called trivial


@dataclass(frozen=True)
class Curve:
    """One setting and one start."""

    start: str
    points: list[Point]
    answers: list[Answer]

    @property
    def answer(self) -> Answer:
        """The labels that TARGET takes."""
        return self.answers[TARGETS.index(TARGET)]

    @property
    def cost(self) -> tuple[float, float]:
        """For comparison: the labels that TARGET takes, then the share misread with the most labels."""
        return self.answer.labels, 1 - self.points[-1].accuracy


@dataclass(frozen=True)
class Strength:
    """One setting, with a curve for each start."""

    name: str
    config: Config
    curves: list[Curve]
    human: Human | None

    @property
    def best_reader(self) -> Curve:
        """The curve of the start that needs the fewest labels; a defender has to expect it."""
        return min(self.curves, key=lambda each: each.cost)

    @property
    def is_unreadable(self) -> bool:
        """Whether no start reads significantly more than guessing would, with the most labels."""
        return all(_lowest(each.points[-1]) <= guessing(self.config) for each in self.curves)

    @property
    def is_trivial(self) -> bool:
        """Whether TRIVIAL labels are enough. BELOW counts as the smallest size: fewer were not measured."""
        return max(self.best_reader.answer.labels, self.best_reader.points[0].labels) <= TRIVIAL

    @property
    def stops_people_more(self) -> bool:
        """Whether people read significantly fewer captchas than the network does."""
        return self.human is not None and self.human.interval[1] < self.best_reader.points[-1].accuracy


def strengths(
    measurements: Sequence[Measurement], pools: Sequence[Pool], humans: Mapping[str, Human]
) -> list[Strength]:
    """The settings, in their order, each with a curve for each start."""
    found = []
    for pool in pools:
        ours = [each for each in measurements if each.setting == pool.name]
        starts = dict.fromkeys(each.start for each in ours)
        curves = [Curve(start, *curve([each for each in ours if each.start == start])) for start in starts]
        found.append(Strength(pool.name, pool.config, curves, humans.get(pool.name)))
    return found


def _lowest(point: Point) -> float:
    """The lower end of the accuracy's 95 % interval. All seeds read the same captchas, so these count once."""
    count = point.count // len(point.seeds)
    return metrics.wilson_interval(point.accuracy * count, count)[0]


def guessing(config: Config) -> float:
    """The accuracy of the best guess; if lengths vary, this is a text of the shortest length."""
    return len(config.characters) ** -min(config.lengths) / len(config.lengths)


def through(accuracy: float, tries: int) -> float:
    """The share of sessions that get through with this many tries, each at a newly drawn captcha.

    It is 1 only if the accuracy is 1, where rounding would make it so as well.
    """
    return 1.0 if accuracy == 1 else min(1 - (1 - accuracy) ** tries, math.nextafter(1, 0))


def seconds_per_label(found: Sequence[Strength]) -> float:
    """Seconds for a person to type a label: as measured, or SECONDS_PER_LABEL."""
    timed = [each.human for each in found if each.human and each.human.seconds]
    if not timed:
        return SECONDS_PER_LABEL
    return sum(human.seconds for human in timed) / sum(human.shown for human in timed)
