"""The pictures of a folder, and what a network predicts for them.

pictures = Pictures(folder, files, reader)  opens none of them yet
pictures.examine_in_background()            predict all of them while the page is in use
pictures.next(wanted)                       the picture with the lowest confidence of those predicted so far
pictures.png(file)                          what the page shows
"""

import threading
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from captcha_predict import Reader, UserError
from captcha_predict.images import digest, open_image
from captcha_sets.draw import png

UNWRITABLE = ("Cc", "Cs", "Zl", "Zp")  # control characters, bytes that are not UTF-8, line breaks
MAX_SHOWN = 1600  # pixels of the longer side of a picture on the page


@dataclass(frozen=True)
class Examined:
    """What is known about a picture: a prediction, or why it cannot be labelled."""

    text: str = ""
    confidence: float = 0.0
    problem: str = ""


class Pictures:
    """The pictures of a folder. Several threads may use this object."""

    def __init__(self, folder: Path, files: Iterable[str], reader: Reader) -> None:
        """`files` are relative to the folder. None is opened yet."""
        self._folder, self._reader = folder, reader
        self._examined: dict[str, Examined | None] = dict.fromkeys(files)
        self._seen: dict[bytes, str] = {}  # digest of the pixels → file

    def __contains__(self, file: str) -> bool:
        return file in self._examined

    def __len__(self) -> int:
        return len(self._examined)

    def examine_in_background(self) -> None:
        """Predict all pictures while the page is in use."""
        threading.Thread(target=lambda: [self.examine(file) for file in self._examined], daemon=True).start()

    def examine(self, file: str) -> Examined:
        """Open a picture and predict its text, unless that is known. `file` must be one of these pictures.

        There is no lock, so that a request does not wait for the background thread. Two threads that examine the same
        picture find the same.
        """
        if self._examined[file] is None:
            self._examined[file] = self._examine(file)
        return self._examined[file]

    def _examine(self, file: str) -> Examined:
        try:
            _check_name(file)
            image = open_image(self._folder / file)
        except UserError as error:
            return Examined(problem=str(error))
        first = self._seen.setdefault(digest(image), file)
        if first != file:
            return Examined(problem=f"{self._folder / file}: shows the same image as {first}")
        prediction = self._reader.read(image)
        return Examined(prediction.text, prediction.confidence)

    def next(self, wanted: Callable[[str], bool]) -> str | None:
        """The wanted picture with the lowest confidence of those predicted so far, or the first that can be labelled.

        None if no wanted picture is left.
        """
        predicted = [
            (examined.confidence, file)
            for file, examined in self._examined.items()
            if examined and not examined.problem and wanted(file)
        ]
        if predicted:
            return min(predicted)[1]
        for file, examined in self._examined.items():
            if examined is None and wanted(file) and not self.examine(file).problem:
                return file
        return None

    def problems(self) -> list[str]:
        """Why some of the pictures examined so far cannot be labelled: a line for each."""
        return [examined.problem for examined in self._examined.values() if examined and examined.problem]

    def png(self, file: str) -> bytes:
        """The picture as a PNG file, upright, reduced to MAX_SHOWN. Raises UserError if it cannot be opened."""
        image = open_image(self._folder / file)
        image.thumbnail((MAX_SHOWN, MAX_SHOWN))
        return png(image)


def _check_name(file: str) -> None:
    """Raise UserError if a CSV file in UTF-8, with one line for each row, cannot hold this file's name."""
    if any(unicodedata.category(character) in UNWRITABLE for character in file):
        raise UserError(f"{file!r}: labels.csv cannot hold this name; rename the file")
