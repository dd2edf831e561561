"""How fast the labelling page is, with many pictures in the folder: a script presses the keys in Chromium.

    python benchmarks/labelling.py [--folder 10000] [--labels 200]

The script's reading takes no time: it types the picture's text and presses Enter. It needs Chromium.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from captcha_cli import UserError, run
from captcha_config import Config
from captcha_sets.pool import draw_many

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NEXT = "other => !done.hidden || (file.textContent !== other && picture.complete && picture.naturalWidth > 0)"


def draw_pictures(folder: Path, count: int) -> dict[str, str]:
    """Draw pictures; returns file → text."""
    texts = {}
    for i, (text, content) in enumerate(draw_many(range(count), "benchmark", Config())):
        texts[f"{i:06}.png"] = text
        (folder / f"{i:06}.png").write_bytes(content)
    return texts


def first_picture(page: Page, folder: Path) -> tuple[float, subprocess.Popen]:
    """(seconds from starting Python to the first picture in the browser, the server)."""
    began = time.perf_counter()
    words = [sys.executable, str(ROOT / "captcha_label.py"), str(folder), "--model", "digits", "--port", "0"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    address = next(line.split()[1] for line in server.stdout if line.startswith("open "))
    page.goto(address)
    page.wait_for_function(NEXT, arg="")
    return time.perf_counter() - began, server


def label_pictures(page: Page, count: int, texts: dict[str, str]) -> list[float]:
    """The seconds that each label took, from the first key to the next picture."""
    seconds = []
    for _ in range(min(count, len(texts))):
        file = page.inner_text("#file")
        began = time.perf_counter()
        page.keyboard.type(texts[file])
        page.keyboard.press("Enter")
        page.wait_for_function(NEXT, arg=file)
        seconds.append(time.perf_counter() - began)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=int, default=10_000, help="pictures in the folder")
    parser.add_argument("--labels", type=int, default=200, help="pictures to label")
    args = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not chromium:
        raise UserError(f"there is no Chromium; install one of {', '.join(BROWSERS)}")
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        texts = draw_pictures(Path(temporary), args.folder)
        page = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]).new_page()
        start, server = first_picture(page, Path(temporary))
        try:
            seconds = label_pictures(page, args.labels, texts)
        finally:
            server.terminate()
            server.wait()
        saved = (Path(temporary) / "labels.csv").read_text(encoding="utf-8").count("\n") - 1
    print(f"the first of {args.folder} pictures, from the start of Python   {start:.2f} s")
    print(f"a label: median {statistics.median(seconds):.3f} s, longest {max(seconds):.3f} s")
    print(f"{60 * len(seconds) / sum(seconds):.0f} labels a minute; {saved} of {len(seconds)} are in labels.csv")


if __name__ == "__main__":
    run(main)
