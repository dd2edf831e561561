"""The sprint: seconds of training to 70 %, 90 % and 99 % captcha accuracy, and as steps of a yardstick timed beside it.

    python benchmarks/sprint.py [--seeds 1 2 3]

The yardstick is a training step of the network that this project's ancestor had (benchmarks/yardstick.py). The clock
starts before the first step, which compiles; evaluation, on the validation split, is not counted. Needs the splits in
tfrecords/ (captcha_producer.py).
"""

import argparse
import functools
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from captcha_cli import quiet_import, run

with quiet_import(__name__):
    import captcha_train
    from benchmarks.yardstick import yardstick_seconds

    import tensorflow as tf

import captcha_data
import captcha_model
from captcha_config import Config
from captcha_runs import average, optimizer
from captcha_sets.manifest import SPLITS, like_sets, read_manifest

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

GOALS = (0.70, 0.90, 0.99)


def sprint(
    config: Config, training: np.memmap, validation: np.memmap, eval_every: int
) -> tuple[dict[float, float], float, float]:
    """Train once. Returns (goal → seconds of training, captcha accuracy at the end, seconds in all)."""
    keras.utils.set_random_seed(config.seed)
    model, averaged = captcha_model.build(config), captcha_model.build(config)
    averaged.set_weights(model.get_weights())
    train_step = captcha_train.build_train_step(model, optimizer.build(model, config), config)
    batches = iter(captcha_data.training_batches(training, 0, config))
    forward = functools.partial(captcha_model.forward, averaged)
    reached, seconds, accuracy = {}, 0.0, 0.0
    for step in range(1, config.max_steps + 1):
        began = time.perf_counter()
        loss, _ = train_step(*next(batches))
        average.update(averaged, model, tf.constant(step, "float32"))
        float(loss)  # wait for it
        seconds += time.perf_counter() - began
        if (step % eval_every == 0 and len(reached) < len(GOALS)) or step == config.max_steps:
            logits, labels = captcha_model.predict(forward, captcha_data.evaluation_batches(validation, 500))
            captchas, _ = captcha_model.evaluation(logits, labels, config)
            accuracy = float(captchas.mean())
            for goal in GOALS:
                if accuracy >= goal:
                    reached.setdefault(goal, seconds)
    return reached, accuracy, seconds


def mean_and_deviation(values: list[float], form: str) -> str:
    """Such as 9.8 ± 0.7: the mean, and the standard deviation of a single value."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):{form}} ± {deviation:{form}}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=range(1, 11), help="one run for each; default: 1 to 10")
    parser.add_argument("--max_steps", type=int, default=Config.max_steps, help="steps of a run")
    parser.add_argument("--eval_every", type=int, default=5, help="steps between two evaluations")
    parser.add_argument("--tfrecords_dir", default=Config.tfrecords_dir)
    args = parser.parse_args()
    config = like_sets(replace(Config(), max_steps=args.max_steps, tfrecords_dir=args.tfrecords_dir), ())
    training, validation = (captcha_data.open_pixels(read_manifest(split, config), config) for split in SPLITS)
    table = Table("seed", "yardstick step", *(f"to {goal:.0%}" for goal in GOALS), "at the end")
    runs = []
    for seed in args.seeds:
        yardstick = yardstick_seconds()
        reached, accuracy, seconds = sprint(replace(config, seed=seed), training, validation, args.eval_every)
        runs.append((yardstick, reached, accuracy))
        cells = [f"{reached[g]:.1f} s = {reached[g] / yardstick:.1f}" if g in reached else "not" for g in GOALS]
        table.add_row(str(seed), f"{yardstick:.2f} s", *cells, f"{accuracy:.2%} in {seconds:.0f} s")

    means = []
    for goal in GOALS:
        if any(goal not in reached for _, reached, _ in runs):
            means.append("not by all")
            continue
        seconds = mean_and_deviation([reached[goal] for _, reached, _ in runs], ".1f")
        steps = mean_and_deviation([reached[goal] / yardstick for yardstick, reached, _ in runs], ".1f")
        means.append(f"{seconds} s = {steps}")
    yardsticks = mean_and_deviation([yardstick for yardstick, *_ in runs], ".2f")
    ends = mean_and_deviation([100 * accuracy for *_, accuracy in runs], ".2f")
    table.add_row("mean", f"{yardsticks} s", *means, f"{ends} %")
    Console().print(table)


if __name__ == "__main__":
    run(main)
