"""Read captchas: files, folders, bytes, Pillow images, arrays of pixels. It needs no TensorFlow.

import captcha_predict
captcha_predict.read("captcha.png")                         "2704"
captcha_predict.read(["a.png", "b.png"])                    ["2704", "0318"]
captcha_predict.read("captcha.png", details=True)           a Prediction: text, confidence, probabilities
captcha_predict.read("captcha.png", model="save/letters")   with another model than the default
captcha_predict.read("captcha.png", characters="0123456789")    only these are possible

python -m captcha_predict captcha.png folder/ --json
"""

import functools
import hashlib
import io
import itertools
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from captcha_predict.console import UserError
from captcha_predict.decode import Prediction, classes, prediction_of
from captcha_predict.form import misfit
from captcha_predict.images import images_in, open_image, resized
from captcha_predict.network import opened

import numpy as np

__all__ = ["Prediction", "Reader", "UserError", "find", "load", "read", "shipped"]

MODELS = Path(__file__).parent / "models"
MODEL = "model.tflite"  # what the trainer leaves in save/
SAVE = "save"  # the trainer's folder
DEFAULT = "digits"  # the shipped model that reads where none is named and save/ has none
STARTER = "starter"  # the shipped model that knows captchas of many styles
DESCRIPTION = "captcha.json"  # the model's description, zipped behind the network
FORMAT = 2  # of the description; an earlier version's models use other keys
CAPTCHA = ("characters", "length", "min_length", "width", "height")
FORM = {
    "characters": str,
    "length": int,
    "min_length": int,
    "width": int,
    "height": int,
    "config": {"channels": [int], "head_units": [int]},
    "drawn_with": {"source": (str, None)},
}  # of the description, as far as it is always used
BLOCK = 1000  # images taken from the input at a time, so that a million of them do not wait in memory
CHUNK = 20  # images given to a thread at a time: handing them over one by one would cost as much as decoding


def read(images: Any, model: str | Path | None = None, *, characters: str | None = None, details: bool = False) -> Any:
    """Read one image, several, or a folder of them.

    Args:
      images: a path, the bytes of an image file, a Pillow image, or pixels as images.open_image takes them; or a
        list of these; or the path of a folder. Images of another size than the model's are resized.
      model: a .tflite file, a folder that the trainer saved to, or the name of a shipped model ("digits", "letters",
        "capitals", "starter"). The default is the model in save/ of the current folder, or else "digits".
      characters: the only ones that the text can have, some of the model's; None: all of them.
      details: whether to return Predictions instead of texts.
    Returns:
      The text (or Prediction) of one image; for a list, a list in its order; for a folder, a dict by file name.
    Raises:
      UserError: an image cannot be read (of a list, the message says which); there is no such model; or it does not
        know one of the characters.
    """
    reader = load(model)
    reader.check_characters(characters)

    def predict(image: Any) -> str | Prediction:
        prediction = reader.read(image, characters)
        return prediction if details else prediction.text

    def predict_item(item: tuple[int, Any]) -> str | Prediction:
        try:
            return predict(item[1])
        except UserError as error:
            raise UserError(f"image {item[0]} of the list: {error}") from error

    if isinstance(images, list | tuple):
        return list(parallel_map(predict_item, enumerate(images)))
    if isinstance(images, str | Path) and os.path.isdir(images):
        paths = images_in(Path(images))
        return dict(zip((path.name for path in paths), parallel_map(predict, paths), strict=True))
    return predict(images)


def parallel_map(function: Callable, items: Iterable) -> Iterator:
    """Yield the function of each item, in order, computed on as many threads as there are cores."""
    items = iter(items)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while block := list(itertools.islice(items, BLOCK)):
            chunks = [block[i : i + CHUNK] for i in range(0, len(block), CHUNK)]
            for results in pool.map(lambda chunk: [function(item) for item in chunk], chunks):
                yield from results


def load(model: str | Path | None = None) -> "Reader":
    """The reader of a model, named as in `read`. It is loaded once, and again when the file has changed."""
    path = find(model)
    return _load(path, path.stat().st_mtime_ns)


def find(model: str | Path | None = None) -> Path:
    """The file of a model, named as in `read`. Raises UserError where there is none of that name."""
    if model is None:
        own = Path(SAVE, MODEL)
        return own.absolute() if own.exists() else MODELS / f"{DEFAULT}.tflite"
    join = os.path.join  # strings take a third of the time of Paths, and this is done for every image
    for path in (model, join(model, MODEL), join(MODELS, f"{model}.tflite")):
        if os.path.isfile(path):
            return Path(path).absolute()
    names = ", ".join(shipped())
    raise UserError(f"{model}: there is no such model; name a .tflite file, a folder with {MODEL}, or one of {names}")


def shipped() -> list[str]:
    """The names of the shipped models."""
    return sorted(path.stem for path in MODELS.glob("*.tflite"))


@functools.lru_cache(maxsize=16)
def _load(path: Path, modified: int) -> "Reader":
    return Reader(path)


class Reader:
    """A loaded model. Several threads may call it at once.

    Attributes:
      characters, length, width, height: the captcha that the model was trained for.
      min_length: the fewest characters of such a captcha; 0: all have `length`.
      one_alphabet: whether the characters of a text are expected to be of one alphabet (decode.alphabets).
      description: everything that the file says about the model.
    """

    def __init__(self, path: Path) -> None:
        """Raises UserError where the file is not a complete model of this project's, or is an earlier version's."""
        try:
            self.description, self._network = _unpack(path.read_bytes())
            if self.description.get("format") != FORMAT:
                raise UserError(f"{path}: was exported by another version of this project; export it again")
            self._describe()
            self._idle = [self._interpreter()]  # each serves one call at a time
            (pixels,), (logits,) = self._idle[0].get_input_details(), self._idle[0].get_output_details()
            self._pixels, self._logits = pixels["index"], logits["index"]
            blank = np.zeros((1, self.height, self.width, 3), np.uint8)
            if self.logits(blank).shape != (1, self.length, len(classes(self))):
                raise ValueError("the shape of its logits is not the one described")
        except (zipfile.BadZipFile, EOFError, KeyError, ValueError, RuntimeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise UserError(f"{path}: is not a complete model ({reason}); copy it again, or export it again") from error

    def _describe(self) -> None:
        """Set what the description says. Raises ValueError where that makes no sense."""
        described = {"min_length": 0, **self.description}
        if problem := misfit(described, FORM, "its description"):
            raise ValueError(problem)
        captcha = [described[name] for name in CAPTCHA]
        self.characters, self.length, self.min_length, self.width, self.height = captcha
        self.one_alphabet = bool(described["config"].get("one_alphabet"))
        sound = len(set(self.characters)) == len(self.characters) and self.characters.isprintable()
        if not sound or not 0 <= self.min_length <= self.length:
            raise ValueError("its characters or lengths make no sense")
        config = {"min_length": 0, **described["config"]}
        if [config.get(name) for name in CAPTCHA] != captcha:
            raise ValueError("its config is another captcha's")

    def _interpreter(self) -> Any:
        config = self.description["config"]
        return opened(self._network, self.width, self.height, max(*config["channels"], *config["head_units"], 3))

    def check_characters(self, characters: str | None) -> None:
        """Raise UserError where `characters` names none, or one that the model does not know."""
        if characters is None:
            return
        unknown = "".join(sorted(set(characters) - set(self.characters)))
        if unknown or not characters:
            problem = f"{unknown!r} cannot be read by this model" if unknown else "none are given"
            raise UserError(f"characters: {problem}; name some of {self.characters}")

    def read(self, image: Any, characters: str | None = None) -> Prediction:
        """Read one image; image and characters as `captcha_predict.read` takes them."""
        self.check_characters(characters)
        image = open_image(Path(image) if isinstance(image, str) else image)
        pixels = np.asarray(resized(image, (self.width, self.height)))
        logits = self.logits(pixels[None])[0]  # [length, classes]
        if characters is not None:
            impossible = [i for i, character in enumerate(self.characters) if character not in characters]
            logits[:, impossible] = -np.inf
        return prediction_of(logits, self)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Run the network: uint8 [batch, height, width, 3] → calibrated logits, float32 [batch, length, classes]."""
        try:
            interpreter = self._idle.pop()
        except IndexError:  # other threads use them all
            interpreter = self._interpreter()
        logits = []
        for image in np.asarray(images):
            interpreter.set_tensor(self._pixels, image[None])
            interpreter.invoke()
            logits.append(interpreter.get_tensor(self._logits)[0])
        self._idle.append(interpreter)
        return np.stack(logits)


def _unpack(content: bytes) -> tuple[dict, bytes]:
    """(description, network) of a .tflite file. Raises ValueError where the network is damaged."""
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        if packed.getinfo(DESCRIPTION).compress_type != zipfile.ZIP_STORED:  # compressed, it could be of any size
            raise ValueError(f"{DESCRIPTION} is compressed")
        description = json.loads(packed.read(DESCRIPTION))
    if problem := misfit(description, {"bytes": int, "sha256": str}, "its description"):
        raise ValueError(problem)
    network = content[: description["bytes"]]
    if hashlib.sha256(network).hexdigest() != description["sha256"]:
        raise ValueError("its sha256 is wrong")
    return description, network
