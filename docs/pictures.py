"""Make the pictures of the README and the guides: samples, a style of one's own, learning curves, the report.

    python docs/pictures.py

Needs requirements-dev.txt, and Chromium for the report.
"""

import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from captcha_cli import UserError, quiet_import, run

with quiet_import(__name__):
    from captcha_runs import log

from captcha_config import Config
from captcha_runs.transfer import WEIGHTS
from captcha_sets.draw import draw
from captcha_sets.manifest import VALIDATION
from captcha_sets.sheet import contact_sheet

import own_style
from matplotlib.figure import Figure
from playwright.sync_api import sync_playwright

DOCS = Path(__file__).parent


def samples() -> None:
    images = [draw(i, VALIDATION, Config())[1] for i in range(10)]
    contact_sheet(images, 5).save(DOCS / "samples.png", optimize=True)


def style() -> None:
    rng = random.Random("pictures")
    images = [own_style.picture("".join(rng.choices("0123456789", k=4)), rng) for _ in range(12)]
    contact_sheet(images, 4).save(DOCS / "own_style.png", optimize=True)


def learning() -> None:
    """The accuracy of the shipped networks over the steps of training."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    for name in ("digits", "letters", "capitals"):
        entries = [entry for entry in log.read(WEIGHTS / name) if "captcha_accuracy" in entry]
        accuracy = [100 * entry["captcha_accuracy"] for entry in entries]
        axes.plot([entry["step"] for entry in entries], accuracy, ".-", label=name)
    axes.set(xlabel="steps of 128 images", ylabel="captcha accuracy, %", ylim=(96, 100.1))
    axes.legend(frameon=False, loc="lower right")
    axes.grid(alpha=0.3)
    figure.savefig(DOCS / "learning.png", dpi=110)


def report() -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not browser:
        raise UserError("docs/report.png: is as it was; it takes Chromium, which is not installed")
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


def main() -> None:
    for picture in (samples, style, learning, report):
        picture()


if __name__ == "__main__":
    run(main)
