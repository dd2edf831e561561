"""Read captchas: files, folders, bytes, Pillow images, arrays of pixels. It needs no TensorFlow.

import captcha_predict
captcha_predict.read("captcha.png")                         "2704"
captcha_predict.read(["a.png", "b.png"])                    ["2704", "0318"]
captcha_predict.read("captcha.png", details=True)           a Reading: its confidence, and each character's
captcha_predict.read("captcha.png", model="save/letters")   another model than the usual

python captcha_predict.py captcha.png folder/ --json
"""

import dataclasses
import functools
import hashlib
import io
import itertools
import json
import os
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captcha_config import Config, UserError, parse_args, run
from captcha_draw import track
from captcha_open import images_in, open_image, resized

import numpy as np
from ai_edge_litert.interpreter import Interpreter

SHIPPED = Path(__file__).parent / "captcha_models"
MODEL = "model.tflite"  # what the trainer's end leaves in save/
MANY = 1000  # images, from which on progress is shown
PART = 20  # images that a thread takes at a time: handing over each one alone would cost as much as decoding it
ABOUT = "captcha.json"  # the file's own description, packed into it


@dataclass(frozen=True)
class Reading:
    """What an image shows."""

    text: str
    confidence: float  # the probability that all of the text is right, 0 to 1
    characters: tuple[dict[str, float], ...]  # for each place, the probability of each character


def read(images: Any, model: str | Path | None = None, *, details: bool = False) -> Any:
    """Read one image, several, or a folder of them.

    Args:
      images: a path, bytes of a PNG or JPEG file, a Pillow image, or pixels as captcha_open.open_image takes them; or a
        list of such; or the path of a folder. Images of another size than the model's are resized.
      model: a .tflite file, a folder that the trainer saved to, or one that ships ("digits", "letters", "capitals").
        Without, it is the one in save/ of the folder you run in, or else "digits".
      details: whether to get Readings; otherwise texts.
    Returns:
      The text (a Reading) of one image; for a list, a list in its order; for a folder, a dict by file name.
    Raises:
      UserError: an image cannot be read (of a list, its message says which), or there is no such model.
    """
    reader = load(model)

    def answer(image: Any) -> str | Reading:
        reading = reader.read(image)
        return reading if details else reading.text

    def answer_one_of_many(item: tuple[int, Any]) -> str | Reading:
        try:
            return answer(item[1])
        except UserError as error:
            raise UserError(f"image {item[0]} of the list: {error}") from error

    if isinstance(images, list | tuple):
        return list(each(answer_one_of_many, enumerate(images)))
    if isinstance(images, str | Path) and Path(images).is_dir():
        paths = images_in(Path(images))
        return {path.name: found for path, found in zip(paths, each(answer, paths), strict=True)}
    return answer(images)


def each(function: Callable, items: Iterable) -> Iterator:
    """The function of each item, in order, on as many threads as there are cores."""
    items = iter(items)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while some := list(itertools.islice(items, MANY)):  # so that a million items do not wait in memory
            parts = [some[i : i + PART] for i in range(0, len(some), PART)]
            for answers in pool.map(lambda part: [function(item) for item in part], parts):
                yield from answers


def load(model: str | Path | None = None) -> "Reader":
    """The reader of a model, as `read` finds it; loaded once, and again when the file is another one."""
    path = find(model)
    return _load(path, path.stat().st_mtime_ns)


def find(model: str | Path | None = None) -> Path:
    """The model's file. Raises UserError where there is none of that name."""
    if model is None:
        own = Path(Config.save_dir, MODEL)
        return (own if own.exists() else SHIPPED / "digits" / MODEL).absolute()
    join = os.path.join  # texts take a third of the time of Paths, and this is done for each image
    for path in (model, join(model, MODEL), join(SHIPPED, model, MODEL)):
        if os.path.isfile(path):
            return Path(path).absolute()
    names = ", ".join(shipped())
    raise UserError(f"{model}: there is no such model; name a .tflite file, a folder with {MODEL}, or one of {names}")


def shipped() -> list[str]:
    """The names of the models that ship."""
    return sorted(path.name for path in SHIPPED.iterdir() if path.is_dir())


@functools.lru_cache(maxsize=16)
def _load(path: Path, changed: int) -> "Reader":
    return Reader(path)


class Reader:
    """A model, ready to read. It may be called from several threads at once.

    Attributes:
      config: the characters, length, width and height that it reads.
      about: all that the file says of itself.
    """

    def __init__(self, path: Path) -> None:
        """Raises UserError where the file is no whole model of this project's."""
        content = path.read_bytes()
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                self.about = json.loads(packed.read(ABOUT))
            self.config = Config.from_dict(
                {name: self.about[name] for name in ("characters", "length", "width", "height")}
            )
            self._model = content[: self.about["bytes"]]
            if hashlib.sha256(self._model).hexdigest() != self.about["sha256"]:
                raise ValueError("its sha256 is not the one in it")
            self._idle = [self._interpreter()]  # each serves one call at a time
            (pixels,), (logits,) = self._idle[0].get_input_details(), self._idle[0].get_output_details()
            self._pixels, self._logits = pixels["index"], logits["index"]
        except (zipfile.BadZipFile, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"{path}: is no whole model ({error}); export it again: captcha_export.py") from error

    def _interpreter(self) -> Interpreter:
        interpreter = Interpreter(model_content=self._model, num_threads=1)
        interpreter.allocate_tensors()
        return interpreter

    def read(self, image: Any) -> Reading:
        """Read one image, given as `captcha_predict.read` takes it."""
        pixels = np.asarray(resized(open_image(Path(image) if isinstance(image, str) else image), self.config))
        chances = probabilities(self.logits(pixels[None])[0])  # [length, classes]
        text = "".join(self.config.characters[i] for i in chances.argmax(axis=-1))
        characters = tuple(dict(zip(self.config.characters, row, strict=True)) for row in chances.tolist())
        return Reading(text, float(chances.max(axis=-1).prod()), characters)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Run the network: uint8 [batch, height, width, 3] → calibrated logits, float32 [batch, length, classes]."""
        try:
            interpreter = self._idle.pop()
        except IndexError:  # other threads have them all
            interpreter = self._interpreter()
        found = []
        for image in np.asarray(images):
            interpreter.set_tensor(self._pixels, image[None])
            interpreter.invoke()
            found.append(interpreter.get_tensor(self._logits)[0])
        self._idle.append(interpreter)
        return np.stack(found)


def probabilities(logits: np.ndarray) -> np.ndarray:
    """The softmax over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def main() -> int:
    def extras(parser):
        parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="images, and folders of images")
        parser.add_argument(
            "--model", help="a .tflite file, a trainer's folder, or one that ships: digits, letters, capitals"
        )
        parser.add_argument("--json", action="store_true", help="one JSON object a line")
        parser.add_argument(
            "--min-confidence", type=float, default=0.0, metavar="P", help="mark what is less certain than that, 0 to 1"
        )

    _, args = parse_args(__doc__, (), extras)
    if not 0 <= args.min_confidence <= 1:
        raise UserError(f"--min-confidence {args.min_confidence} is out of range; it must be from 0 to 1")
    reader = load(args.model)
    paths = [path for named in args.paths for path in (images_in(named) if named.is_dir() else [named])]

    def answer(path: Path) -> Reading | UserError:
        try:
            return reader.read(path)
        except UserError as error:
            return error

    answers = each(answer, paths)
    if len(paths) >= MANY:
        answers = track(answers, len(paths), "reading")
    unreadable = 0
    for path, found in zip(paths, answers, strict=True):
        if isinstance(found, UserError):
            unreadable += 1
            print(f"{Path(__file__).name}: error: {found}", file=sys.stderr)
            continue
        unsure = found.confidence < args.min_confidence
        if args.json:
            line = {"path": str(path), **dataclasses.asdict(found), "unsure": unsure}
            print(json.dumps(line, ensure_ascii=False))
        else:
            print(f"{path}  {found.text}  {found.confidence:.4f}{'  unsure' if unsure else ''}")
    return 1 if unreadable else 0


if __name__ == "__main__":
    run(main)
