"""The labelling page: one picture at a time, its label typed or confirmed.

labelling = Labelling(folder, pictures, reader)         for pictures without a label
labelling.routes()                                      for captcha_pages.server

The state is in this process and on the disk, never in the page alone, so that several tabs can work at the same time.
The folder gets these files:

  labels.csv        file,label: for captcha_producer.py --source
  unreadable.csv    file: pictures marked as unreadable
  checked.csv       file: suspected labels that a person has checked
"""

import collections
import shlex
import threading
import time
from collections.abc import Callable
from pathlib import Path

from captcha_cli import UserError
from captcha_config import Config
from captcha_pages import server
from captcha_pages.pictures import Pictures
from captcha_pages.tables import Table
from captcha_predict import Reader
from captcha_predict.images import LABELS, UNREADABLE
from captcha_sets.labels import RARE, wrong

from starlette.routing import Route

TRAININGS = (50, 100, 300, 1000)  # numbers of labels at which it is worth training
RECENT = 20  # labels from which the rate is computed
MAX_PROBLEMS = 50  # files that cannot be labelled and are listed on the page
MAX_TABS = 1000  # tabs that are remembered; a forgotten tab gets another picture


class Labelling:
    """The labels, and the picture that each tab shows."""

    checking = False  # whether the page checks existing labels

    def __init__(self, folder: Path, pictures: Pictures, reader: Reader) -> None:
        """Raises UserError if one of the CSV files does not have the format that this page writes."""
        self._folder, self._pictures, self._reader = folder, pictures, reader
        self._labels = Table(folder / LABELS, ("file", "label"))
        self._unreadable = Table(folder / UNREADABLE, ("file",))
        self._skipped: dict[str, None] = {}
        self._tabs: dict[str, str] = {}  # tab → the picture that it shows
        self._times: collections.deque[float] = collections.deque(maxlen=RECENT)
        self._lock = threading.Lock()

    def routes(self) -> list[Route]:
        return [
            server.page("/", "label.html", checking=self.checking, labels=shlex.quote(str(self._folder / LABELS))),
            server.get_png("/picture", self.picture),
            *(server.post(f"/{f.__name__}", f) for f in (self.open, self.label, self.unreadable, self.skip)),
        ]

    def picture(self, file: str) -> bytes:
        """A picture as a PNG file."""
        self._check(file)
        return self._pictures.png(file)

    def open(self, tab: str, file: str) -> dict:
        """Show a picture in a tab: `file`, or the next one if `file` is empty."""
        with self._lock:
            if file:
                self._check(file)
                self._hold(tab, file)
            return self._view(tab)

    def label(self, tab: str, file: str, text: str, seen: str, sure: str) -> dict:
        """Set a picture's label; it is on the disk when this returns the next picture.

        Args:
          seen: the picture's label when the tab showed it; "" if it had none.
          sure: the question that the user has confirmed; "" if none was asked.
        Returns:
          What the tab shows next; or a question to confirm, and then nothing is saved.
        """
        text = text.strip()
        with self._lock:
            self._check(file)
            if why := wrong(text, Config()):
                raise UserError(f"the label {text!r} {why}")
            question = self._question(file, text, seen)
            if question and question != sure:
                return {"question": question}
            self._save(file, text)
            return self._after(tab, file)

    def unreadable(self, tab: str, file: str, seen: str) -> dict:
        """Mark a picture as unreadable, and remove the label that the tab showed."""
        with self._lock:
            self._check(file)
            if (there := self._label(file)) not in ("", seen):
                raise UserError(f"another tab has labelled this picture {there!r}; skip it, or type its label")
            self._labels.remove(file)  # first: were it stopped between the two, the picture would only be shown again
            self._unreadable.put(file)
            return self._after(tab, file)

    def skip(self, tab: str, file: str) -> dict:
        """Leave a picture for later: it comes again after the others. The next start forgets what was skipped."""
        with self._lock:
            self._check(file)
            self._skipped.pop(file, None)
            self._skipped[file] = None  # at the end
            self._tabs.pop(tab, None)
            return self._view(tab)

    def _check(self, file: str) -> None:
        """Raise UserError if the file is not one of the pictures. No other file may be opened or written."""
        if file not in self._pictures:
            raise UserError(f"{file[:200]!r}: is not a picture of {self._folder}; reload the page")
        if problem := self._pictures.examine(file).problem:
            raise UserError(problem)

    def _save(self, file: str, text: str) -> None:
        self._labels.put(file, text)
        self._unreadable.remove(file)
        self._times.append(time.monotonic())

    def _after(self, tab: str, file: str) -> dict:
        self._skipped.pop(file, None)
        self._tabs.pop(tab, None)
        return self._view(tab)

    def _question(self, file: str, text: str, seen: str) -> str:
        """What to ask before a label is saved; "" if there is nothing to ask."""
        there = self._label(file)
        if there not in (seen, text):
            return f"Another tab has labelled this picture {there!r} in the meantime."
        if text == there:
            return ""
        labels = [label for name, (label,) in self._labels.rows.items() if name != file]
        known = set(self._reader.characters).union(*labels)
        new = "".join(sorted(set(text) - known))
        if new:
            return f"No label so far contains {' or '.join(map(repr, new))}."
        if len(text) not in self._lengths(labels):
            return f"Labels with {len(text)} characters are rare here."
        return ""

    def _lengths(self, labels: list[str]) -> set[int]:
        """The lengths that are not rare; before the first label, the lengths that the network reads."""
        if not labels:
            return set(range(self._reader.min_length or self._reader.length, self._reader.length + 1))
        counts = collections.Counter(map(len, labels))
        return {length for length, count in counts.items() if count > RARE * len(labels)}

    def _label(self, file: str) -> str:
        return self._labels.rows.get(file, ("",))[0]

    def _is_open(self, file: str) -> bool:
        """Whether the picture has no decision yet."""
        return file not in self._labels.rows and file not in self._unreadable.rows

    def _hold(self, tab: str, file: str) -> None:
        self._tabs.pop(tab, None)
        self._tabs[tab] = file
        if len(self._tabs) > MAX_TABS:
            del self._tabs[next(iter(self._tabs))]

    def _next(self) -> str | None:
        """The next picture: one that no tab shows, then a skipped one, then one that another tab still shows."""
        held = set(self._tabs.values())
        taken = held | self._skipped.keys()
        skipped = (file for file in self._skipped if file not in held and self._is_open(file))
        return (
            self._first(lambda file: file not in taken and self._is_open(file))
            or next(skipped, None)
            or self._first(self._is_open)
        )

    def _first(self, wanted: Callable[[str], bool]) -> str | None:
        return self._pictures.next(wanted)

    def _view(self, tab: str) -> dict:
        """What a tab shows: a picture, or that none is left."""
        file = self._tabs.get(tab) or self._next()
        problems = self._pictures.problems()
        shared = {"progress": self._progress(), "problems": problems[:MAX_PROBLEMS], "left_out": len(problems)}
        if not file:
            return {"file": "", **shared}
        self._hold(tab, file)
        return {"file": file, **self._about(file), **shared}

    def _about(self, file: str) -> dict:
        examined, label = self._pictures.examine(file), self._label(file)
        return {
            "label": label,
            "unreadable": file in self._unreadable.rows,
            "typed": label or examined.text,
            "prediction": examined.text,
            "certainty": f"prediction {examined.text}, confidence {examined.confidence:.1%}",
        }

    def _progress(self) -> dict:
        done = len(self._labels.rows)
        following = next((count for count in TRAININGS if count > done), 0)
        pays = f"{following - done} more labels until it is worth training again (at {following})"
        return {
            "done": done,
            "total": len(self._pictures),
            "text": f"{done} labelled, {len(self._unreadable.rows)} unreadable, of {len(self._pictures)} pictures",
            "rate": self._rate(),
            "pays": pays if following else "train again after every 1,000 more labels",
        }

    def _rate(self) -> str:
        if len(self._times) < 2:
            return ""
        minutes = (self._times[-1] - self._times[0]) / 60
        return f"{(len(self._times) - 1) / max(minutes, 1e-9):.0f} labels a minute"
