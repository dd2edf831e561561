"""List the labels of your own images that are probably wrong.

    python captcha_suspects.py my_images
    python captcha_suspects.py labels.csv --report suspects.html
    python captcha_suspects.py my_images --json suspects.json

Cross-validation: the images are divided into four parts, and each part is read by a network that was trained on the
other three. Labels that differ from the prediction are listed, the most confident prediction first.
"""

import argparse
import collections
import contextlib
import dataclasses
import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from captcha_cli import UserError, parse_args, quiet_import, run, track

with quiet_import(__name__):
    import tensorflow as tf

from captcha_config import Config
from captcha_predict.console import printable
from captcha_predict.decode import classes, decode, probabilities, text_of
from captcha_predict.form import is_unicode
from captcha_predict.images import open_image
from captcha_runs import cluster, html, metrics, recipe, transfer
from captcha_sets.files import check_writable, write_text
from captcha_sets.labelled import LabelledImage, fitted, labelled_images, png_files
from captcha_sets.pixels import BLOCK, arrays, in_memory, seen
from captcha_sets.sheet import print_table
from captcha_train import new_network, train_on

import numpy as np
from rich.table import Table

FIELDS = (
    "seed", "shift", "rotate", "zoom", "channels", "input_downsampling", "input_color", "count_freely", "head_units",
    "label_smoothing", "automatic", "init_from", "batch_size", "max_steps", "learning_rate", "warmup_steps",
    "weight_decay",
)  # fmt: skip
PARTS = 4
SHOWN = 20  # suspects that are printed
MAX_LOG_RATIO = 20  # larger ratios are shown as this one


@dataclass(frozen=True)
class Suspect:
    """A label that differs from the prediction."""

    path: Path
    label: str
    prediction: str
    log_ratio: float  # ln(probability of the prediction / probability of the label)


def suspects(good: list[LabelledImage], config: Config) -> list[Suspect]:
    """The labels that differ from the prediction, the most confident prediction first.

    Confident learning (Northcutt et al. 2021, https://arxiv.org/abs/1911.00068) finds wrong labels in the same way: by
    predictions for examples that were left out of the training.

    Args:
      good: labelled images, at least PARTS of them.
      config: with their characters, lengths and size, and how to train.
    """
    images, labels = _opened(good, config)
    logits = held_out_logits(images, labels, config)
    if not np.isfinite(logits).all():
        raise UserError(
            f"the training diverged; try a lower learning rate (--learning_rate {config.learning_rate / 2:g})"
        )
    predicted = probabilities(logits / metrics.temperature(logits, labels, config), config)  # [count, length, classes]
    texts, confidence = decode(predicted, config)
    log_ratio = np.log(confidence) - _log_probability(labels, predicted, config)
    wrong = np.flatnonzero((texts != labels).any(axis=1) & (log_ratio > 0))  # the prediction need not be the best text
    return [
        Suspect(good[i].path, good[i].text, text_of(texts[i], config), float(log_ratio[i]))
        for i in wrong[np.argsort(-log_ratio[wrong], kind="stable")]
    ]


def _opened(good: list[LabelledImage], config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Images as the network sees them, uint8 [count, height, width, channels], and labels, int32 [count, length]."""
    blocks = arrays(png_files(good, config), BLOCK, config)
    images, labels = zip(*((np.asarray(seen(images, config)), labels) for images, labels in blocks), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _log_probability(labels: np.ndarray, predicted: np.ndarray, config: Config) -> np.ndarray:
    """ln of the probability of these labels, float [count]: of the characters, and of the end where lengths vary."""
    of_labels = np.take_along_axis(predicted, labels[..., None], axis=-1)[..., 0]  # [count, length]
    end = labels == len(config.characters)
    after_the_end = end & (np.cumsum(end, axis=-1) > 1)
    return np.log(np.where(after_the_end, 1.0, of_labels).clip(1e-30)).sum(axis=-1)


def held_out_logits(images: np.ndarray, labels: np.ndarray, config: Config) -> np.ndarray:
    """The logits of each image, of a network that did not train on it.

    Args:
      images: uint8 [count, height, width, channels].
      labels: int32 [count, length].
    Returns:
      float32 [count, length, classes].
    """
    parts = np.random.default_rng(config.seed).permutation(len(images)) % PARTS
    logits = np.zeros((*labels.shape, len(classes(config))), np.float32)
    total = PARTS * config.max_steps
    with contextlib.closing(track(range(total), total, "training", "steps")) as steps:
        for part in range(PARTS):
            network, others = new_network(config), parts != part
            training = train_on(network, in_memory(images[others], labels[others], config), config)
            collections.deque(zip(training, steps, strict=False), maxlen=0)  # `steps` shows the progress
            logits[~others] = network.predict(images[~others], batch_size=BLOCK, verbose=0)
    return logits


def print_suspects(found: list[Suspect], count: int) -> None:
    print(f"{len(found)} of {count} labels differ from the prediction")
    if not found:
        return
    table = Table("image", "label", "prediction", "times as probable")
    for suspect in found[:SHOWN]:
        table.add_row(printable(str(suspect.path)), suspect.label, suspect.prediction, _times(suspect))
    print_table(table)
    if len(found) > SHOWN:
        print(f"and {len(found) - SHOWN} less certain ones (--report shows all)")


def _times(suspect: Suspect) -> str:
    """How many times as probable as the label the prediction is, such as "1,200"."""
    return f"{np.exp(min(suspect.log_ratio, MAX_LOG_RATIO)):,.0f}"


def write_report(path: Path, found: list[Suspect], source: Path, count: int) -> None:
    """Write all suspects, with their images, as one HTML page."""
    rows = [
        {
            **dataclasses.asdict(suspect),
            "path": printable(str(suspect.path)),
            "times": _times(suspect),
            "png": html.embedded(open_image(suspect.path)),
        }
        for suspect in found
    ]
    html.write(path, "suspects.html", rows=rows, source=printable(str(source)), count=count)


def check_names(good: list[LabelledImage], folder: Path) -> None:
    """Raise UserError where captcha_label.py could not find an image again by its name."""
    for image in good:
        name = os.path.relpath(image.path, folder)
        if name.split(os.sep)[0] == os.pardir or not is_unicode(name):
            raise UserError(f"--json: {image.path}: is not in {folder}, or its name is not UTF-8; move or rename it")


def write_json(path: Path, found: list[Suspect], good: list[LabelledImage], folder: Path) -> None:
    """Write all labels and the suspects for captcha_label.py --suspects; files are relative to the folder."""
    rows = [
        {
            "file": os.path.relpath(suspect.path, folder),
            "label": suspect.label,
            "prediction": suspect.prediction,
            "times": _times(suspect),
        }
        for suspect in found
    ]
    labels = {os.path.relpath(image.path, folder): image.text for image in good}
    write_text(path, json.dumps({"labels": labels, "suspects": rows}, indent=1))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="a folder of labelled images, or a CSV file, as for the producer")
    parser.add_argument("--ignore_case", action="store_true", help="treat upper and lower case as the same")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="write all suspects as one HTML page")
    parser.add_argument("--json", type=Path, metavar="FILE.json", help="write them for captcha_label.py --suspects")


@cluster.failures_explained()
def main() -> None:
    config, args = parse_args(__doc__, FIELDS, add_arguments)
    check_writable(args.report, "--report")
    check_writable(args.json, "--json")
    good, problems = labelled_images(args.source, config, (), args.ignore_case)
    for problem in problems:
        print(f"left out: {printable(problem)}")
    folder = args.source if args.source.is_dir() else args.source.parent
    if args.json:
        check_names(good, folder)
    if len(good) < PARTS:
        raise UserError(f"{args.source}: only {len(good)} usable images; at least {PARTS} are needed")
    config = transfer.like_network(fitted(good, *transfer.at_image_size(config, ())), vars(args))
    config = recipe.for_own_images(config, len(good), vars(args))
    tf.get_logger().setLevel("ERROR")
    found = suspects(good, config)
    print_suspects(found, len(good))
    if args.report:
        write_report(args.report, found, args.source, len(good))
        print(f"{args.report}: open it in a browser")
    if args.json:
        write_json(args.json, found, good, folder)
        command = shlex.join(["python", "captcha_label.py", str(folder), "--suspects", str(args.json)])
        print(f"{args.json}: check them: {command}")


if __name__ == "__main__":
    run(main)
