"""CSV files with one row for each file: every change is on the disk when the call returns.

labels = Table(path, ("file", "label"))     the rows that are there
labels.put("a17.jpg", "2704")               a new row is appended; a changed one rewrites the file
labels.remove("a17.jpg")

A kill leaves at most the last line incomplete. It was not confirmed, so the next start removes it and says so.
"""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from captcha_cli import UserError
from captcha_sets.files import sync


class Table:
    """One CSV file.

    Attributes:
      rows: file → the values of the other columns, in the order of the rows.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        """Raises UserError where the file has other columns, or a row that is not complete."""
        self.path, self._columns = path, tuple(columns)
        self.rows: dict[str, tuple[str, ...]] = {}
        self._known: tuple[int, ...] = ()  # identifies what we last read or wrote
        if path.exists():
            _remove_torn_line(path)
            self._read()

    def put(self, file: str, *values: str) -> None:
        """Set a file's row. Raises OSError where it cannot be written; the table is as it was then."""
        self._read_if_changed()
        if self.rows.get(file) == values:
            return
        if file in self.rows or not self.path.exists():
            self._write({**self.rows, file: values})
        else:
            _append(self.path, _line(file, *values))
            self._known = _identity(self.path)
        self.rows[file] = values

    def remove(self, file: str) -> None:
        """Remove a file's row, where there is one."""
        self._read_if_changed()
        if file in self.rows:
            rest = {name: values for name, values in self.rows.items() if name != file}
            self._write(rest)
            self.rows = rest

    def add_missing(self, rows: dict[str, tuple[str, ...]]) -> int:
        """Add the rows of files that have none yet, all at once; returns how many."""
        missing = {file: values for file, values in rows.items() if file not in self.rows}
        if missing:
            self._write({**self.rows, **missing})
            self.rows |= missing
        return len(missing)

    def _read_if_changed(self) -> None:
        """Take over what a person or another program changed in the file meanwhile."""
        if _identity(self.path) == self._known:
            return
        self.rows = {}
        if self.path.exists():
            _end_last_line(self.path)
            self._read()

    def _read(self) -> None:
        self._known = _identity(self.path)
        with open(self.path, newline="", encoding="utf-8-sig") as source:
            try:
                lines = csv.reader(source, strict=True)
                if tuple(next(lines, ())) != self._columns:
                    raise UserError(
                        f"{self.path}: its first line must be {','.join(self._columns)}, without other columns; correct"
                        " it, or move the file away"
                    )
                for row in lines:
                    if len(row) != len(self._columns) or not row[0]:
                        raise UserError(f"{self.path}: line {lines.line_num} is not a row of this table; correct it")
                    self._add(os.path.normpath(row[0]), tuple(row[1:]), lines.line_num)
            except (csv.Error, UnicodeDecodeError) as error:
                raise UserError(f"{self.path}: is not a CSV file in UTF-8 ({error}); correct it") from error

    def _add(self, file: str, values: tuple[str, ...], line: int) -> None:
        if self.rows.get(file, values) != values:
            raise UserError(f"{self.path}: line {line} gives {file} another label than an earlier line; remove one")
        self.rows[file] = values

    def _write(self, rows: dict[str, tuple[str, ...]]) -> None:
        """Put a new file in the place of this one."""
        new = self.path.with_name(f".{self.path.name}.new")
        lines = [_line(*self._columns), *(_line(file, *values) for file, values in rows.items())]
        new.write_text("".join(lines), encoding="utf-8", newline="")
        sync(new)
        new.replace(self.path)
        sync(self.path.parent)
        self._known = _identity(self.path)


def _identity(path: Path) -> tuple[int, ...]:
    """Differs between two states of a file; empty where there is none."""
    if not path.exists():
        return ()
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


def _end_last_line(path: Path) -> None:
    """Append the line break that some editors leave out at the end."""
    if not path.read_bytes().endswith(b"\n"):
        _append(path, "\n")


def _line(*cells: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _append(path: Path, line: str) -> None:
    """Append a line and wait until it is on the disk. Where that fails, nothing stays of it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        size = os.fstat(descriptor).st_size
        try:
            _write_all(descriptor, line.encode())
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]  # a full disk takes a part, and then raises


def _remove_torn_line(path: Path) -> None:
    content = path.read_bytes()
    complete = content.rfind(b"\n") + 1
    if complete and complete < len(content):
        torn = content[complete:].decode(errors="replace")
        print(f"{path}: the last line was not complete, and is removed: {torn!r}")
        os.truncate(path, complete)
        sync(path)
