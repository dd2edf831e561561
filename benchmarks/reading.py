"""How fast captchas are read: the first one of a new process, a folder on all cores, many in a row on one core.

    python benchmarks/reading.py [--model digits] [--folder 10000]

Let nothing else run meanwhile. The figures for one core are medians over images; the process is bound to one core where
the system can do that.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import captcha_predict
from captcha_cli import run, start_litert
from captcha_config import Config
from captcha_predict.images import open_image, resized
from captcha_sets.pool import draw_many

import numpy as np

ROOT = Path(__file__).parent.parent
TWO_LINES = "import captcha_predict; print(captcha_predict.read(r'{path}', model=r'{model}'))"


def milliseconds(function: Callable, items: list) -> tuple[float, list]:
    """The median milliseconds of a call, and what the calls returned."""
    seconds, results = [], []
    for item in items:
        began = time.perf_counter()
        results.append(function(item))
        seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds), results


def stay_on_one_core() -> None:
    """Bind this process to one core, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def like_model(model: str) -> Config:
    """The config of captchas like those that a model was trained on."""
    description = captcha_predict.load(model).description
    drawing = {name: value for name, value in description["drawn_with"].items() if name != "source"}
    return Config.from_dict(description["config"] | drawing)


def first_prediction(path: Path, model: str, rounds: int = 7) -> float:
    """Seconds from starting Python to the end of a process that reads one file: the median."""
    code = TWO_LINES.format(path=path, model=captcha_predict.find(model))
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=captcha_predict.DEFAULT)
    parser.add_argument("--folder", type=int, default=10_000, help="files in the folder")
    args = parser.parse_args()
    start_litert()
    captchas = list(draw_many(range(args.folder), "benchmark", like_model(args.model)))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for i, (text, encoded) in enumerate(captchas):
            (folder / f"{i:06}_{text}.png").write_bytes(encoded)
        seconds = first_prediction(next(folder.iterdir()), args.model)
        print(f"the first, from the start of Python     {seconds:.2f} s")

        reader = captcha_predict.load(args.model)
        began = time.perf_counter()
        read = captcha_predict.read(folder, model=args.model)
        rate = len(read) / (time.perf_counter() - began)
    correct = sum(name.endswith(f"_{text}.png") for name, text in read.items())
    print(f"a folder of {len(read)} files, {os.cpu_count()} cores  {rate:9.0f} a second, {correct} correct")

    stay_on_one_core()
    files = [encoded for _, encoded in captchas[:1000]]
    size = (reader.width, reader.height)
    whole, _ = milliseconds(lambda content: captcha_predict.read(content, model=args.model), files)
    decoding, images = milliseconds(lambda content: np.asarray(resized(open_image(content), size)), files)
    network, _ = milliseconds(lambda pixels: reader.logits(pixels[None]), images)
    print(f"one core, PNG bytes to text             {whole:.2f} ms: {decoding:.2f} decoding, {network:.2f} the network")


if __name__ == "__main__":
    run(main)
