"""How the cost of a training step grows with the batch, the network, the image and the text.

    python benchmarks/growth.py [--rounds 10]

Each row changes one setting of the default captcha. The last column compares the multiplications and additions of all
layers, forward and backward, with those of one large convolution, timed in the same run: the peak of this machine. Let
nothing else run meanwhile. The update of the average of the weights is not part of these steps.
"""

import argparse
import functools
import math
import string
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from captcha_cli import quiet_import, run

with quiet_import(__name__):
    from benchmarks import scale

import captcha_model
from benchmarks.reading import milliseconds
from captcha_config import Config

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

VARIED = (
    {},
    {"batch_size": 16},
    {"batch_size": 32},
    {"batch_size": 128},
    {"batch_size": 256},
    {"channels": (8, 16, 32, 32)},
    {"channels": (32, 64, 128, 128)},
    {"width": 64, "height": 32},
    {"width": 192, "height": 64},
    {"width": 256, "height": 128},
    {"input_downsampling": False},
    {"input_color": True},
    {"length": 8},
    {"length": 8, "min_length": 1},
    {"characters": string.digits + string.ascii_uppercase},
    {"characters": string.digits + string.ascii_letters},
)
PEAK_IMAGES, PEAK_FILTERS = (16, 64, 128), 128  # of the large convolution, 3x3: [batch, height, width], filters
PASSES = 3  # a step computes each layer's output, the gradient of its input, and that of its kernel


def operations(config: Config) -> int:
    """Multiplications and additions of a training step, in all layers that have a kernel."""
    layers = [layer for layer in captcha_model.build(config).layers if hasattr(layer, "kernel")]
    forward = sum(2 * math.prod(layer.output.shape[1:]) * math.prod(layer.kernel.shape[:-1]) for layer in layers)
    return PASSES * config.batch_size * forward


def training_step(config: Config) -> Callable:
    """A function that makes a step on a batch of random pixels and labels."""
    rng = np.random.default_rng(config.seed)
    size = (config.batch_size, config.height, config.width, config.input_channels)
    images = tf.constant(rng.integers(0, 256, size, np.uint8))
    labels = tf.constant(rng.integers(0, len(config.characters), (config.batch_size, config.length), np.int32))
    return functools.partial(scale.training_step(config), images, labels)


def large_convolution() -> tuple[Callable, int]:
    """A function that computes one convolution of float32 values, and its multiplications and additions."""
    images = tf.random.normal((*PEAK_IMAGES, PEAK_FILTERS))
    kernel = tf.random.normal((3, 3, PEAK_FILTERS, PEAK_FILTERS))
    convolve = tf.function(lambda: tf.reduce_sum(tf.nn.conv2d(images, kernel, 1, "SAME")))
    return lambda: float(convolve()), 2 * math.prod(PEAK_IMAGES) * math.prod(kernel.shape)


def named(changed: dict) -> str:
    """A row's name; of characters, only how many there are."""
    values = (f"{field} {len(value) if field == 'characters' else value}" for field, value in changed.items())
    return ", ".join(values) or "nothing"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10, help="timed steps of each row")
    args = parser.parse_args()
    tf.get_logger().setLevel("ERROR")  # it warns that there are many functions, but each has a network of its own
    configs = [replace(Config(), **changed) for changed in VARIED]
    convolution, its_operations = large_convolution()
    calls = [*map(training_step, configs), convolution]
    for call in calls:  # the first call compiles
        call()
    timings = milliseconds([lambda _, call=call: call() for call in calls], range(args.rounds))
    *steps, peak_seconds = (median / 1000 for median, _ in timings)
    peak = its_operations / peak_seconds
    table = Table("changed", "ms a step", "images/s", "GFLOP a step", "of the peak")
    for changed, config, seconds in zip(VARIED, configs, steps, strict=True):
        work = operations(config)
        cells = f"{1e3 * seconds:.0f}", f"{config.batch_size / seconds:.0f}", f"{work / 1e9:.1f}"
        table.add_row(named(changed), *cells, f"{work / seconds / peak:.0%}")
    Console(highlight=False).print(table)
    print(f"peak, one convolution of {PEAK_FILTERS} filters: {peak / 1e9:.0f} GFLOP a second")


if __name__ == "__main__":
    run(main)
