"""Make the README's pictures.

python docs/pictures.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from captcha_config import Config
from captcha_draw import draw

from PIL import Image

COLUMNS, ROWS, GAP = 5, 2, 8


def samples(config: Config) -> Image.Image:
    """The first validation captchas, side by side."""
    across, down = config.width + GAP, config.height + GAP
    sheet = Image.new("RGB", (COLUMNS * across + GAP, ROWS * down + GAP), "white")
    for i in range(COLUMNS * ROWS):
        sheet.paste(draw(i, "validation", config)[1], (GAP + i % COLUMNS * across, GAP + i // COLUMNS * down))
    return sheet


if __name__ == "__main__":
    samples(Config()).save(Path(__file__).parent / "samples.png", optimize=True)
