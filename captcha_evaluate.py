"""Score the best checkpoint, or an exported model: over the validation split, or over captchas drawn for the purpose.

python captcha_evaluate.py
python captcha_evaluate.py --fresh 20000 --seed 7
python captcha_evaluate.py --model letters --fresh 20000
"""

import contextlib
import dataclasses
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path

import captcha_data
import captcha_model
import captcha_predict
import captcha_save
from captcha_config import Config, UserError, parse_args, run
from captcha_draw import draw_many, track

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

FIELDS = ("seed", "workers", "tfrecords_dir", "save_dir", "memory_budget")
FRESH = "fresh/captchas"  # no folder can have this name, so no split was ever drawn with it
BATCH_SIZE = 256
BINS = 15  # of the calibration error
SHARES = (1.0, 0.99, 0.98, 0.95, 0.9)  # of the captchas, the most certain ones, for which the threshold is shown


def evaluate(config: Config, fresh: int = 0, model: str | Path | None = None) -> dict:
    """Score the best checkpoint in config.save_dir. Characters and size are those it was trained with.

    Args:
      config: save_dir, tfrecords_dir and workers; and seed, with `fresh`.
      fresh: captchas to draw, which training cannot have seen; 0: the validation split.
      model: score this exported model instead, which captcha_predict finds.
    Returns:
      captcha_accuracy and character_accuracy (0 to 1), interval (of the former, 95 %), calibration_error (0 to 1),
      thresholds (see there), count, source, model.
    Raises:
      UserError: there is no checkpoint or model, or no validation split like those it was trained with.
    """
    if model:
        reader = captcha_predict.load(model)
        name, drawn_with, forward = str(captcha_predict.find(model)), reader.about["drawn_with"], reader.logits
        trained = dataclasses.replace(reader.config, **{name: getattr(config, name) for name in FIELDS})
    else:
        commit, trained = captcha_save.best(config, FIELDS)
        network, temperature = captcha_model.build(trained, channels=3), commit["best"]["temperature"]
        captcha_save.restore(commit, network)
        name, drawn_with = str(commit["path"].with_suffix("")), commit["drawn_with"]
        forward = lambda images: captcha_model.forward(network, images) / temperature  # noqa: E731

    if not fresh:
        split, source = captcha_data.load("validation", trained, channels=3), "validation split"
        batches = captcha_data.evaluation_batches(*split, BATCH_SIZE)
    elif drawn_with["source"]:
        raise UserError(
            f"--fresh: the network was trained on the images of {drawn_with['source']}, which cannot be drawn; leave"
            " it out to score the validation split"
        )
    else:
        fonts = {field: tuple(drawn_with[field]) for field in ("fonts", "font_sizes")}
        batches = fresh_batches(fresh, dataclasses.replace(trained, **fonts))
        source = f"fresh captchas, seed {config.seed}"
    logits, labels = captcha_model.read_all(forward, batches)
    captchas, characters = (part.numpy() for part in captcha_model.evaluation(logits, labels))
    confidence = captcha_predict.probabilities(logits).max(axis=-1).prod(axis=-1)  # [count]
    return {
        "captcha_accuracy": float(captchas.mean()),
        "character_accuracy": float(characters.mean()),
        "interval": wilson_interval(int(captchas.sum()), len(captchas)),
        "calibration_error": calibration_error(confidence, captchas),
        "thresholds": thresholds(confidence, captchas),
        "count": len(captchas),
        "source": source,
        "model": name,
    }


def fresh_batches(count: int, config: Config) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw captchas that no split holds, on config.workers processes.

    Yields:
      (uint8 [batch, height, width, 3], int32 [batch, length]).
    """
    images, labels = [], []
    with contextlib.closing(track(draw_many(count, FRESH, config), count, "fresh captchas")) as drawn:
        for i, (text, encoded) in enumerate(drawn, 1):
            images.append(np.asarray(Image.open(io.BytesIO(encoded))))
            labels.append([config.characters.index(character) for character in text])
            if len(images) == BATCH_SIZE or i == count:
                yield np.stack(images), np.array(labels, np.int32)
                images, labels = [], []


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """Where the true share lies with a confidence of 95 %, `right` of `count` having been seen.

    Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953: sound near 100 % too, where the common one is not.
    """
    z = 1.959964  # 95 % of a normal distribution lie within so many deviations
    share, spread = right / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """How far confidence and accuracy lie apart: the mean over BINS bins of equally many captchas.

    Bins of equal width (Guo et al. 2017) would put nearly all captchas of a good network into one; these are those of
    Nguyen and O'Connor 2015, https://arxiv.org/abs/1508.05154.

    Args:
      confidence: float [count], 0 to 1. right: bool [count].
    Returns:
      0 to 1.
    """
    order = np.argsort(confidence, kind="stable")
    bins = [part for part in np.array_split(order, BINS) if part.size]
    return float(sum(len(part) * abs(confidence[part].mean() - right[part].mean()) for part in bins) / len(order))


def thresholds(confidence: np.ndarray, right: np.ndarray) -> list[dict[str, float]]:
    """What one gains by not reading the least certain captchas.

    Returns:
      For each of SHARES: threshold (read those at least as certain), share_read and accuracy among those read.
    """
    falling = np.sort(confidence)[::-1]
    lines = []
    for share in SHARES:
        threshold = falling[max(1, math.ceil(share * len(falling))) - 1]
        read = confidence >= threshold
        lines.append(
            {
                "threshold": float(threshold),
                "share_read": float(read.mean()),
                "accuracy": float(right[read].mean()),
            }
        )
    return lines


def main() -> None:
    def extras(parser):
        parser.add_argument("--fresh", type=int, default=0, metavar="N", help="score N captchas drawn now, by --seed")
        parser.add_argument("--model", help="score an exported model: a file, a trainer's folder, or digits, letters")
        parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")

    config, args = parse_args(__doc__, FIELDS, extras)
    if not 0 <= args.fresh <= 10**9:
        raise UserError(f"--fresh {args.fresh} is out of range; it must be from 0 to {10**9}")
    score = evaluate(config, args.fresh, args.model)
    if args.json:
        print(json.dumps(score))
        return
    low, high = score["interval"]
    print(f"{score['model']} on {score['count']} captchas ({score['source']})")
    print(f"captcha accuracy    {score['captcha_accuracy']:7.2%}  (95 % interval {low:.2%} to {high:.2%})")
    print(f"character accuracy  {score['character_accuracy']:7.2%}")
    print(f"calibration error   {score['calibration_error']:7.2%}")
    table = Table("read if confidence is at least", "share read", "right of those")
    for line in score["thresholds"]:
        table.add_row(f"{line['threshold']:.4f}", f"{line['share_read']:.2%}", f"{line['accuracy']:.2%}")
    Console().print(table)


if __name__ == "__main__":
    run(main)
