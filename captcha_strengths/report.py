"""The strength of a captcha as one HTML page. It opens from the disk, on a phone too, in light and dark colours.

write(path, found, values, samples)     the page; its layout is in strength.html
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from captcha_runs import html
from captcha_runs.charts import FIRST, INK, SECOND, chart, svg
from captcha_strengths.curve import TARGETS
from captcha_strengths.humans import Human
from captcha_strengths.meaning import TARGET, TRIES, Curve, Strength
from captcha_strengths.words import answer_in_words, duration, percent

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import NullLocator
from PIL import Image

TEMPLATE = Path(__file__).parent / "strength.html"
LOWEST, HIGHEST = 0.0005, 0.9998  # accuracies at the ends of the charts' axis
TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)  # accuracies
COLORS = (FIRST, SECOND)  # of the starts, in turn; the markers differ
MARKERS = "os^Dv"
SIZE = (5, 3.6)  # inches; small enough for the text to be legible on a phone


def write(
    path: Path, found: Sequence[Strength], values: dict, samples: Mapping[str, Sequence[tuple[str, Image.Image]]]
) -> None:
    """Write the page.

    Args:
      values: as summary.summary returns them.
      samples: (text, image) of captchas of each setting.
    Raises:
      OSError: the page cannot be written.
    """
    settings = [
        {
            **setting,
            "samples": [{"text": text, "png": html.embedded(image)} for text, image in samples[strength.name]],
            "chart": _chart(strength),
            "points": _points(strength),
            "answers": _answers(setting),
            "image": f"{strength.config.lengths_in_words} of {len(strength.config.characters)} characters,"
            f" {strength.config.width}x{strength.config.height} pixels",
        }
        for strength, setting in zip(found, values["settings"], strict=True)
    ]
    html.write(
        path,
        TEMPLATE,
        values=values,
        settings=settings,
        target=f"{TARGET:.0%}",
        compared=_compared(found),
        through=[_through(setting) for setting in values["settings"]],
        tries=TRIES,
        labels_per_hour=f"{3600 / values['seconds_per_label']:.0f}",
        several_seeds=all(len(point.seeds) > 1 for each in found for line in each.curves for point in line.points),
    )


def _compared(found: Sequence[Strength]) -> list[tuple]:
    """The settings side by side, the strongest first."""
    return [
        (
            each.name,
            answer_in_words(each.best_reader.answer, each.best_reader.points),
            each.best_reader.start,
            percent(each.best_reader.points[-1].accuracy),
            _people(each),
            *_people_in_detail(each.human),
        )
        for each in sorted(found, key=lambda each: each.best_reader.cost, reverse=True)
    ]


def _people(strength: Strength) -> str:
    human = strength.human
    if not human:
        return "not measured"
    low, high = human.interval
    said = f"{human.correct} of {human.shown} ({percent(low)} to {percent(high)})"
    return f"{said}, fewer than the network" if strength.stops_people_more else said


def _people_in_detail(human: Human | None) -> tuple[str, str]:
    """Their character accuracy, and the seconds that they take for a captcha."""
    if not human:
        return "–", "–"
    characters = percent(human.correct_characters / human.characters) if human.characters else "–"
    return characters, f"{human.seconds_each:.1f}" if human.seconds else "–"


def _through(setting: dict) -> tuple:
    shares = [percent(share) for share in setting["through"].values()]
    human = setting["human"]
    return (setting["name"], *shares, percent(human["correct"] / human["shown"]) if human else "not measured")


def _answers(setting: dict) -> list[tuple]:
    return [
        (
            curve["start"],
            f"{answer['target']:.0%}",
            answer["words"],
            _time(answer["typing_seconds"]),
            _time(answer["training_seconds"]),
        )
        for curve in setting["curves"]
        for answer in curve["answers"]
    ]


def _time(seconds: float | None) -> str:
    return "–" if seconds is None else duration(seconds)


def _points(strength: Strength) -> list[tuple]:
    return [
        (
            curve.start,
            f"{point.labels:,}",
            percent(point.accuracy),
            f"{percent(point.low)} to {percent(point.high)}",
            ", ".join(percent(accuracy) for accuracy in point.seeds.values()),
            f"{point.seconds:.1f}",
        )
        for curve in strength.curves
        for point in curve.points
    ]


def _chart(strength: Strength) -> Markup:
    """Accuracy over labels, on the scales on which the curve is interpolated."""
    with chart(SIZE) as (figure, axes):
        for target in TARGETS:
            axes.axhline(target, color=INK, linewidth=0.5, linestyle=":")
        for number, curve in enumerate(strength.curves):
            _line(axes, curve, COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)])
        sizes = sorted({point.labels for curve in strength.curves for point in curve.points})
        axes.set(xscale="log", yscale="logit", xlabel="labels", ylabel="captcha accuracy", ylim=(LOWEST, HIGHEST))
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())
        axes.legend(frameon=False, loc="lower right")  # curves rise
        return svg(figure, f"captcha accuracy over labels, {strength.name}")


def _line(axes, curve: Curve, color: str, marker: str) -> None:
    labels = [point.labels for point in curve.points]
    middle, low, high = (
        np.clip([getattr(point, name) for point in curve.points], LOWEST, HIGHEST)
        for name in ("accuracy", "low", "high")
    )
    axes.plot(labels, middle, color=color, marker=marker, label=f"from {curve.start}")
    axes.vlines(labels, low, high, color=color)
