"""The try-out page, and its API: POST an image, get the prediction as JSON.

routes(trained, config)         for captcha_pages.server
"""

import dataclasses
import functools
import os

from captcha_config import Config
from captcha_pages import network, server
from captcha_runs import html
from captcha_runs.trained import Trained, drawn_like
from captcha_sets.draw import check_drawing, check_trusted, draw

from starlette.routing import Route

SPLIT = "try/captchas"  # a name that no set uses, so that no set has these captchas
SLIDERS = {  # field → its label and its largest value on the page
    "noise_dots": ("noise dots", 200),
    "noise_curves": ("curves", 10),
    "rotation": ("rotation, degrees each way", 90),
    "font_size": ("font size, pixels", 100),
    "length": ("characters", 12),
}
SMALLEST = {"font_size": 4, "length": 1}  # smallest values; the other sliders begin at 0


def routes(trained: Trained, config: Config) -> list[Route]:
    """The page's routes.

    Args:
      config: its drawer is trusted. It draws for a network that was trained on imported images.
    """
    like = _drawn_like(trained, config)

    def draw_one(number: int, noise_dots: int, noise_curves: int, rotation: int, font_size: int, length: int) -> dict:
        """Draw a captcha: its text, and its PNG file in base64. Raises UserError if a value is out of range."""
        values = {"noise_dots": noise_dots, "noise_curves": noise_curves, "character_rotate": (-rotation, rotation)}
        drawn_with = dataclasses.replace(like, **values, font_sizes=(font_size,), length=length, min_length=0)
        check_trusted(drawn_with.drawer, config)
        check_drawing(drawn_with)
        text, image = draw(number, SPLIT, drawn_with)
        return {"text": text, "png": html.embedded(image)}

    return [
        server.page("/", "try.html", network=trained, sliders=_sliders(like)),
        server.post("/api/draw", draw_one),
        server.post_bytes("/api/read", functools.partial(network.read, trained)),
    ]


def _drawn_like(trained: Trained, config: Config) -> Config:
    """The config to draw with: that of the network's training captchas.

    If these were imported, or one of their fonts is not on this machine, it is `config` with their characters and size.
    """
    like = drawn_like(trained, trained.drawn_with)
    if trained.drawn_with["source"] is None and all(map(os.path.exists, like.fonts)):
        return like
    return drawn_like(trained, dataclasses.asdict(config))


def _sliders(like: Config) -> list[dict]:
    """The name, range and first value of each slider."""
    values = {
        "noise_dots": like.noise_dots,
        "noise_curves": like.noise_curves,
        "rotation": max(map(abs, like.character_rotate)),
        "font_size": like.font_sizes[0],
        "length": like.length,
    }
    return [
        {
            "field": field,
            "name": name,
            "low": SMALLEST.get(field, 0),
            "high": max(high, values[field]),
            "value": values[field],
        }
        for field, (name, high) in SLIDERS.items()
    ]
