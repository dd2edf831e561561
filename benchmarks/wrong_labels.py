"""How many wrong labels captcha_suspects.py finds among 1,000 labels of each style of unseen_styles.py.

    python benchmarks/wrong_labels.py [--styles tiles]

50 of the labels are made wrong: one random character is replaced by another character of the style. The networks start
from the starter.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.own_style import script
from benchmarks.unseen_styles import STYLES, Style, samples
from captcha_cli import run

from rich.console import Console
from rich.table import Table

FIRST = 80  # suspects that a person would look at


def changed(text: str, characters: str, rng: random.Random) -> str:
    """The text with another character at one place."""
    place = rng.randrange(len(text))
    other = rng.choice([character for character in characters if character != text[place]])
    return text[:place] + other + text[place + 1 :]


def plant(style: Style, count: int, mistakes: int, folder: Path) -> set[str]:
    """Write the style's captchas, named by their labels. Returns the names of those with a wrong label."""
    rng = random.Random(style.name)
    texts, images = samples(style, count)
    chosen = set(rng.sample(range(count), mistakes))
    labels = [changed(text, style.characters, rng) if i in chosen else text for i, text in enumerate(texts)]
    names = [f"{i:05}_{label}.png" for i, label in enumerate(labels)]
    for name, image in zip(names, images, strict=True):
        image.save(folder / name)
    return {names[i] for i in chosen}


def measure(style: Style, count: int, mistakes: int, options: list[str]) -> tuple[int, int, int, float]:
    """(wrong labels among the first FIRST suspects, among all, number of suspects, seconds)."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, listed = Path(temporary, "images"), Path(temporary, "suspects.json")
        folder.mkdir()
        wrong = plant(style, count, mistakes, folder)
        began = time.perf_counter()
        script("captcha_suspects.py", folder, "--json", listed, *options, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        files = [suspect["file"] for suspect in json.loads(listed.read_text())["suspects"]]
    return len(wrong.intersection(files[:FIRST])), len(wrong.intersection(files)), len(files), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--styles", nargs="+", choices=[style.name for style in STYLES], help="default: all")
    parser.add_argument("--labelled", type=int, default=1000, help="labels of each style")
    parser.add_argument("--wrong", type=int, default=50, help="of them, those that are wrong")
    parser.add_argument("--max_steps", type=int, help="steps to train for; default: as many as the trainer chooses")
    args = parser.parse_args()
    options = ["--init_from", "starter", *(["--max_steps", str(args.max_steps)] if args.max_steps else [])]
    table = Table("style", f"of {args.wrong} wrong labels, in the first {FIRST}", "in all", "suspects", "seconds")
    found = []
    for style in STYLES:
        if args.styles is None or style.name in args.styles:
            *counts, seconds = measure(style, args.labelled, args.wrong, options)
            found.append(counts[0])
            table.add_row(style.name, *map(str, counts), f"{seconds:.0f}")
            print(style.name, *counts, flush=True)
    table.add_row("mean", f"{statistics.mean(found):.1f}", "", "", "")
    Console().print(table)


if __name__ == "__main__":
    run(main)
