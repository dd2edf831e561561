"""How fast captchas are read: the first one of a new process, a folder, many in a row, beside Pillow's decoding alone.

    python benchmarks/reading.py [--model digits] [--folder 10000]

Let nothing else run meanwhile. What is compared is timed in turns. For one core, the process is bound to it where the
system can do that; times of one image are medians.
"""

import argparse
import contextlib
import functools
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import captcha_predict
from captcha_cli import run, start_litert
from captcha_config import Config
from captcha_predict.images import open_image, resized
from captcha_sets.draw import check_trusted
from captcha_sets.pool import draw_many

import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent
TWO_LINES = "import captcha_predict; print(captcha_predict.read(r'{path}', model=r'{model}'))"


def milliseconds(functions: Sequence[Callable], items: Iterable) -> list[tuple[float, list]]:
    """Call the functions in turns for each item. Returns, of each, the median milliseconds and the results."""
    timed: list[list[tuple[float, Any]]] = [[] for _ in functions]
    for item in items:
        for function, calls in zip(functions, timed, strict=True):
            began = time.perf_counter()
            result = function(item)
            calls.append((time.perf_counter() - began, result))
    return [
        (1000 * statistics.median(seconds for seconds, _ in calls), [result for _, result in calls]) for calls in timed
    ]


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Bind this thread, and those that it starts, to one core, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def like_model(model: str) -> Config:
    """The config of captchas like those that a model was trained on."""
    description = captcha_predict.load(model).description
    drawing = {name: value for name, value in description["drawn_with"].items() if name != "source"}
    like = Config.from_dict(description["config"] | drawing)
    check_trusted(like.drawer, Config())
    return like


def first_prediction(path: Path, model: str, rounds: int = 7) -> float:
    """Seconds from starting Python to the end of a process that reads one file: the median."""
    code = TWO_LINES.format(path=path, model=captcha_predict.find(model))
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def folder_rates(folder: Path, model: str, rounds: int = 3) -> tuple[float, float, dict[str, str]]:
    """(images a second on all cores, on one, the texts by file name): medians of rounds in turns."""

    def on_all_cores(_: int) -> dict[str, str]:
        return captcha_predict.read(folder, model=model)

    def on_one_core(_: int) -> dict[str, str]:
        with one_core():
            return captcha_predict.read(folder, model=model)

    (all_ms, (texts, *_)), (one_ms, _) = milliseconds([on_all_cores, on_one_core], range(rounds))
    return 1000 * len(texts) / all_ms, 1000 * len(texts) / one_ms, texts


def decoded_by_pillow(content: bytes) -> np.ndarray:
    """The pixels of an image file, as Pillow alone decodes and converts them."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


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
        rate, rate_of_one, texts = folder_rates(folder, args.model)
    correct = sum(name.endswith(f"_{text}.png") for name, text in texts.items())
    print(f"a folder of {len(texts)} files, {os.cpu_count()} cores        {rate:9.0f} a second, {correct} correct")
    print(f"the same on one core                    {rate_of_one:9.0f} a second, ratio {rate / rate_of_one:.2f}")

    reader = captcha_predict.load(args.model)
    files = [encoded for _, encoded in captchas[:1000]]
    size = (reader.width, reader.height)

    def decode(content: bytes) -> np.ndarray:
        return np.asarray(resized(open_image(content), size))

    with one_core():
        read = functools.partial(captcha_predict.read, model=args.model)
        (whole, _), (pillow, _), (decoding, images) = milliseconds([read, decoded_by_pillow, decode], files)
        ((network, _),) = milliseconds([lambda pixels: reader.logits(pixels[None])], images)
    print(f"one core, PNG bytes to text             {whole:.2f} ms: {decoding:.2f} decoding, {network:.2f} the network")
    print(f"Pillow alone, PNG bytes to pixels       {pillow:.2f} ms: reading takes {whole / pillow:.2f} times as long")


if __name__ == "__main__":
    run(main)
