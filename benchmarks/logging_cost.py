"""What logging costs: blocks of steps with and without it, in turns, in one run.

    python benchmarks/logging_cost.py [--blocks 12]

A block ends as in training, with an evaluation on the validation split and, where there is a log, with a report to the
terminal, log.jsonl and TensorBoard: curves, pictures, histograms. Needs the splits in tfrecords/ (captcha_producer.py).
"""

import argparse
import functools
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from captcha_cli import quiet_import, run

with quiet_import(__name__):
    import captcha_train

import captcha_data
import captcha_model
from captcha_config import Config
from captcha_runs import optimizer
from captcha_runs.log import Log
from captcha_runs.messages import misread
from captcha_sets.manifest import SPLITS, like_sets, read_manifest

import keras


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--blocks", type=int, default=12, help="of each kind")
    parser.add_argument("--steps", type=int, default=Config.eval_every, help="in a block")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        steps, endings = measure(like_sets(replace(Config(), save_dir=folder), ()), args.blocks, args.steps)
    off, on = (args.steps * steps[logged] + endings[logged] for logged in (False, True))
    print(f"without logs: a step {1000 * steps[False]:.1f} ms, an evaluation {1000 * endings[False]:.0f} ms")
    print(f"with logs:    a step {1000 * steps[True]:.1f} ms, an evaluation and a report {1000 * endings[True]:.0f} ms")
    print(f"{args.steps} steps and an evaluation: {off:.2f} s without, {on:.2f} s with logs, {on / off - 1:+.2%}")


def measure(config: Config, blocks: int, steps: int) -> tuple[dict[bool, float], dict[bool, float]]:
    """Seconds of a step and of a block's end, each without logs (False) and with them (True).

    These are medians of single steps: whole blocks vary by 15 %, with what else the machine does.
    """
    training, validation = (captcha_data.open_pixels(read_manifest(split, config), config) for split in SPLITS)
    keras.utils.set_random_seed(config.seed)
    model = captcha_model.build(config)
    muon = optimizer.build(model, config)
    train_step = captcha_train.build_train_step(model, muon, config)
    forward = functools.partial(captcha_model.forward, model)
    step_seconds, ending_seconds = {False: [], True: []}, {False: [], True: []}
    logged_steps = 0

    with Log(config, 0, len(validation)) as log:
        plain = iter(captcha_data.training_batches(training, 0, config))
        timed = log.timed(plain)
        for block in range(2 * blocks + 2):
            logged = block % 4 in (1, 2)  # off, on, on, off: a steady drift cancels out
            seconds = []
            for _ in range(steps):
                began = time.perf_counter()
                loss, norm = train_step(*next(timed if logged else plain))
                if logged:
                    log.add(loss, norm)
                seconds.append(time.perf_counter() - began)

            began = time.perf_counter()
            held_out = captcha_data.evaluation_batches(validation, config.batch_size)
            logits, labels = captcha_model.predict(forward, held_out)
            captchas, characters = captcha_model.evaluation(logits, labels, config)
            if logged:
                logged_steps += steps
                values = log.averages(logged_steps, float(muon.learning_rate))
                values |= {"captcha_accuracy": captchas.mean(), "character_accuracy": characters.mean()}
                log.report(logged_steps, values, "", misread(validation, logits, config), model)
            if block > 1:  # the first of each kind traces, and opens the files
                step_seconds[logged] += seconds
                ending_seconds[logged].append(time.perf_counter() - began)
    return tuple(
        {logged: statistics.median(seconds) for logged, seconds in kind.items()}
        for kind in (step_seconds, ending_seconds)
    )


if __name__ == "__main__":
    run(main)
