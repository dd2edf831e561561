"""Broken and hostile versions of real data: of files, of text, and of the values in JSON."""

import copy
import json
import os
import random
from collections.abc import Callable, Sequence
from typing import Any

NESTED = 5000  # levels of lists or objects in JSON
LONG = 200_000  # characters of a line or of a word
SPAN = 64  # bytes that are inserted, dropped or swapped at a time
INTEGERS = (0, 1, -1, 127, 255, 2**15, 2**16 - 1, 2**20, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1)
EXTREMES = (
    -1, 0, 1, 2, 2**31, 2**63, 10**400, -0.5, 1e-320, float("inf"), float("nan"), None, True, "", "0", "\0", "\ud800",
    "\x1b[31m", "٣", "a\nb", "x" * 5000, "../../../etc/passwd", "/", [], [[]], {}, {"": None}, [None, 1, "a"],
)  # fmt: skip
LITERALS = ("1e999", "-1e999", "NaN", "9" * 5000, "[" * NESTED, '{"a":' * NESTED, "0x10", "'a'", "", '"\\ud800"')
ENCODINGS = ("utf-8-sig", "utf-16", "utf-32", "latin-1", "utf-7")
PIECES = ("\0", "\ufeff", "\r", "\r\n\n", '"', ",", ",,,", "\u2028", "\x1b[2J", "x" * LONG, "=1+1", "{}", "\ud800")


class Mutator:
    """Mutates what it is given, as a seeded generator decides; without a generator it returns it as it is."""

    def __init__(self, rng: random.Random | None) -> None:
        self.rng = rng

    def choice(self, options: Sequence) -> Any:
        """One of them; without a generator the first."""
        return self.rng.choice(options) if self.rng else options[0]

    def file(self, content: bytes) -> bytes:
        """Bytes flipped, cut, inserted, dropped, swapped; integers set to extremes."""
        changed = bytearray(content)
        for _ in range(self.choice((1, 1, 2, 4)) if self.rng else 0):
            self.choice(MUTATIONS)(changed, self.rng)
        return bytes(changed)

    def text(self, text: str) -> bytes:
        """A damaged file, another encoding, or a piece that the format does not expect."""
        encoded = text.encode(errors="surrogatepass")
        return self.choice((lambda: self.file(encoded), lambda: self._inserted(text), lambda: self._encoded(text)))()

    def words(self, words: Sequence[str]) -> list[str]:
        """Words of a command line, some of them damaged. They hold no NUL, as those of a real one."""
        return [self._word(word) if self.choice((False, False, True)) else word for word in words]

    def _word(self, word: str) -> str:
        other = self.choice((self.text(word), str(self.choice(EXTREMES)).encode(errors="replace")))
        return os.fsdecode(other.replace(b"\0", b""))

    def _inserted(self, text: str) -> bytes:
        at = self.rng.randrange(len(text) + 1)
        return (text[:at] + self.choice(PIECES) + text[at:]).encode(errors="surrogatepass")

    def _encoded(self, text: str) -> bytes:
        return text.encode(self.choice(ENCODINGS), errors="replace")

    def json(self, values: Any) -> bytes:
        """JSON with other values, with a literal in the place of a value, or damaged as text."""
        text = json.dumps(values)
        if not self.rng:
            return text.encode()
        other, literal = json.dumps(self.values(values)), json.dumps(self._with(values, "LITERAL"))
        literal = literal.replace('"LITERAL"', self.choice(LITERALS), 1)
        repeated = text.replace("{", '{"step": 1, "file": 2,', 1)
        return self.choice((self.text(text), other.encode(), literal.encode(), repeated.encode()))

    def values(self, values: Any) -> Any:
        """Values of JSON: one to three of them replaced, removed or added."""
        for _ in range(self.choice((1, 1, 1, 3)) if self.rng else 0):
            values = self._with(values, self.choice(EXTREMES))
        return values

    def _with(self, values: Any, value: Any) -> Any:
        """A copy with `value` somewhere, or without what is there."""
        values = copy.deepcopy(values)
        owner, key = self.choice(list(_places(values)) or [(None, None)])
        if owner is None:
            return value
        change = self.rng.random()
        if change < 0.15 and value != "LITERAL":
            del owner[key]
        elif change < 0.25 and isinstance(owner, dict):
            owner["unknown"] = value
        else:
            owner[key] = value
        return values


def _places(values: Any):
    """(container, key) of everything in the values of JSON."""
    keys = values.keys() if isinstance(values, dict) else range(len(values)) if isinstance(values, list) else ()
    for key in list(keys):
        yield values, key
        yield from _places(values[key])


# Of a file, in place


def flip(content: bytearray, rng: random.Random) -> None:
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def cut(content: bytearray, rng: random.Random) -> None:
    del content[rng.randrange(len(content) + 1) :]


def drop(content: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(content) + 1)
    del content[at : at + rng.randrange(1, SPAN)]


def insert(content: bytearray, rng: random.Random) -> None:
    at, length = rng.randrange(len(content) + 1), rng.randrange(1, SPAN)
    content[at:at] = rng.choice((bytes(length), b"\xff" * length, rng.randbytes(length), content[at : at + length]))


def swap(content: bytearray, rng: random.Random) -> None:
    if len(content) > 2 * SPAN:
        one, two = sorted(rng.randrange(len(content) - SPAN) for _ in range(2))
        if two - one >= SPAN:
            spans = content[one : one + SPAN], content[two : two + SPAN]
            content[two : two + SPAN], content[one : one + SPAN] = spans


def integer(content: bytearray, rng: random.Random, places: Sequence[int] | None = None) -> None:
    """Set an integer of 1, 2, 4 or 8 bytes to an extreme, most often near the start, where headers are."""
    size = rng.choice((1, 2, 4, 4, 8))
    if len(content) >= size:
        end = len(content) - size + 1
        at = rng.choice(places) if places else rng.randrange(min(end, rng.choice((SPAN, SPAN * SPAN, end))))
        value = rng.choice(INTEGERS) % 2 ** (8 * size)
        content[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))


MUTATIONS: tuple[Callable, ...] = (flip, flip, cut, drop, insert, swap, integer, integer)
