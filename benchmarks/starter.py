"""Reading without a single label: the starter beside ddddocr, a general captcha reader, on captchas that neither knows.

    pip install ddddocr==1.6.1
    python benchmarks/starter.py

The captchas are those of unseen_styles.py, and the captcha library's own as it draws them by default. Upper and lower
case count as the same. Both read PNG files, in turns, on one core.
"""

import argparse
import random
import string
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import captcha_predict
from benchmarks.reading import milliseconds, one_core
from benchmarks.unseen_styles import STYLES, samples
from captcha_cli import UserError, run, start_litert
from captcha_runs.metrics import calibration_error, wilson_interval
from captcha_sets.draw import png

import numpy as np
from captcha.image import ImageCaptcha
from PIL import Image
from rich.console import Console
from rich.table import Table

CERTAIN = 0.9  # confidence from which on a wrong prediction misleads
LIBRARY_SEED = 105
LIBRARY_LENGTH = 4


@dataclass(frozen=True)
class Outcome:
    """What one reader made of the captchas of one style."""

    correct: np.ndarray  # bool [count]
    confidence: np.ndarray | None  # float [count]
    ms: float  # for one captcha, the median


def library_samples(count: int) -> tuple[list[str], list[Image.Image]]:
    """Texts of digits and letters, and captchas as the captcha library draws them by default."""
    random.seed(LIBRARY_SEED)  # the texts; the library itself draws with numbers that cannot be seeded
    captcha = ImageCaptcha()
    texts = ["".join(random.choices(string.digits + string.ascii_letters, k=LIBRARY_LENGTH)) for _ in range(count)]
    return texts, [captcha.generate_image(text) for text in texts]


def starter(model: str) -> tuple[Callable, float]:
    """A function from a PNG file to (text, confidence), and the megabytes of the network."""
    reader = captcha_predict.load(model)

    def read(content: bytes) -> tuple[str, float]:
        prediction = reader.read(content)
        return prediction.text, prediction.confidence

    return read, captcha_predict.find(model).stat().st_size / 1e6


def ddddocr(beta: bool) -> tuple[Callable, float]:
    """The same of ddddocr, with its default or its beta network. It gives no confidence."""
    try:
        import ddddocr
    except ImportError as error:
        raise UserError("ddddocr is missing; pip install ddddocr==1.6.1") from error
    ocr = ddddocr.DdddOcr(show_ad=False, beta=beta)
    network = Path(ddddocr.__file__).parent / ("common.onnx" if beta else "common_old.onnx")
    return lambda content: (ocr.classification(content), None), network.stat().st_size / 1e6


def measure(read: Callable, texts: list[str], files: list[bytes]) -> Outcome:
    ((ms, predictions),) = milliseconds([read], files)
    correct = [text.lower() == found.lower() for text, (found, _) in zip(texts, predictions, strict=True)]
    confidence = [certain for _, certain in predictions]
    return Outcome(np.array(correct), None if None in confidence else np.array(confidence), ms)


def row(name: str, outcome: Outcome) -> list[str]:
    correct, count = int(outcome.correct.sum()), len(outcome.correct)
    low, high = wilson_interval(correct, count)
    cells = [name, f"{correct / count:.1%} ({low:.1%} to {high:.1%})", f"{outcome.ms:.2f}"]
    if outcome.confidence is None:
        return cells
    misleading = (outcome.confidence[~outcome.correct] > CERTAIN).mean() if correct < count else 0.0
    return [*cells, f"{misleading:.1%}", f"{calibration_error(outcome.confidence, outcome.correct):.1%}"]


def together(outcomes: list[Outcome]) -> Outcome:
    """All styles as one; their counts are equal, so that this is the mean."""
    confidence = [outcome.confidence for outcome in outcomes]
    return Outcome(
        np.concatenate([outcome.correct for outcome in outcomes]),
        None if confidence[0] is None else np.concatenate(confidence),
        float(np.mean([outcome.ms for outcome in outcomes])),
    )


def compare(model: str, count: int, alone: bool) -> None:
    """Print the table, of `count` captchas of each style."""
    readers = {model: starter(model)}
    if not alone:
        readers |= {"ddddocr": ddddocr(beta=False), "ddddocr beta": ddddocr(beta=True)}
    styles = {style.name: samples(style, count) for style in STYLES}
    styles["captcha library"] = library_samples(count)
    outcomes: dict[str, list[Outcome]] = {name: [] for name in readers}
    table = Table("style, reader", "captcha accuracy (95 %)", "ms", f"wrong, yet > {CERTAIN}", "calibration error")
    for style, (texts, images) in styles.items():
        files = [png(image) for image in images]
        for name, (read, _) in readers.items():
            outcomes[name].append(measure(read, texts, files))
            table.add_row(*row(f"{style}, {name}", outcomes[name][-1]))
    for name, (_, megabytes) in readers.items():
        table.add_row(*row(f"all, {name}, {megabytes:.1f} MB", together(outcomes[name])))
    Console(width=110).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=1000, help="captchas of each style")
    parser.add_argument("--model", default="starter", help="as captcha_predict takes it")
    parser.add_argument("--alone", action="store_true", help="leave out ddddocr")
    args = parser.parse_args()
    start_litert()
    with one_core():
        compare(args.model, args.count, args.alone)


if __name__ == "__main__":
    run(main)
