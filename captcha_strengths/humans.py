"""What people read: how many captchas of each setting were shown, and how many were read correctly.

humans = typed(path, pools)     from what a person typed in the browser, by the names of the settings
humans = read(path, names)      the same from a JSON file:

    {"noise_dots 30": {"shown": 50, "correct": 48, "seconds": 210.5}, "noise_dots 120": {"shown": 50, "correct": 31}}

The names are those in the report. "seconds" is the time for all captchas shown, and is optional.
"""

import csv
import io
import json
import statistics
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from captcha_cli import UserError
from captcha_predict.form import misfit
from captcha_runs import metrics
from captcha_strengths.settings import Pool

TYPED = "human.csv"  # what a person typed, in the folder of the results
COLUMNS = ("captcha", "text", "typed", "seconds")  # of this file
SPLIT = "human/captchas"  # a name that no set uses, so that no network has seen these captchas
SHOWN = 50  # captchas of each setting
BREAK = 60.0  # seconds; whoever takes longer for a captcha has made a break, and this time does not count


@dataclass(frozen=True)
class Human:
    """How well people read a setting."""

    shown: int
    correct: int
    seconds: float | None = None  # for all captchas shown
    characters: int | None = None  # in all captchas shown
    correct_characters: int | None = None

    def __post_init__(self) -> None:
        counts = self.shown, self.correct
        if misfit([*counts], [int]) or not 0 <= self.correct <= self.shown or not self.shown:
            raise ValueError('"shown" and "correct" must be whole numbers, 0 <= correct <= shown, shown >= 1')
        characters = self.characters, self.correct_characters
        if misfit([*characters], ([int], [None])):
            raise ValueError('"characters" and "correct_characters" must be whole numbers, and are given together')
        if self.characters is not None and not 0 <= self.correct_characters <= self.characters >= 1:
            raise ValueError('"correct_characters" must be 0 or more, and at most "characters"')
        if misfit(self.seconds, (None, float)) or (self.seconds is not None and self.seconds <= 0):
            raise ValueError('"seconds" must be a number above 0')

    @property
    def accuracy(self) -> float:
        """The share of captchas that people read correctly, 0 to 1."""
        return self.correct / self.shown

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval."""
        return metrics.wilson_interval(self.correct, self.shown)

    @property
    def seconds_each(self) -> float | None:
        """Seconds for a captcha; None if the time is unknown."""
        return self.seconds and self.seconds / self.shown

    @property
    def cost(self) -> float:
        """Seconds for each captcha read correctly, since one that is misread takes another; `seconds` must be known."""
        return self.seconds / self.correct if self.correct else float("inf")


def names_of(pool: Pool) -> str:
    """What the names of a setting's captchas begin with, in the file of what was typed."""
    return f"{pool.looks}/"


def typed(path: Path, pools: Iterable[Pool]) -> dict[str, Human]:
    """What a person typed in the browser, by the names of settings. Settings of which nothing was typed are left out.

    Raises:
      UserError: the file is damaged.
    """
    if not path.exists():
        return {}
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")), strict=True))
        scored = {pool.name: _score([row for row in rows if _is_of(pool, row)], pool) for pool in pools}
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise UserError(f"{path}: is not a CSV file with the columns {','.join(COLUMNS)}; correct it") from error
    return {name: human for name, human in scored.items() if human}


def _is_of(pool: Pool, row: dict[str, str]) -> bool:
    return row["captcha"].startswith(names_of(pool))


def _score(rows: Sequence[dict[str, str]], pool: Pool) -> Human | None:
    if not rows:
        return None
    pairs = [(row["text"], _in_their_case(row["typed"], pool.config.characters)) for row in rows]
    seconds = [float(row["seconds"]) for row in rows if row["seconds"]]
    timed = [each for each in seconds if 0 < each <= BREAK]
    characters = [one == other for pair in pairs for one, other in zip_longest(*pair)]
    return Human(
        shown=len(pairs),
        correct=sum(text == read for text, read in pairs),
        seconds=statistics.mean(timed) * len(pairs) if timed else None,
        characters=len(characters),
        correct_characters=sum(characters),
    )


def _in_their_case(text: str, characters: str) -> str:
    """The text, with letters that captchas have in one case only in that case."""
    return "".join(c if c in characters else c.swapcase() for c in text)


def read(path: Path, names: Collection[str]) -> dict[str, Human]:
    """What people read, by the names of settings.

    Args:
      names: those of the settings that are compared. Other names in the file are ignored.
    Raises:
      UserError: there is no such file, it has another format, or it names none of these settings.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
        humans = {name: Human(**value) for name, value in values.items() if name in names}
    except FileNotFoundError as error:
        raise UserError(f"--human {path}: there is no such file") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        form = '{"SETTING": {"shown": 50, "correct": 48}}'
        raise UserError(f"--human {path}: is not of the form {form} ({error}); correct it") from error
    if not humans:
        known = "; ".join(names)
        raise UserError(f"--human {path}: names none of the settings that are compared; use these names: {known}")
    return humans
