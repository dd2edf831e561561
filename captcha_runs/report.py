"""An evaluation as one HTML page: it opens from the disk, on a phone too, in light and in dark.

write(path, scored, results, entries)     the page; its layout is in report.html
"""

import platform
from importlib.metadata import version
from pathlib import Path

from captcha_predict.decode import classes
from captcha_runs import attention, html
from captcha_runs.charts import FIRST, INK, SECOND, chart, svg
from captcha_runs.scores import Results, gallery

import numpy as np
from markupsafe import Markup

END = "(end)"  # stands for "no character here"
PACKAGES = ("tensorflow", "keras", "numpy", "captcha", "pillow")


def write(path: Path, scored: dict, results: Results, entries: list[dict]) -> None:
    """Write the page.

    Args:
      scored: as scores.score returns it.
      results: what was scored.
      entries: of its training, as log.read returns them; may be empty.
    Raises:
      OSError: the page cannot be written.
    """
    config = results.config
    evaluated = [entry for entry in entries if "captcha_accuracy" in entry]
    charts = {
        "confusions": _confusions(scored["confusions"], classes(config)),
        "calibration": _calibration(scored["calibration"]),
        "training": _training(entries, evaluated) if evaluated else "",
    }
    shown = {heading: [_captcha(captcha) for captcha in captchas] for heading, captchas in gallery(results).items()}
    html.write(
        path,
        "report.html",
        scored=scored,
        config=config,
        charts=charts,
        gallery=shown,
        tables=_tables(scored, results.trained_with, evaluated),
        percent=_percent,
    )


def _percent(share: float) -> str:
    return f"{share:.2%}"


def _tables(scored: dict, trained_with: dict, evaluated: list[dict]) -> dict[str, list]:
    """The rows of the page's tables."""
    low, high = scored["interval"]
    versions = {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}
    return {
        "measures": [
            ("captcha accuracy (every character correct)", _percent(scored["captcha_accuracy"])),
            ("its 95 % interval", f"{_percent(low)} to {_percent(high)}"),
            ("character accuracy", _percent(scored["character_accuracy"])),
            ("captchas", scored["count"]),
            ("calibration error", _percent(scored["calibration_error"])),
        ],
        "by_position": [
            (i, "none there" if share is None else _percent(share)) for i, share in enumerate(scored["by_position"], 1)
        ],
        "by_character": [(name, _percent(share)) for name, share in scored["by_character"].items()],
        "by_length": [
            (length, _percent(part["captcha_accuracy"]), part["count"]) for length, part in scored["by_length"].items()
        ],
        "confusions": [(a or END, b or END, count) for a, b, count in scored["confusions"]],
        "calibration": [
            (f"{part['confidence']:.4f}", f"{part['accuracy']:.4f}", part["count"]) for part in scored["calibration"]
        ],
        "thresholds": [
            (f"{row['threshold']:.4f}", _percent(row["share_read"]), _percent(row["accuracy"]))
            for row in scored["thresholds"]
        ],
        "training": [
            (entry["step"], f"{entry['loss']:.4f}", _percent(entry["captcha_accuracy"]), f"{entry['seconds']:.0f}")
            for entry in evaluated
        ],
        "config": list(trained_with.items()),
        "versions": list(versions.items()),
    }


def _captcha(captcha: dict) -> dict:
    return {
        **captcha,
        "png": html.embedded(captcha["image"]),
        "tinted": html.embedded(attention.tinted(captcha["image"], captcha["weights"])) if "weights" in captcha else "",
        "by_position": list(zip(captcha["prediction"], captcha["probabilities"], strict=True)),
    }


def _confusions(confusions: list, names: tuple[str, ...]) -> Markup:
    """The confusion matrix without its diagonal, which would outshine everything else."""
    counts = np.zeros((len(names), len(names)))
    for truth, prediction, times in confusions:
        counts[names.index(truth), names.index(prediction)] = times
    with chart((6, 5)) as (figure, axes):
        shown = axes.imshow(np.ma.masked_equal(counts, 0), cmap="viridis_r", interpolation="nearest")
        axes.set(xlabel="prediction", ylabel="truth", xticks=range(len(names)), yticks=range(len(names)))
        axes.set_xticklabels([name or END for name in names])
        axes.set_yticklabels([name or END for name in names])
        figure.colorbar(shown, label="times")
        return svg(figure, "confusion matrix")


def _calibration(bins: list[dict]) -> Markup:
    confidence, accuracy = ([part[name] for part in bins] for name in ("confidence", "accuracy"))
    lowest = min(*confidence, *accuracy)
    with chart((6, 4)) as (figure, axes):
        axes.plot([lowest, 1], [lowest, 1], color=INK, linestyle=":", label="perfectly calibrated")
        axes.plot(confidence, accuracy, "o-", color=FIRST, label="this network")
        axes.set(xlabel="confidence", ylabel="accuracy")
        axes.legend(frameon=False)
        return svg(figure, "calibration curve")


def _training(entries: list[dict], evaluated: list[dict]) -> Markup:
    """Loss and accuracy over the steps."""
    with chart((6, 4)) as (figure, axes):
        accuracy = [entry["captcha_accuracy"] for entry in evaluated]
        axes.plot([entry["step"] for entry in evaluated], accuracy, "o-", color=FIRST)
        axes.set(xlabel="step", ylabel="captcha accuracy (validation)", ylim=(0, 1))
        axes.yaxis.label.set_color(FIRST)
        other = axes.twinx()
        other.plot([entry["step"] for entry in entries], [entry["loss"] for entry in entries], color=SECOND)
        other.set(ylabel="loss (training)", ylim=(0, None))
        other.yaxis.label.set_color(SECOND)
        return svg(figure, "learning curve")
