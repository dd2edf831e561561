"""How fast captchas are read: the first answer of a new process, one after the other on one core, a folder on all.

    python benchmarks/reading.py [--model digits] [--folder 10000]

Let nothing else run meanwhile. One core: medians, by image; the process is bound to one where the system can do that.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import captcha_predict
from captcha_config import run
from captcha_draw import draw_many
from captcha_open import open_image, resized

import numpy as np

TWO_LINES = "import captcha_predict; print(captcha_predict.read(r'{path}', model=r'{model}'))"


def milliseconds(function, items: list) -> tuple[float, list]:
    """(median milliseconds of a call, the answers)."""
    seconds, answers = [], []
    for item in items:
        began = time.perf_counter()
        answers.append(function(item))
        seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds), answers


def stay_on_one_core() -> None:
    """Bind this process to one core, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def first_answer(path: Path, model: str, rounds: int = 7) -> float:
    """Seconds from starting Python to the end of a process that reads one file: the median."""
    words = [sys.executable, "-c", TWO_LINES.format(path=path, model=model)]
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run(words, cwd=Path(captcha_predict.__file__).parent, check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="digits")
    parser.add_argument("--folder", type=int, default=10_000, help="files in the folder")
    args = parser.parse_args()
    reader = captcha_predict.load(args.model)
    with tempfile.TemporaryDirectory() as temporary:
        folder, files = Path(temporary), []
        for i, (text, encoded) in enumerate(draw_many(range(args.folder), "benchmark", reader.config)):
            (folder / f"{i:06}_{text}.png").write_bytes(encoded)
            files.append(encoded)
        print(f"first answer, from the start of Python  {first_answer(next(folder.iterdir()), args.model):.2f} s")

        began = time.perf_counter()
        read = captcha_predict.read(folder, model=args.model)
        seconds = time.perf_counter() - began
        right = sum(name.endswith(f"_{text}.png") for name, text in read.items())
        print(
            f"a folder of {len(read)} files, {os.cpu_count()} cores  {len(read) / seconds:9.0f} a second, {right} right"
        )

    stay_on_one_core()
    files = files[:1000]
    whole, _ = milliseconds(lambda content: captcha_predict.read(content, model=args.model), files)
    decoding, images = milliseconds(lambda content: np.asarray(resized(open_image(content), reader.config)), files)
    network, _ = milliseconds(lambda pixels: reader.logits(pixels[None]), images)
    print(f"one core, PNG bytes to text             {whole:.2f} ms: {decoding:.2f} decoding, {network:.2f} the network")


if __name__ == "__main__":
    run(main)
