"""How well captchas of other styles are read after training on a few labelled ones.

    python benchmarks/few_labels.py [--styles tiles] [--labels 100 1000] [--starts nothing starter] [--seeds 1]

Each style of unseen_styles.py is drawn into few_labels/: 1,000 captchas to score on, and up to 1,000 labelled ones,
those for validation included. Then the commands of the guide to images of your own run, for each number of labels,
start and seed. Each result is kept in few_labels/results.jsonl: the same command goes on where it was stopped.
"""

import argparse
import functools
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.own_style import accuracy, script
from benchmarks.unseen_styles import STYLES, Style, samples
from captcha_cli import UserError, quiet_import, run, start_litert
from captcha_config import Config
from captcha_strengths.cells import drop_cut_line

with quiet_import(__name__):
    from captcha_runs import transfer

from rich.console import Console
from rich.table import Table

BASE = Path("few_labels")
RESULTS = BASE / "results.jsonl"
HELD_OUT = 1000  # captchas to score on
LABELLED = 1000  # the largest number of labels
STARTS = ("nothing", "digits", "starter")

quietly = functools.partial(script, stdout=subprocess.DEVNULL)


def draw_style(style: Style) -> None:
    """Write a style's captchas to folders, named as the producer takes them."""
    folder = BASE / style.name
    if folder.exists():
        return
    new = BASE / f"{style.name}.new"
    shutil.rmtree(new, ignore_errors=True)
    for name in ("held_out", "labelled"):
        (new / name).mkdir(parents=True)
    for i, (text, image) in enumerate(zip(*samples(style, HELD_OUT + LABELLED), strict=True)):
        image.save(new / ("held_out" if i < HELD_OUT else "labelled") / f"{i:05}_{text}.png")
    new.rename(folder)


def measure(style: Style, labels: int, start: str, seed: int, options: list[str]) -> dict:
    """Import, train and score. The seconds are those of the import and the training."""
    work = BASE / style.name / "work"
    shutil.rmtree(work, ignore_errors=True)
    (work / "mine").mkdir(parents=True)
    for path in sorted((BASE / style.name / "labelled").iterdir())[:labels]:
        shutil.copy(path, work / "mine")
    folders = ("--tfrecords_dir", work / "tfrecords", "--images_dir", work / "images")
    init = () if start == "nothing" else ("--init_from", start)
    began = time.perf_counter()
    quietly("captcha_producer.py", "--source", work / "mine", *folders, "--seed", seed, *init)
    quietly("captcha_train.py", *folders, "--save_dir", work / "save", "--seed", seed, *init, *options)
    seconds = time.perf_counter() - began
    share = accuracy(str(work / "save"), BASE / style.name / "held_out")
    return {
        "style": style.name, "labels": labels, "start": start, "seed": seed, "accuracy": share,
        "seconds": seconds, "options": options,
    }  # fmt: skip


def fingerprint(start: str) -> str:
    """A hash of the network to start from, which tells apart networks of the same name; "" for none."""
    return transfer.fingerprint(Config(init_from="" if start == "nothing" else start))


def show(results: list[dict]) -> None:
    """Print the mean over the seeds for each style, number of labels and start, and the mean over the styles."""
    names = [style.name for style in STYLES]
    table = Table("labels", "start", *names, "mean", "seconds")
    for labels, start in sorted({(each["labels"], each["start"]) for each in results}):
        row = [each for each in results if (each["labels"], each["start"]) == (labels, start)]
        by_style = {name: [each["accuracy"] for each in row if each["style"] == name] for name in names}
        means = {name: statistics.mean(accuracies) for name, accuracies in by_style.items() if accuracies}
        cells = [f"{means[name]:.1%}" if name in means else "" for name in names]
        mean = f"{statistics.mean(means.values()):.1%}" if len(means) == len(names) else ""
        table.add_row(str(labels), start, *cells, mean, f"{statistics.mean(each['seconds'] for each in row):.0f}")
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--styles", nargs="+", choices=[style.name for style in STYLES], help="default: all")
    parser.add_argument("--labels", type=int, nargs="+", default=[50, 100, 300, 1000])
    parser.add_argument("--starts", nargs="+", default=STARTS, help="nothing, or what --init_from takes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--max_steps", type=int, help="steps to train for; default: as many as the trainer chooses")
    args = parser.parse_args()
    options = ["--max_steps", str(args.max_steps)] if args.max_steps else []
    if max(args.labels) > LABELLED:
        raise UserError(f"--labels: at most {LABELLED} are drawn")
    start_litert()
    styles = [style for style in STYLES if args.styles is None or style.name in args.styles]
    for style in styles:
        draw_style(style)
    drop_cut_line(RESULTS)
    results = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    networks = {start: fingerprint(start) for start in args.starts}
    results = [
        each for each in results if each["options"] == options and each.get("network") == networks.get(each["start"])
    ]
    done = {(each["style"], each["labels"], each["start"], each["seed"]) for each in results}
    cells = [(s, n, start, seed) for seed in args.seeds for n in args.labels for start in args.starts for s in styles]
    for style, labels, start, seed in cells:
        if (style.name, labels, start, seed) in done:
            continue
        results.append(measure(style, labels, start, seed, options) | {"network": networks[start]})
        with open(RESULTS, "a") as file:
            file.write(json.dumps(results[-1]) + "\n")
        print(json.dumps(results[-1]), flush=True)
    show(results)


if __name__ == "__main__":
    run(main)
