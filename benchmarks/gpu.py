"""Images a second of the step in each precision, with and without XLA, and of the input pipeline alone.

    python benchmarks/gpu.py [--batch_sizes 128 1024] [--steps 100]

For a GPU; where there is none it measures the CPU, and says so. The sets must be there (make train, or the producer).
"""

import argparse
import functools
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import captcha_data
import captcha_distribute
import captcha_model
import captcha_optimizer
import captcha_train
from captcha_config import PRECISIONS, Config, run

import keras
import tensorflow as tf
from rich.console import Console
from rich.table import Table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[128, 1024])
    parser.add_argument("--steps", type=int, default=100, help="timed, after 10 that are not")
    args = parser.parse_args()
    captcha_distribute.choose_strategy(Config())
    device = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    images, labels = captcha_data.load("train", Config())
    table = Table(f"on one {device}", "batch", "images/s")
    with tf.device(device):
        for size in args.batch_sizes:
            config = Config(batch_size=size)
            batches = iter(captcha_data.training_batches(images, labels, 0, config))
            table.add_row("input alone", str(size), f"{rate(functools.partial(next, batches), size, args.steps):.0f}")
            for precision in PRECISIONS:
                for xla in (False, True):
                    one = replace(config, precision=precision, xla=xla)
                    name = precision + (", XLA" if xla else "")
                    table.add_row(
                        name, str(size), f"{rate(step_on_one_batch(one, next(batches)), size, args.steps):.0f}"
                    )
    Console(highlight=False).print(table)


def step_on_one_batch(config: Config, batch: tuple[tf.Tensor, tf.Tensor]) -> Callable:
    keras.utils.set_random_seed(config.seed)
    model = captcha_model.build(config)
    step = captcha_train.build_train_step(model, captcha_optimizer.build(model, config), config)
    return lambda: float(step(*batch)[0])  # waits for the device


def rate(call: Callable, size: int, steps: int) -> float:
    for _ in range(10):
        call()
    began = time.perf_counter()
    for _ in range(steps):
        call()
    return steps * size / (time.perf_counter() - began)


if __name__ == "__main__":
    run(main)
