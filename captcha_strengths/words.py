"""What the measurements mean, in words.

verdict(strength)                   one sentence about a setting
answer(found)                       how strong the captcha is, or which setting is the strongest
"""

from collections.abc import Sequence

from captcha_strengths.cells import NOTHING
from captcha_strengths.curve import ABOVE, BELOW, Answer, Point
from captcha_strengths.meaning import TARGET, Curve, Strength, seconds_per_label, through

USUAL_TRIES = 3  # tries that the answer mentions
READABLE = 0.9  # share of the captchas that people should read


def percent(share: float) -> str:
    """Such as "99.90%"; "100.00%" only if it is all."""
    return "over 99.99%" if 0.9999 < share < 1 else f"{share:.2%}"


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
    times = f"{len(last.seeds)} x " if len(last.seeds) > 1 else ""
    read = f"{last.correct:,} of {times}{last.count // len(last.seeds):,} held-out captchas"
    if strength.is_unreadable:
        return f"Not read, because even with {last.labels:,} labels the network does no better than guessing ({read})."
    start = strength.best_reader.start
    labels = answer_in_words(answer, strength.best_reader.points)
    begun = "" if start == NOTHING else f", starting from {start}"
    if answer.labels == ABOVE:
        return f"{TARGET:.0%} accuracy is {labels}; the network then reads {percent(last.accuracy)} ({read}){begun}."
    return f"{'Trivial, because ' if strength.is_trivial else ''}{TARGET:.0%} accuracy takes {labels}{begun}."


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
    return said + _easiest(found)


def _easiest(found: Sequence[Strength]) -> str:
    """Which setting costs people least, if the time is known for several."""
    timed = [each for each in found if each.human and each.human.seconds and each.human.correct]
    if len(timed) < 2:
        return ""
    easiest = min(timed, key=lambda each: each.human.cost)
    return f" {easiest.name} costs people least: {easiest.human.cost:.1f} seconds for each captcha that they read."


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
