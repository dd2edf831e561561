"""The page of captcha_strength.py --human: a person types captchas whose texts are known, and sees no prediction.

transcription = Transcription(captchas, typed)  the captchas, and the table of what was typed
transcription.routes()                          for captcha_pages.server

It is the labelling page with fewer keys. Each answer is on the disk before the next captcha appears. None can be
changed on the page, as on a page that a captcha protects.
"""

import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from captcha_cli import UserError
from captcha_config import Config
from captcha_pages import server
from captcha_pages.tables import Table
from captcha_sets.labels import wrong

from starlette.routing import Route


class Captcha(NamedTuple):
    name: str  # identifies it in the table of answers, and must not give its text away
    text: str
    png: bytes


class Transcription:
    """The captchas, and what was typed.

    The methods take all that the labelling page sends. Here only the captcha's name (`file`) and the text matter.
    """

    def __init__(self, captchas: Sequence[Captcha], typed: Table) -> None:
        """`captchas` are shown in this order.

        `typed` gets a row for each: its name, its text, what was typed ("" if it could not be read), and the seconds
        that this took ("" if they are unknown).
        """
        self._captchas = {captcha.name: captcha for captcha in captchas}
        self._typed = typed
        self._shown: dict[str, float] = {}  # name → the time when it was first shown
        self._lock = threading.Lock()

    def routes(self) -> list[Route]:
        return [
            server.page("/", "label.html", transcribing=True),
            server.get_png("/picture", self.picture),
            *(server.post(f"/{f.__name__}", f) for f in (self.open, self.label, self.unreadable)),
        ]

    def picture(self, file: str) -> bytes:
        """A captcha as a PNG file."""
        return self._captcha(file).png

    def open(self, tab: str, file: str) -> dict:
        """Show the first captcha without an answer, in any tab."""
        with self._lock:
            return self._view()

    def label(self, tab: str, file: str, text: str, seen: str, sure: str) -> dict:
        """Save what was typed; it is on the disk when this returns the next captcha. The first answer counts."""
        text = text.strip()
        if not text:
            raise UserError("type what you read, or press Esc if you cannot read it")
        if why := wrong(text, Config()):
            raise UserError(f"the text {text!r} {why}")
        return self._answer(file, text)

    def unreadable(self, tab: str, file: str, seen: str) -> dict:
        """Save that a captcha could not be read."""
        return self._answer(file, "")

    def _captcha(self, name: str) -> Captcha:
        if name not in self._captchas:
            raise UserError(f"{name[:200]!r}: is not one of the captchas; reload the page")
        return self._captchas[name]

    def _answer(self, name: str, text: str) -> dict:
        with self._lock:
            captcha = self._captcha(name)
            if name not in self._typed.rows:
                since = self._shown.get(name)
                seconds = "" if since is None else f"{time.monotonic() - since:.2f}"
                self._typed.put(name, captcha.text, text, seconds)
            return self._view()

    def _view(self) -> dict:
        """What a tab shows: a captcha, or that none is left."""
        left = [name for name in self._captchas if name not in self._typed.rows]
        total = len(self._captchas)
        done = total - len(left)
        progress = {"done": done, "total": total, "text": f"{done} of {total} typed", "rate": "", "pays": ""}
        shared = {"progress": progress, "problems": [], "left_out": 0}
        if not left:
            return {"file": "", **shared}
        self._shown.setdefault(left[0], time.monotonic())
        return {"file": left[0], "label": "", "unreadable": False, "typed": "", "certainty": "", **shared}
