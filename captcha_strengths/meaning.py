"""What the measurements mean for a defender.

found = strengths(measurements, pools, humans)      each setting, with the start that needs the fewest labels
verdict(strength)                                   one sentence about a setting
answer(found)                                       how strong the captcha is, or which setting is the strongest
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from captcha_config import Config
from captcha_runs import metrics
from captcha_strengths.cells import NOTHING, Measurement
from captcha_strengths.curve import ABOVE, BELOW, TARGETS, Answer, Point, curve
from captcha_strengths.humans import Human
from captcha_strengths.settings import Pool

TRIES = (1, 3, 10)  # captchas that a session may try
USUAL_TRIES = 3  # tries that the answer mentions
SECONDS_PER_LABEL = 10.0  # for a person to type a label; a round figure, used if --human gives no seconds
TARGET = 0.9  # captcha accuracy; settings are compared by the labels that it takes; one of TARGETS
TRIVIAL = 100  # labels; a captcha that takes no more for TARGET is called trivial
READABLE = 0.9  # share of the captchas that people should read


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
        lasts = [each.points[-1] for each in self.curves]
        return all(metrics.wilson_interval(last.correct, last.count)[0] <= guessing(self.config) for last in lasts)

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


def guessing(config: Config) -> float:
    """The accuracy of the best guess; if lengths vary, this is a text of the shortest length."""
    return len(config.characters) ** -min(config.lengths) / len(config.lengths)


def through(accuracy: float, tries: int) -> float:
    """The share of sessions that get through with this many tries, each at a newly drawn captcha."""
    return 1 - (1 - accuracy) ** tries


def seconds_per_label(found: Sequence[Strength]) -> float:
    """Seconds for a person to type a label: as measured, or SECONDS_PER_LABEL."""
    timed = [each.human for each in found if each.human and each.human.seconds]
    if not timed:
        return SECONDS_PER_LABEL
    return sum(human.seconds for human in timed) / sum(human.shown for human in timed)


# In words


def percent(share: float) -> str:
    return f"{share:.2%}"


def count_in_words(labels: float, points: Sequence[Point]) -> str:
    """Labels to two significant digits; or fewer than the smallest size, or more than the largest."""
    if labels == BELOW:
        return f"fewer than {points[0].labels:,}"
    if labels == ABOVE:
        return f"more than {points[-1].labels:,}"
    return f"{float(f'{labels:.2g}'):,.0f}"


def answer_in_words(answer: Answer, points: Sequence[Point]) -> str:
    """Such as "240 labels (95 % interval 180 to 330)"."""
    if answer.labels == BELOW:
        return f"{count_in_words(BELOW, points)} labels"
    if answer.labels == ABOVE:
        return f"not reached with {points[-1].labels:,} labels"
    low, high = (count_in_words(bound, points) for bound in (answer.low, answer.high))
    return f"{count_in_words(answer.labels, points)} labels (95 % interval {low} to {high})"


def duration(seconds: float) -> str:
    """Such as "40 seconds", "12 minutes" or "3.5 hours"."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"


def verdict(strength: Strength) -> str:
    """One sentence about a setting."""
    last, answer = strength.best_reader.points[-1], strength.best_reader.answer
    read = f"{last.correct:,} of {last.count:,} held-out captchas"
    if strength.is_unreadable:
        return f"Not read: with {last.labels:,} labels the network does no better than guessing ({read})."
    start = strength.best_reader.start
    labels = answer_in_words(answer, strength.best_reader.points)
    begun = "" if start == NOTHING else f", starting from {start}"
    if answer.labels == ABOVE:
        return f"{TARGET:.0%} accuracy is {labels}; the network then reads {percent(last.accuracy)} ({read}){begun}."
    return f"{'Trivial: ' if strength.is_trivial else ''}{TARGET:.0%} accuracy takes {labels}{begun}."


def answer(found: Sequence[Strength]) -> str:
    """The answer to "how strong is my captcha?", or to "which setting helps?", in a sentence or two."""
    if len(found) == 1:
        return f"{_alone(found[0])[:-1]}{_people(found[0])}."
    hardest, *others = sorted(found, key=lambda each: each.best_reader.cost, reverse=True)
    near = [each.name for each in others if _overlap(hardest.best_reader, each.best_reader)]
    said = f"{hardest.name} is the strongest setting: {_details(hardest)}"
    if near:
        said += f" The measurement cannot distinguish it from {' or '.join(near)}."
    if others[-1].name not in near:
        said += f" {others[-1].name} is the weakest: {_details(others[-1])}"
    readable = [each for each in found if each.human and each.human.accuracy >= READABLE]
    if readable and hardest not in readable:
        best = max(readable, key=lambda each: each.best_reader.cost)
        said += f" Of the settings that people can read, {best.name} is the strongest: {_details(best)}"
    return said


def _details(strength: Strength) -> str:
    """The verdict, and what people read, to follow a colon."""
    said = verdict(strength)
    return f"{said[0].lower()}{said[1:-1]}{_people(strength)}."


def _alone(strength: Strength) -> str:
    if strength.is_unreadable or strength.best_reader.answer.labels == ABOVE:
        return verdict(strength)
    last = strength.best_reader.points[-1]
    typed = _typing(strength, seconds_per_label([strength]))
    sessions = f"with {USUAL_TRIES} tries, {percent(through(last.accuracy, USUAL_TRIES))} of the sessions get through"
    more = f" With {last.labels:,} labels it reads {percent(last.accuracy)}; {sessions}."
    return f"{verdict(strength)[:-1]}{typed}.{more}"


def _typing(strength: Strength, seconds: float) -> str:
    labels = strength.best_reader.answer.labels
    if labels == BELOW:
        return f", less than {duration(strength.best_reader.points[0].labels * seconds)} of typing"
    return f", {duration(labels * seconds)} of typing and {duration(strength.best_reader.answer.seconds)} of training"


def _people(strength: Strength) -> str:
    if not strength.human:
        return ""
    more = ", fewer than the network" if strength.stops_people_more else ""
    return f"; people read {strength.human.correct} of {strength.human.shown}{more}"


def _overlap(one: Curve, other: Curve) -> bool:
    """Whether the measurement cannot tell which of the two needs more labels."""
    if one.answer.labels == other.answer.labels:  # both BELOW, or both ABOVE
        return one.points[-1].low <= other.points[-1].high and other.points[-1].low <= one.points[-1].high
    return one.answer.low <= other.answer.high and other.answer.low <= one.answer.high
