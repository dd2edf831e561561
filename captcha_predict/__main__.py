"""Read captchas from a shell: one line, or one JSON object, per image.

python -m captcha_predict captcha.png folder/ --json
"""

import dataclasses
import json
import sys
from pathlib import Path

from captcha_predict import DEFAULT, MODEL, SAVE, STARTER, Prediction, UserError, find, load, parallel_map, shipped
from captcha_predict.console import OneLineParser, printable, program, quiet_stderr, run, track
from captcha_predict.images import images_in

MANY = 1000  # images, from which on progress is shown
DOUBTFUL = 0.5  # confidence below which the captcha may be of a kind that the model does not know


def read_paths() -> int:
    """Read the images named on the command line. Returns 1 where one of them cannot be read, otherwise 0."""
    args = _parse_args()
    if args.model is None:
        print(f"{program()}: reading with {find()} (--model names another)", file=sys.stderr)
    with quiet_stderr():  # LiteRT prints a line of its own when it starts
        reader = load(args.model)
    reader.check_characters(args.characters)
    paths = [path for named in args.paths for path in (images_in(named) if named.is_dir() else [named])]

    def predict(path: Path) -> Prediction | UserError:
        try:
            return reader.read(path, args.characters)
        except UserError as error:
            return error

    predictions = parallel_map(predict, paths)
    if len(paths) >= MANY:
        predictions = track(predictions, len(paths), "reading")
    unreadable = doubtful = 0
    for path, prediction in zip(paths, predictions, strict=True):
        if isinstance(prediction, UserError):
            unreadable += 1
            print(f"{program()}: error: {printable(str(prediction))}", file=sys.stderr)
        else:
            print(_line(path, prediction, args))
            doubtful += prediction.confidence < DOUBTFUL
    if doubtful and args.model is None:
        print(
            f"{program()}: the confidence of {doubtful} of {len(paths)} predictions is below {DOUBTFUL};"
            f" try --model {STARTER}, which knows captchas of many styles",
            file=sys.stderr,
        )
    return 1 if unreadable else 0


def _parse_args():
    parser = OneLineParser(__doc__)
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="images, and folders of images")
    default = f"{SAVE}/{MODEL} of the current folder, or else {DEFAULT}"
    names = ", ".join(shipped())
    parser.add_argument(
        "--model", help=f"a .tflite file, a folder that the trainer saved to, or one of {names}; default: {default}"
    )
    parser.add_argument("--characters", help="the only characters that a text can have; default: all of the model's")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    parser.add_argument(
        "--min-confidence", type=float, default=0.0, metavar="P", help="mark what is less certain than this, 0 to 1"
    )
    args = parser.parse_args()
    if not 0 <= args.min_confidence <= 1:
        raise UserError(f"--min-confidence {args.min_confidence} is out of range; it must be from 0 to 1")
    return args


def _line(path: Path, prediction: Prediction, args) -> str:
    uncertain = prediction.confidence < args.min_confidence
    if args.json:
        values = {"path": str(path), **dataclasses.asdict(prediction), "uncertain": uncertain}
        return json.dumps(values, ensure_ascii=False)
    return f"{printable(str(path))}  {prediction.text}  {prediction.confidence:.4f}{'  uncertain' if uncertain else ''}"


def main() -> None:
    run(read_paths)


if __name__ == "__main__":
    main()
