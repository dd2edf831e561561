"""Score the best checkpoint, or an exported model: over the validation split, or over captchas drawn for the purpose.

python captcha_evaluate.py
python captcha_evaluate.py --fresh 20000 --seed 7
python captcha_evaluate.py --model letters --fresh 20000
"""

import collections
import dataclasses
import functools
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import captcha_data
import captcha_endless
import captcha_log
import captcha_model
import captcha_predict
import captcha_report
import captcha_save
from captcha_config import Config, UserError, parse_args, run
from captcha_draw import draw, draw_many, track

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

FIELDS = ("seed", "workers", "tfrecords_dir", "save_dir", "memory_budget")
FRESH = "fresh/captchas"  # no folder can have this name, so no split was ever drawn with it
BATCH_SIZE = 256
BINS = 15  # of the calibration error
MISREAD, UNSURE = 40, 20  # captchas that the report shows
SHARES = (1.0, 0.99, 0.98, 0.95, 0.9)  # of the captchas, the most certain ones, for which the threshold is shown


@dataclass(frozen=True)
class Results:
    """What a network reads in a set."""

    logits: np.ndarray  # float32 [count, length, classes], calibrated
    labels: np.ndarray  # int32 [count, length]
    image: Callable[[int], Image.Image]  # index → the captcha
    config: Config  # of the network, as far as it decides what is read
    settings: dict  # what it was trained with, by name
    model: str  # where it is
    source: str  # of the captchas

    @functools.cached_property
    def right(self) -> np.ndarray:
        """bool [count, length]: which characters are."""
        return self.logits.argmax(axis=-1) == self.labels

    @functools.cached_property
    def confidence(self) -> np.ndarray:
        """float32 [count]: the probability, as the network has it, that all of a captcha is right."""
        return captcha_predict.probabilities(self.logits).max(axis=-1).prod(axis=-1)


def read_set(config: Config, fresh: int = 0, model: str | Path | None = None) -> Results:
    """Read a set with the best checkpoint in config.save_dir. Characters and size are those it was trained with.

    Args:
      config: save_dir, tfrecords_dir and workers; and seed, with `fresh`.
      fresh: captchas to draw, which training cannot have seen; 0: the validation split.
      model: take this exported model instead, which captcha_predict finds.
    Raises:
      UserError: there is no checkpoint or model, or no validation split like those it was trained with.
    """
    if model:
        reader = captcha_predict.load(model)
        name, drawn_with, forward = str(captcha_predict.find(model)), reader.about["drawn_with"], reader.logits
        settings = reader.about["config"]
        trained = dataclasses.replace(reader.config, **{name: getattr(config, name) for name in FIELDS})
    else:
        commit, trained = captcha_save.best(config, FIELDS)
        network, temperature = captcha_model.build(trained, channels=3), commit["best"]["temperature"]
        captcha_save.restore(commit, network)
        name, drawn_with = str(commit["path"].with_suffix("")), commit["drawn_with"]
        settings = commit["config"]
        forward = lambda images: captcha_model.forward(network, images) / temperature  # noqa: E731

    if not fresh:
        images, labels = captcha_data.load("validation", trained, channels=3)
        batches, source = captcha_data.evaluation_batches(images, labels, BATCH_SIZE), "validation split"
        image = lambda index: Image.fromarray(images[index])  # noqa: E731
    elif drawn_with["source"]:
        raise UserError(
            f"--fresh: the network was trained on the images of {drawn_with['source']}, which cannot be drawn; leave"
            " it out to score the validation split"
        )
    else:
        fonts = {field: tuple(drawn_with[field]) for field in ("fonts", "font_sizes")}
        trained = dataclasses.replace(trained, **fonts)
        drawn = track(draw_many(range(fresh), FRESH, trained), fresh, "fresh captchas")
        batches, source = captcha_endless.arrays(drawn, BATCH_SIZE, trained), f"fresh captchas, seed {config.seed}"
        image = lambda index: draw(index, FRESH, trained)[1]  # noqa: E731
    logits, labels = captcha_model.read_all(forward, batches)
    return Results(logits, labels, image, trained, settings, name, source)


def score(results: Results) -> dict:
    """The measures, as plain values.

    Returns:
      captcha_accuracy and character_accuracy (0 to 1), interval (of the former, 95 %), calibration_error (0 to 1),
      calibration and thresholds (see there), by_place and by_character (accuracies of characters), confusions ([truth,
      reading, how often], the most frequent first), count, source, model.
    """
    captchas, characters = results.right.all(axis=1), results.config.characters
    labels, read = results.labels, results.logits.argmax(axis=-1)
    wrong = collections.Counter(zip(labels[~results.right].tolist(), read[~results.right].tolist(), strict=True))
    return {
        "captcha_accuracy": float(captchas.mean()),
        "character_accuracy": float(results.right.mean()),
        "interval": wilson_interval(int(captchas.sum()), len(captchas)),
        "calibration_error": calibration_error(results.confidence, captchas),
        "calibration": calibration(results.confidence, captchas),
        "thresholds": thresholds(results.confidence, captchas),
        "by_place": results.right.mean(axis=0).tolist(),
        "by_character": {
            character: float(results.right[labels == i].mean())
            for i, character in enumerate(characters)
            if (labels == i).any()
        },
        "confusions": [[characters[a], characters[b], times] for (a, b), times in wrong.most_common()],
        "count": len(captchas),
        "source": results.source,
        "model": results.model,
    }


def evaluate(config: Config, fresh: int = 0, model: str | Path | None = None) -> dict:
    """The score of the best checkpoint, or of an exported model: see read_set and score."""
    return score(read_set(config, fresh, model))


def gallery(results: Results) -> dict[str, list[dict]]:
    """Captchas to look at, under their headings: truth, reading, confidence, probabilities of what was read, image."""
    characters, right = results.config.characters, results.right.all(axis=1)
    chances = captcha_predict.probabilities(results.logits)  # [count, length, classes]
    by_confidence = np.argsort(results.confidence, kind="stable")

    def look(index: int) -> dict:
        labels, read = results.labels[index], chances[index].argmax(axis=-1)
        return {
            "truth": "".join(characters[i] for i in labels),
            "reading": "".join(characters[i] for i in read),
            "confidence": float(results.confidence[index]),
            "probabilities": chances[index].max(axis=-1).tolist(),
            "image": results.image(int(index)),
        }

    wrong, unsure = by_confidence[~right[by_confidence]], by_confidence[right[by_confidence]]
    return {
        f"Misread, the most certain first ({min(MISREAD, len(wrong))} of {len(wrong)})": [
            look(index) for index in wrong[::-1][:MISREAD]
        ],
        "Read right, the least certain first": [look(index) for index in unsure[:UNSURE]],
    }


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """Where the true share lies with a confidence of 95 %, `right` of `count` having been seen.

    Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953: sound near 100 % too, where the common one is not.
    """
    z = 1.959964  # 95 % of a normal distribution lie within so many deviations
    share, spread = right / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def calibration(confidence: np.ndarray, right: np.ndarray) -> list[dict[str, float]]:
    """Confidence and accuracy, in BINS bins of equally many captchas, the least certain first.

    Bins of equal width (Guo et al. 2017) would put nearly all captchas of a good network into one; these are those of
    Nguyen and O'Connor 2015, https://arxiv.org/abs/1508.05154.

    Args:
      confidence: float [count], 0 to 1. right: bool [count].
    Returns:
      For each bin: the means, confidence and accuracy, and count.
    """
    bins = np.array_split(np.argsort(confidence, kind="stable"), min(BINS, len(confidence)))
    return [
        {"confidence": float(confidence[part].mean()), "accuracy": float(right[part].mean()), "count": len(part)}
        for part in bins
    ]


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """How far confidence and accuracy lie apart, 0 to 1: the mean over the captchas of `calibration`'s bins."""
    bins = calibration(confidence, right)
    return sum(part["count"] * abs(part["confidence"] - part["accuracy"]) for part in bins) / len(confidence)


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
        parser.add_argument("--model", help="score an exported model: a file, a trainer's folder, or one that ships")
        parser.add_argument("--report", type=Path, metavar="FILE.html", help="write all there is to see as one page")
        parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")

    config, args = parse_args(__doc__, FIELDS, extras)
    if not 0 <= args.fresh <= 10**9:
        raise UserError(f"--fresh {args.fresh} is out of range; it must be from 0 to {10**9}")
    results = read_set(config, args.fresh, args.model)
    scored = score(results)
    if args.report:
        folder = Path(results.model).parent
        entries = captcha_log.read(folder)
        captcha_report.write(args.report, scored, gallery(results), results.config, results.settings, entries)
        print(f"{args.report}: open it in a browser", file=sys.stderr)
    if args.json:
        print(json.dumps(scored))
        return
    low, high = scored["interval"]
    print(f"{scored['model']} on {scored['count']} captchas ({scored['source']})")
    print(f"captcha accuracy    {scored['captcha_accuracy']:7.2%}  (95 % interval {low:.2%} to {high:.2%})")
    print(f"character accuracy  {scored['character_accuracy']:7.2%}")
    print(f"calibration error   {scored['calibration_error']:7.2%}")
    table = Table("read if confidence is at least", "share read", "right of those")
    for line in scored["thresholds"]:
        table.add_row(f"{line['threshold']:.4f}", f"{line['share_read']:.2%}", f"{line['accuracy']:.2%}")
    Console().print(table)


if __name__ == "__main__":
    run(main)
