"""Training steps in images a second, in each precision, with and without XLA; and the input pipeline alone.

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
    import captcha_train

import captcha_data
import captcha_model
from captcha_config import PRECISIONS, Config
from captcha_runs import cluster, optimizer
from captcha_sets.manifest import TRAIN, like_sets, read_manifest

import keras
import tensorflow as tf
from rich.console import Console
from rich.table import Table

WARMUP_CALLS = 10  # not timed: they trace and compile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[128, 1024])
    parser.add_argument("--steps", type=int, default=100, help=f"timed, after {WARMUP_CALLS} that are not")
    args = parser.parse_args()
    cluster.choose_strategy(Config())
    device = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    like = like_sets(Config(), ())
    records = captcha_data.open_pixels(read_manifest(TRAIN, like), like)
    table = Table(f"on one {device}", "batch", "images/s")
    for size in args.batch_sizes:
        config = replace(like, batch_size=size)
        batches = iter(captcha_data.training_batches(records, 0, config))
        table.add_row("input alone", str(size), f"{rate(functools.partial(next, batches), size, args.steps):.0f}")
        for precision in PRECISIONS:
            for xla in (False, True):
                call = step_on_one_batch(replace(config, precision=precision, xla=xla), next(batches))
                name = precision + (", XLA" if xla else "")
                table.add_row(name, str(size), f"{rate(call, size, args.steps):.0f}")
    Console(highlight=False).print(table)


def step_on_one_batch(config: Config, batch: tuple[tf.Tensor, tf.Tensor]) -> Callable:
    """A function that trains for one step, always on the same batch, and waits for the device."""
    keras.utils.set_random_seed(config.seed)
    model = captcha_model.build(config)
    train_step = captcha_train.build_train_step(model, optimizer.build(model, config), config)
    return lambda: float(train_step(*batch)[0])


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
