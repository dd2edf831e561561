"""How well the shipped networks read, how large they are, and how long they take.

    python benchmarks/summit.py [--models capitals digits letters] [--count 100000]

The captchas are drawn for the purpose; no training saw them. Let nothing else run meanwhile. Reading is from the bytes
of a PNG file to the text, on one core: the median of a thousand. `--models starter` needs the fonts of `make starter`.
"""

import argparse
import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from captcha_cli import quiet_import, run, start_litert

with quiet_import(__name__):
    import captcha_evaluate

import captcha_predict
from captcha_config import Config
from captcha_runs import log
from captcha_runs.transfer import WEIGHTS
from captcha_sets.pool import draw_many

from reading import like_model, milliseconds, one_core
from rich.console import Console
from rich.table import Table

MODELS = ("capitals", "digits", "letters")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", choices=captcha_predict.shipped(), default=MODELS)
    parser.add_argument("--count", type=int, default=100_000, help="captchas for each")
    args = parser.parse_args()
    start_litert()
    scores = {
        model: captcha_evaluate.score(captcha_evaluate.predict(Config(), args.count, model)) for model in args.models
    }
    table = Table(
        "model", "captcha accuracy (95 % interval)", "character accuracy", "of", "training", "size", "reading"
    )
    for model, scored in scores.items():
        files = [encoded for _, encoded in draw_many(range(1000), "benchmark", like_model(model))]
        with one_core():
            ((reading, _),) = milliseconds([functools.partial(captcha_predict.read, model=model)], files)
        low, high = scored["interval"]
        table.add_row(
            model,
            f"{scored['captcha_accuracy']:.3%} ({low:.3%} to {high:.3%})",
            f"{scored['character_accuracy']:.3%}",
            str(scored["count"]),
            f"{log.read(WEIGHTS / model)[-1]['seconds']:.0f} s",
            f"{captcha_predict.find(model).stat().st_size / 1000:.0f} kB",
            f"{reading:.2f} ms",
        )
    Console().print(table)


if __name__ == "__main__":
    run(main)
