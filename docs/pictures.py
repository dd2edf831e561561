"""Make the README's pictures.

python docs/pictures.py
"""

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from captcha_config import Config
from captcha_draw import draw
from captcha_show import contact_sheet

import own_style

DOCS = Path(__file__).parent

if __name__ == "__main__":
    samples = [draw(i, "validation", Config())[1] for i in range(10)]
    contact_sheet(samples, 5).save(DOCS / "samples.png", optimize=True)
    rng = random.Random("pictures")
    own = [own_style.picture("".join(rng.choices("0123456789", k=4)), rng) for _ in range(12)]
    contact_sheet(own, 4).save(DOCS / "own_style.png", optimize=True)
