"""Seconds of training to 70 %, 90 % and 99 % captcha accuracy, and as steps of a yardstick timed in the same run.

    python benchmarks/training.py [--seeds 1 2 3] [--max_steps 1200]

The yardstick is a training step of the network this project's ancestor had (128x64 in colour, three 5x5 convolutions of
48, 64 and 128 filters, a dense layer of 2048, batches of 64), which took 10,000 of them to about 70 %. Machines differ
and drift, the ratio hardly does. The sets must be there (make train, or the producer). Evaluation is not counted.
"""

import argparse
import functools
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import captcha_data
import captcha_model
import captcha_optimizer
import captcha_train
from captcha_config import Config, run

import keras
import numpy as np
import tensorflow as tf
from keras import layers

GOALS = (0.70, 0.90, 0.99)


def yardstick_seconds(steps: int = 5) -> float:
    """Seconds of one step of the reference's shape: the median of `steps`, after a first one that traces."""
    model = keras.Sequential([keras.Input((64, 128, 3))])
    for filters in (48, 64, 128):
        model.add(layers.Conv2D(filters, 5, padding="same", activation="relu"))
        model.add(layers.MaxPooling2D(2, padding="same"))
    model.add(layers.Flatten())
    model.add(layers.Dense(2048, activation="relu"))
    model.add(layers.Dense(40))
    model.add(layers.Reshape((4, 10)))
    optimizer = keras.optimizers.Adam(1e-5)
    optimizer.build(model.trainable_variables)
    step = captcha_train.build_train_step(model, optimizer, replace(Config(), label_smoothing=0.0, batch_size=64))
    rng = np.random.default_rng(1)
    images = tf.constant(rng.random((64, 64, 128, 3), np.float32))
    labels = tf.constant(rng.integers(0, 10, (64, 4)), tf.int32)
    seconds = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        float(step(images, labels)[0])
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


def sprint(config: Config, sets: dict, eval_every: int) -> tuple[dict[float, float], float, float, float]:
    """Train once. Returns (goal → seconds of training, captcha accuracy at the end, seconds, share spent waiting)."""
    keras.utils.set_random_seed(config.seed)
    model = captcha_model.build(config)
    optimizer = captcha_optimizer.build(model, config)
    step = captcha_train.build_train_step(model, optimizer, config)
    batches = iter(captcha_data.training_batches(*sets["train"], 0, config))
    validation = captcha_data.evaluation_batches(*sets["validation"], 500)
    forward = functools.partial(captcha_model.forward, model)
    reached, seconds, waited, accuracy = {}, 0.0, 0.0, 0.0
    for i in range(1, config.max_steps + 1):
        began = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - began
        float(step(*batch)[0])
        seconds += time.perf_counter() - began
        if i % eval_every == 0 or i == config.max_steps:
            right, _ = captcha_model.evaluation(*captcha_model.read_all(forward, validation))
            accuracy = float(right.numpy().mean())
            for goal in GOALS:
                if accuracy >= goal:
                    reached.setdefault(goal, seconds)
    return reached, accuracy, seconds, waited / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="one run for each")
    parser.add_argument("--max_steps", type=int, default=Config().max_steps, help="steps of a run")
    parser.add_argument("--eval_every", type=int, default=20, help="steps between two looks at the accuracy")
    parser.add_argument("--tfrecords_dir", default="tfrecords")
    args = parser.parse_args()
    config = replace(Config(), max_steps=args.max_steps, tfrecords_dir=args.tfrecords_dir)
    sets = {split: captcha_data.load(split, config) for split in ("train", "validation")}
    print(
        f"{'seed':>4} {'yardstick':>9}" + "".join(f" {f'to {goal:.0%}':>18}" for goal in GOALS) + "  end; all, waiting"
    )
    for seed in args.seeds:
        yardstick = yardstick_seconds()
        reached, accuracy, seconds, waiting = sprint(replace(config, seed=seed), sets, args.eval_every)
        told = [f"{reached[g]:.1f} s = {reached[g] / yardstick:.1f}" if g in reached else "-" for g in GOALS]
        print(
            f"{seed:>4} {yardstick:>7.2f} s" + "".join(f" {text:>18}" for text in told)
            + f"  {accuracy:.2%}; {seconds:.0f} s, {waiting:.1%}",
            flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    run(main)
