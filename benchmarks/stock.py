"""How well do the shipped networks read what the captcha library draws by itself, with its own randomness?

    python benchmarks/stock.py
    python benchmarks/stock.py --count 100000 --models capitals

Draws captchas with captcha.image.ImageCaptcha, unseeded, as anybody's program does, and reads their PNG files. "O = 0"
counts an O read as 0, and the reverse, as correct.
"""

import argparse
import itertools
import os
import secrets
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import captcha_predict
from captcha_cli import run, start_litert, track
from captcha_runs.metrics import wilson_interval

from captcha.image import ImageCaptcha
from rich.console import Console
from rich.table import Table

MODELS = ("digits", "letters", "capitals")
CANVASES = ((128, 64), (160, 60), (100, 60))
SIZES = ((40,), (42, 50, 56))  # the second is the library's default
CHUNK = 250  # captchas that a process draws and reads at a time


def draw_and_read(model: str, canvas: tuple[int, int], sizes: tuple[int, ...], count: int) -> list[tuple[str, str]]:
    """(text, predicted text) of captchas drawn with the stock library."""
    reader, captcha = captcha_predict.load(model), ImageCaptcha(*canvas, font_sizes=sizes)
    lengths = range(reader.min_length or reader.length, reader.length + 1)
    texts = ["".join(secrets.choice(reader.characters) for _ in range(secrets.choice(lengths))) for _ in range(count)]
    return [(text, reader.read(captcha.generate(text).getvalue()).text) for text in texts]


def measure(pool: ProcessPoolExecutor, model: str, canvas: tuple[int, int], sizes: tuple[int, ...], count: int) -> list:
    """A row of the table."""
    name = f"{model}, {canvas[0]}x{canvas[1]}, {' '.join(map(str, sizes))}"
    chunks = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
    results = pool.map(draw_and_read, *map(itertools.repeat, (model, canvas, sizes)), chunks)
    pairs = list(track(itertools.chain.from_iterable(results), count, name))
    correct = sum(text == read for text, read in pairs)
    same = sum(text.replace("O", "0") == read.replace("O", "0") for text, read in pairs)
    characters = sum(a == b for text, read in pairs for a, b in zip(text, read, strict=False))
    low, high = wilson_interval(correct, count)
    accuracy = f"{correct / count:.2%} ({low:.2%} to {high:.2%})"
    return [name, accuracy, f"{same / count:.2%}", f"{characters / sum(len(text) for text, _ in pairs):.2%}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=20_000, help="captchas in each row")
    parser.add_argument(
        "--models", nargs="+", default=MODELS, help="names, files, or folders that the trainer saved to"
    )
    args = parser.parse_args()
    start_litert()
    table = Table("model, canvas, font sizes", "captcha accuracy (95 %)", "O = 0", "characters")
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for row in itertools.product(args.models, CANVASES, SIZES):
            table.add_row(*measure(pool, *row, args.count))
    Console(width=110).print(table)


if __name__ == "__main__":
    run(main)
