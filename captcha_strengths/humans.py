"""What people read: how many captchas of each setting were shown, and how many were read correctly.

humans = read(path, names)      from a JSON file, by the names of the settings:

    {"noise_dots 30": {"shown": 50, "correct": 48, "seconds": 210.5}, "noise_dots 120": {"shown": 50, "correct": 31}}

The names are those in the report. "seconds" is the time for all captchas shown, and is optional.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from captcha_cli import UserError
from captcha_runs import metrics


@dataclass(frozen=True)
class Human:
    """How well people read a setting."""

    shown: int
    correct: int
    seconds: float | None = None  # for all captchas shown

    def __post_init__(self) -> None:
        counts = self.shown, self.correct
        if any(type(count) is not int for count in counts) or not 0 <= self.correct <= self.shown or not self.shown:
            raise ValueError('"shown" and "correct" must be whole numbers, 0 <= correct <= shown, shown >= 1')
        if self.seconds is not None and (type(self.seconds) not in (int, float) or not self.seconds > 0):
            raise ValueError('"seconds" must be a number above 0')

    @property
    def accuracy(self) -> float:
        """The share of captchas that people read correctly, 0 to 1."""
        return self.correct / self.shown

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval."""
        return metrics.wilson_interval(self.correct, self.shown)


def read(path: Path, names: Collection[str]) -> dict[str, Human]:
    """What people read, by the names of settings.

    Args:
      names: those of the settings that are compared. Other names in the file are ignored.
    Raises:
      UserError: there is no such file, it has another format, or it names none of these settings.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        humans = {name: Human(**value) for name, value in values.items() if name in names}
    except FileNotFoundError as error:
        raise UserError(f"--human {path}: there is no such file") from error
    except (ValueError, TypeError, AttributeError) as error:
        form = '{"SETTING": {"shown": 50, "correct": 48}}'
        raise UserError(f"--human {path}: is not of the form {form} ({error}); correct it") from error
    if not humans:
        known = "; ".join(names)
        raise UserError(f"--human {path}: names none of the settings that are compared; use these names: {known}")
    return humans
