"""The labelling page for suspected labels: each is kept or corrected.

checking = Checking(folder, pictures, reader, listed)   for the labels that captcha_suspects.py --json listed
listed = read_suspects(path)                            what it listed
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

from captcha_cli import UserError
from captcha_pages.labelling import Labelling
from captcha_pages.pictures import Pictures
from captcha_pages.tables import Table
from captcha_predict import Reader
from captcha_predict.form import misfit
from captcha_predict.images import CHECKED

SUSPECT = {"file": str, "prediction": str, "times": str}
SUSPECTS = {"labels": {str: str}, "suspects": [SUSPECT]}  # what captcha_suspects.py --json writes


class Checking(Labelling):
    """Checks suspected labels: each is kept or corrected in labels.csv. No file is renamed."""

    checking = True

    def __init__(self, folder: Path, pictures: Pictures, reader: Reader, listed: dict) -> None:
        """Adds all labels of the checked source to labels.csv, except those of files that it has already.

        Args:
          pictures: all that have a label in the source.
          listed: as `read_suspects` returns it.
        """
        super().__init__(folder, pictures, reader)
        self._suspects = {row["file"]: row for row in listed["suspects"]}
        self._checked = Table(folder / CHECKED, ("file",))
        self._labels.add_missing(
            {file: (label,) for file, label in listed["labels"].items() if file not in self._unreadable.rows}
        )

    def _save(self, file: str, text: str) -> None:
        super()._save(file, text)
        self._checked.put(file)

    def _is_open(self, file: str) -> bool:
        return file not in self._checked.rows and file not in self._unreadable.rows

    def _first(self, wanted: Callable[[str], bool]) -> str | None:
        return next((file for file in filter(wanted, self._suspects) if not self._pictures.examine(file).problem), None)

    def _about(self, file: str) -> dict:
        about = super()._about(file)
        if file in self._suspects:
            row = self._suspects[file]
            about |= {
                "prediction": row["prediction"],
                "certainty": f"the prediction is {row['times']} times as probable",
            }
        return about

    def _progress(self) -> dict:
        left = sum(self._is_open(file) for file in self._suspects)
        done, total = len(self._suspects) - left, len(self._suspects)
        return {"done": done, "total": total, "text": f"{done} of {total} checked", "rate": self._rate(), "pays": ""}


def read_suspects(path: Path) -> dict:
    """What captcha_suspects.py --json wrote: labels (file → label) and suspects (file, label, prediction, times).

    Raises:
      UserError: the file has another format.
    """
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        if problem := misfit(listed, SUSPECTS):
            raise ValueError(problem)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not what captcha_suspects.py --json writes ({error}); write it again") from error
    labels = {os.path.normpath(file): label for file, label in listed["labels"].items()}
    suspects = [{name: row[name] for name in SUSPECT} for row in listed["suspects"]]
    unlabelled = [row["file"] for row in suspects if row["file"] not in labels]
    outside = [file for file in labels if os.path.isabs(file) or file.split(os.sep)[0] in (os.curdir, os.pardir)]
    if outside or unlabelled:
        raise UserError(f"{path}: {(outside + unlabelled)[0]!r} is not one of the labelled images; write it again")
    return {"labels": labels, "suspects": suspects}
