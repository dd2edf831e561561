"""Make the README's pictures: samples, one's own style, the learning curve, the report (that takes Chromium).

    python docs/pictures.py

It needs requirements-dev.txt, and Chromium for the last one.
"""

import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import captcha_log
import captcha_predict
from captcha_config import Config
from captcha_draw import draw
from captcha_show import contact_sheet

import own_style
from matplotlib.figure import Figure
from playwright.sync_api import sync_playwright

DOCS = Path(__file__).parent


def samples() -> None:
    images = [draw(i, "validation", Config())[1] for i in range(10)]
    contact_sheet(images, 5).save(DOCS / "samples.png", optimize=True)


def style() -> None:
    rng = random.Random("pictures")
    images = [own_style.picture("".join(rng.choices("0123456789", k=4)), rng) for _ in range(12)]
    contact_sheet(images, 4).save(DOCS / "own_style.png", optimize=True)


def learning() -> None:
    """Of the networks that ship, over the seconds of training."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    for name in ("digits", "letters", "capitals"):
        entries = [e for e in captcha_log.read(captcha_predict.SHIPPED / name) if "captcha_accuracy" in e]
        axes.plot([e["seconds"] for e in entries], [100 * e["captcha_accuracy"] for e in entries], ".-", label=name)
    axes.set(xlabel="seconds of training on two CPU cores", ylabel="captcha accuracy, %", ylim=(96, 100.1))
    axes.legend(frameon=False, loc="lower right")
    axes.grid(alpha=0.3)
    figure.savefig(DOCS / "learning.png", dpi=110)


def report() -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = Path(folder, "report.html")
        script = DOCS.parent / "captcha_evaluate.py"
        words = [sys.executable, script, "--model", "digits", "--fresh", "20000", "--report", page]
        subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        shown = chromium.new_page(viewport={"width": 760, "height": 560})
        shown.goto(page.as_uri())
        shown.get_by_role("heading", name="Misread").evaluate("heading => heading.scrollIntoView()")
        shown.screenshot(path=DOCS / "report.png")


if __name__ == "__main__":
    for picture in (samples, style, learning, report):
        picture()
