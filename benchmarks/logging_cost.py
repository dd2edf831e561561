"""What the logs cost: blocks of steps with everything on and with everything off, in turns, in one run.

    python benchmarks/logging_cost.py [--blocks 12]

A block ends as a real one does, with an evaluation on the validation split and, in every second one, with a report to
log.jsonl and TensorBoard: curves, pictures, histograms. The sets must be there (make train, or the producer).
"""

import argparse
import functools
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import captcha_data
import captcha_log
import captcha_model
import captcha_optimizer
import captcha_show
import captcha_train
from captcha_config import Config, run

import keras


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--blocks", type=int, default=12, help="of each kind")
    parser.add_argument("--steps", type=int, default=Config.eval_every, help="in a block")
    args = parser.parse_args()
    config = Config()
    keras.utils.set_random_seed(config.seed)
    model = captcha_model.build(config)
    optimizer = captcha_optimizer.build(model, config)
    train_step = captcha_train.build_train_step(model, optimizer, config)
    forward = functools.partial(captcha_model.forward, model)
    batches = iter(captcha_data.training_batches(*captcha_data.load("train", config), 0, config))
    held_out = captcha_data.load("validation", config)
    validation = captcha_data.evaluation_batches(*held_out, config.batch_size)
    steps, endings = {False: [], True: []}, {False: [], True: []}  # seconds
    with tempfile.TemporaryDirectory() as folder, captcha_log.Log(Path(folder), config, 0) as log:
        for block in range(2 * args.blocks + 2):
            logged = block % 4 in (1, 2)  # off, on, on, off: what drifts evenly cancels out
            taken = []
            for _ in range(args.steps):
                began = time.perf_counter()
                loss, norm = train_step(*next(batches))
                if logged:
                    log.advance()
                taken.append(time.perf_counter() - began)
            began = time.perf_counter()
            logits, labels = captcha_model.read_all(forward, validation)
            accuracy = float(captcha_model.evaluation(logits, labels)[0].numpy().mean())
            if logged:
                values = {"loss": float(loss), "gradient_norm": float(norm), "captcha_accuracy": accuracy}
                values |= {"learning_rate": 0.0, "images_per_second": 0.0, "waiting_for_data": 0.0}
                values |= {"seconds": 0.0, "character_accuracy": accuracy}
                misread = captcha_show.misread(*held_out, logits, config.characters)
                log.report(block * args.steps, values, misread, model)
            if block > 1:  # the first of each kind traces, and opens the files
                steps[logged] += taken
                endings[logged].append(time.perf_counter() - began)
    # Whole blocks vary by 15 %, for what else the machine does; medians of single steps do not.
    step, ending = ({on: statistics.median(of[on]) for on in of} for of in (steps, endings))
    off, on = (args.steps * step[on] + ending[on] for on in (False, True))
    print(f"without logs: a step {1000 * step[False]:.1f} ms, an evaluation {1000 * ending[False]:.0f} ms")
    print(f"with logs:    a step {1000 * step[True]:.1f} ms, an evaluation and a report {1000 * ending[True]:.0f} ms")
    print(f"{args.steps} steps and an evaluation: {off:.2f} s without, {on:.2f} s with logs, {on / off - 1:+.2%}")


if __name__ == "__main__":
    run(main)
