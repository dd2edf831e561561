"""Make the README's pictures.

python docs/pictures.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from captcha_config import Config
from captcha_draw import draw
from captcha_show import contact_sheet

if __name__ == "__main__":
    samples = [draw(i, "validation", Config())[1] for i in range(10)]
    contact_sheet(samples, 5).save(Path(__file__).parent / "samples.png", optimize=True)
