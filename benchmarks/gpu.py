"""On a GPU: images a second in each precision, how many processes must draw to keep up with it, and the sprint.

    python benchmarks/gpu.py [--batch_sizes 128 1024] [--steps 100]

Made for a GPU; without one it measures the CPU, and says so. Needs the splits in tfrecords/ (captcha_producer.py).
"""

import argparse
import functools
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from captcha_cli import quiet_import, run

with quiet_import(__name__):
    from benchmarks.scale import training_step
    from benchmarks.sprint import sprint

import captcha_data
from captcha_config import PRECISIONS, Config
from captcha_sets.draw import draw, png
from captcha_sets.manifest import SPLITS, TRAIN, like_sets, read_manifest

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

WARMUP_CALLS = 10  # not timed: they trace and compile
DRAWN = 200  # captchas that are drawn to time it
EVAL_EVERY = 10  # steps of the sprint between two evaluations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[128, 1024])
    parser.add_argument("--steps", type=int, default=100, help=f"timed, after {WARMUP_CALLS} that are not")
    parser.add_argument("--max_steps", type=int, default=Config.max_steps, help="steps of the sprint")
    args = parser.parse_args()
    device = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    like = like_sets(replace(Config(), max_steps=args.max_steps), ())
    training, validation = (captcha_data.open_pixels(read_manifest(split, like), like) for split in SPLITS)
    drawing = drawing_rate(like)
    print(f"one process draws {drawing:.0f} captchas a second")
    table = Table(f"on one {device}", "batch", "images/s", "processes that draw as many")
    for size in args.batch_sizes:
        for name, images_a_second in measured(replace(like, batch_size=size), training, args.steps).items():
            table.add_row(name, str(size), f"{images_a_second:.0f}", f"{images_a_second / drawing:.1f}")
    Console(highlight=False).print(table)

    reached, accuracy, seconds = sprint(like, training, validation, EVAL_EVERY)
    for goal, after in reached.items():
        print(f"captcha accuracy of {goal:.0%} after {after:.1f} s of training")
    print(f"{accuracy:.2%} in {seconds:.1f} s")


def measured(config: Config, records: np.memmap, steps: int) -> dict[str, float]:
    """Images a second of the input, of training steps on one batch, and of both together."""
    batches = iter(captcha_data.training_batches(records, 0, config))
    rates = {"input alone": rate(functools.partial(next, batches), config.batch_size, steps)}
    for precision in PRECISIONS:
        for xla in (False, True):
            train_step = training_step(replace(config, precision=precision, xla=xla))
            name = precision + (", XLA" if xla else "")
            rates[name] = rate(functools.partial(train_step, *next(batches)), config.batch_size, steps)
            both = rate(lambda step=train_step: step(*next(batches)), config.batch_size, steps)
            waiting = max(0.0, 1 - both / rates[name])
            rates[f"{name}, with its input: waits {waiting:.0%} of the time"] = both
    return rates


def drawing_rate(config: Config) -> float:
    """Captchas that one process draws in a second, as PNG files."""
    draw(0, TRAIN, config)  # opens the fonts
    began = time.perf_counter()
    for i in range(DRAWN):
        png(draw(i, TRAIN, config)[1])
    return DRAWN / (time.perf_counter() - began)


def rate(call: Callable, size: int, steps: int) -> float:
    """Images a second, where each call processes `size` of them."""
    for _ in range(WARMUP_CALLS):
        call()
    began = time.perf_counter()
    for _ in range(steps):
        call()
    return steps * size / (time.perf_counter() - began)


if __name__ == "__main__":
    run(main)
