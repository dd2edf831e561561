"""What the charts of the HTML pages share. They follow the colours of the page, light or dark.

with chart(size) as (figure, axes):     draw
    svg(figure, title)                  the figure, to embed in a page
"""

import contextlib
import io
from collections.abc import Iterator

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#010203"  # a placeholder for the colour of the page's text
FIRST, SECOND = "#3584e4", "#e66100"  # visible on white and on black, and to colour-blind people
_STYLE = {
    "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "svg.fonttype": "none", "svg.hashsalt": "captcha", "font.family": "sans-serif", "axes.spines.top": False,
    "axes.spines.right": False,
}  # fmt: skip


@contextlib.contextmanager
def chart(size: tuple[float, float]) -> Iterator[tuple[Figure, Axes]]:
    """A figure of this size, in inches, and its axes."""
    with rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        yield figure, figure.subplots()


def svg(figure: Figure, title: str) -> Markup:
    """The figure as an SVG element. Screen readers read its title."""
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Title": title})
    picture = drawn.getvalue()
    return Markup(picture[picture.index("<svg") :].replace(INK, "currentColor"))
