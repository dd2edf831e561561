"""The summit: how well the networks that ship read, how large they are, and how long they take.

    python benchmarks/summit.py [--models digits letters capitals] [--count 100000]

Captchas are drawn for the purpose; no training saw them. Let nothing else run meanwhile. Reading: from the bytes
of a PNG to the text, on one core: the median of a thousand.
"""

import argparse
import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import captcha_evaluate
import captcha_log
import captcha_predict
from captcha_config import Config, run
from captcha_draw import draw_many

from reading import milliseconds, stay_on_one_core
from rich.console import Console
from rich.table import Table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=captcha_predict.shipped())
    parser.add_argument("--count", type=int, default=100_000, help="captchas for each")
    args = parser.parse_args()
    scores = {model: captcha_evaluate.evaluate(Config(), args.count, model) for model in args.models}
    stay_on_one_core()
    table = Table(
        "model", "captcha accuracy (95 % interval)", "character accuracy", "of", "training", "size", "reading"
    )
    for model, score in scores.items():
        reader, folder = captcha_predict.load(model), captcha_predict.SHIPPED / model
        files = [encoded for _, encoded in draw_many(range(1000), "benchmark", reader.config)]
        reading, _ = milliseconds(functools.partial(captcha_predict.read, model=model), files)
        low, high = score["interval"]
        table.add_row(
            model,
            f"{score['captcha_accuracy']:.3%} ({low:.3%} to {high:.3%})",
            f"{score['character_accuracy']:.3%}",
            str(score["count"]),
            f"{captcha_log.read(folder)[-1]['seconds']:.0f} s",
            f"{(folder / 'model.tflite').stat().st_size / 1000:.0f} kB",
            f"{reading:.2f} ms",
        )
    Console().print(table)


if __name__ == "__main__":
    run(main)
