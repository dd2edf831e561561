"""One page of all there is to see of an evaluation: it opens from disk, on a phone too, in light and in dark.

write(path, scored, shown, ...)     the page, of what captcha_evaluate has found
"""

import base64
import html
import io
import json
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from captcha_config import Config
from captcha_draw import png

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

INK = "#010203"  # what is drawn in it takes the colour of the page's text
FIRST, SECOND = "#3584e4", "#e66100"  # seen on white and on black, and by people who confuse red and green
STYLE = {
    "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "svg.fonttype": "none", "svg.hashsalt": "captcha", "font.family": "sans-serif", "axes.spines.top": False,
    "axes.spines.right": False,
}  # fmt: skip
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 1rem auto; padding: 0 1rem; }}
p {{ overflow-wrap: break-word; }}
h2 {{ margin-top: 2.5rem; }}
.scroll {{ overflow-x: auto; margin: 1rem 0; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .15rem .7rem; border-bottom: 1px solid #8886; text-align: left; }}
svg {{ max-width: 100%; height: auto; }}
.gallery {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: 1rem; }}
figure {{ margin: 0; }}
figure img {{ width: 100%; max-width: 16rem; }}
figcaption {{ font-size: .85rem; }}
</style>
{body}
<script type="application/json" id="score">{score}</script>
</html>
"""


def write(
    path: Path,
    scored: dict,
    shown: dict[str, list[dict[str, Any]]],
    config: Config,
    settings: dict,
    entries: list[dict],
) -> None:
    """Write the page.

    Args:
      scored: what captcha_evaluate.score gives.
      shown: heading → captchas: truth, reading, confidence, probabilities (of the characters read), image.
      config: of the network.
      settings: name → value, what it was trained with.
      entries: what captcha_log.read gives of its training; may be empty.
    Raises:
      OSError: it cannot be written.
    """
    low, high = scored["interval"]
    body = [
        f"<h1>{scored['captcha_accuracy']:.2%} of {scored['count']} captchas read right</h1>",
        f"<p>{_text(scored['model'])} on {_text(scored['source'])}: {config.length} of {len(config.characters)} "
        f"characters, {config.width}x{config.height} pixels.</p>",
        _table(
            ("measure", "value"),
            (
                ("captcha accuracy (all characters right)", f"{scored['captcha_accuracy']:.2%}"),
                ("its 95 % interval", f"{low:.2%} to {high:.2%}"),
                ("character accuracy", f"{scored['character_accuracy']:.2%}"),
                ("captchas", scored["count"]),
                ("calibration error", f"{scored['calibration_error']:.2%}"),
            ),
        ),
        "<h2>By place and by character</h2>",
        _table(("place", "right"), ((place + 1, f"{share:.2%}") for place, share in enumerate(scored["by_place"]))),
        _table(("character", "right"), ((name, f"{share:.2%}") for name, share in scored["by_character"].items())),
        "<h2>What is taken for what</h2>",
        _confusion(scored["confusions"], config.characters),
        f"<details><summary>{len(scored['confusions'])} kinds of confusion, in numbers</summary>",
        _table(("it was", "read as", "times"), scored["confusions"]),
        "</details>",
        "<h2>Can the confidence be believed?</h2>",
        "<p>Captchas by their confidence, in groups of equally many: a reader to be trusted is right as often as it "
        "says.</p>",
        _calibration(scored["calibration"]),
        _table(
            ("confidence", "right", "captchas"),
            ((f"{one['confidence']:.4f}", f"{one['accuracy']:.4f}", one["count"]) for one in scored["calibration"]),
        ),
        "<h2>What to leave to a person</h2>",
        _table(
            ("read if confidence is at least", "share read", "right of those"),
            (
                (f"{line['threshold']:.4f}", f"{line['share_read']:.2%}", f"{line['accuracy']:.2%}")
                for line in scored["thresholds"]
            ),
        ),
        "<h2>How it learned</h2>",
        _learning(entries),
    ]
    for heading, captchas in shown.items():
        body += [f"<h2>{_text(heading)}</h2>", '<div class="gallery">', *map(_captcha, captchas), "</div>"]
        body += [] if captchas else ["<p>None.</p>"]
    versions = {name: version(name) for name in ("tensorflow", "keras", "numpy", "captcha", "pillow")}
    versions["python"] = platform.python_version()
    body += ["<h2>Config and versions</h2>", _table(("name", "value"), settings.items())]
    body += [_table(("package", "version"), versions.items())]
    score = json.dumps(scored, ensure_ascii=False).replace("<", "\\u003c")
    title = f"{scored['captcha_accuracy']:.2%} of {scored['count']}"
    path.write_text(PAGE.format(title=title, body="\n".join(body), score=score), encoding="utf-8")


def _text(value: Any) -> str:
    return html.escape(str(value))


def _table(head: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    lines = ["".join(f"<td>{_text(cell)}</td>" for cell in row) for row in rows]
    top = "".join(f"<th>{_text(cell)}</th>" for cell in head)
    return f'<div class="scroll"><table><tr>{top}</tr>{"".join(f"<tr>{line}</tr>" for line in lines)}</table></div>'


def _captcha(captcha: dict[str, Any]) -> str:
    encoded = base64.b64encode(png(captcha["image"])).decode()
    places = ", ".join(
        f"{_text(c)}: {share:.3f}" for c, share in zip(captcha["reading"], captcha["probabilities"], strict=True)
    )
    return (
        f'<figure><img src="data:image/png;base64,{encoded}" alt="captcha {_text(captcha["truth"])}">'
        f"<figcaption>is <b>{_text(captcha['truth'])}</b>, read as <b>{_text(captcha['reading'])}</b>, confidence "
        f"{captcha['confidence']:.3f}<br>{places}</figcaption></figure>"
    )


def _svg(figure: Figure, title: str) -> str:
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Title": title})
    picture = drawn.getvalue()
    return picture[picture.index("<svg") :].replace(INK, "currentColor")


def _confusion(confusions: list, characters: str) -> str:
    """The confusion matrix without its diagonal, which would outshine all else."""
    counts = np.zeros((len(characters), len(characters)))
    for truth, reading, times in confusions:
        counts[characters.index(truth), characters.index(reading)] = times
    with rc_context(STYLE):
        figure = Figure(figsize=(6, 5), layout="constrained")
        axes = figure.subplots()
        shown = axes.imshow(np.ma.masked_equal(counts, 0), cmap="viridis_r", interpolation="nearest")
        axes.set(xlabel="read as", ylabel="it was", xticks=range(len(characters)), yticks=range(len(characters)))
        axes.set_xticklabels(characters)
        axes.set_yticklabels(characters)
        figure.colorbar(shown, label="times")
        return _svg(figure, "confusion matrix")


def _calibration(groups: list[dict]) -> str:
    with rc_context(STYLE):
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        confidence, accuracy = ([group[name] for group in groups] for name in ("confidence", "accuracy"))
        lowest = min(*confidence, *accuracy)
        axes.plot([lowest, 1], [lowest, 1], color=INK, linestyle=":", label="to be trusted")
        axes.plot(confidence, accuracy, "o-", color=FIRST, label="this network")
        axes.set(xlabel="confidence", ylabel="share right")
        axes.legend(frameon=False)
        return _svg(figure, "calibration curve")


def _learning(entries: list[dict]) -> str:
    """Loss and accuracy over the steps, as a picture and as numbers."""
    scored = [entry for entry in entries if "captcha_accuracy" in entry]
    if not scored:
        return "<p>There is no log beside the model.</p>"
    with rc_context(STYLE):
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        axes.plot([e["step"] for e in scored], [e["captcha_accuracy"] for e in scored], "o-", color=FIRST)
        axes.set(xlabel="step", ylabel="captcha accuracy (validation)", ylim=(0, 1))
        axes.yaxis.label.set_color(FIRST)
        other = axes.twinx()
        other.plot([e["step"] for e in entries], [e["loss"] for e in entries], color=SECOND)
        other.set(ylabel="loss (training)", ylim=(0, None))
        other.yaxis.label.set_color(SECOND)
        picture = _svg(figure, "learning curve")
    rows = ((e["step"], f"{e['loss']:.4f}", f"{e['captcha_accuracy']:.2%}", f"{e['seconds']:.0f}") for e in scored)
    return picture + _table(("step", "loss", "captcha accuracy (validation)", "seconds"), rows)
