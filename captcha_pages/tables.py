"""CSV files with one row for each file: every change is on the disk when the call returns.

labels = Table(path, ("file", "label"))     reads the rows
labels.put("a17.jpg", "2704")               a new row is appended; a changed one rewrites the file
labels.remove("a17.jpg")

A kill leaves at most one incomplete line, the last one. It was not confirmed, so the next start prints and removes it.
"""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from captcha_cli import UserError
from captcha_sets.files import sync, write_text


class Table:
    """One CSV file.

    Attributes:
      rows: file → the values of the other columns, in the order of the rows.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        """Raises UserError if the file has other columns or an incomplete row."""
        self.path, self._columns = path, tuple(columns)
        self.rows: dict[str, tuple[str, ...]] = {}
        self._known: tuple[int, ...] = ()  # identity of the file as last read or written
        if path.exists():
            _remove_torn_line(path)
            self._read()

    def put(self, file: str, *values: str) -> None:
        """Set a file's row. Raises OSError if it cannot be written; the table is then unchanged."""
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
        """Remove a file's row, if there is one."""
        self._read_if_changed()
        if file in self.rows:
            rest = {name: values for name, values in self.rows.items() if name != file}
            self._write(rest)
            self.rows = rest

    def add_missing(self, rows: dict[str, tuple[str, ...]]) -> None:
        """Add the rows of files that have none yet, all at once."""
        missing = {file: values for file, values in rows.items() if file not in self.rows}
        if missing:
            self._write({**self.rows, **missing})
            self.rows |= missing

    def _read_if_changed(self) -> None:
        """Read the file again if a person or another program has changed it."""
        if _identity(self.path) == self._known:
            return
        if self.path.exists():
            self._read()
        else:
            self.rows = {}

    def _read(self) -> None:
        """Read the file. If this raises, the rows stay as they were, and the next change tries again."""
        identity, rows = _identity(self.path), {}
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
                    self._add(rows, os.path.normpath(row[0]), tuple(row[1:]), lines.line_num)
            except (csv.Error, UnicodeDecodeError) as error:
                raise UserError(f"{self.path}: is not a CSV file in UTF-8 ({error}); correct it") from error
        self.rows, self._known = rows, identity
        _end_last_line(self.path)

    def _add(self, rows: dict[str, tuple[str, ...]], file: str, values: tuple[str, ...], line: int) -> None:
        if rows.get(file, values) != values:
            raise UserError(f"{self.path}: line {line} gives {file} another label than an earlier line; remove one")
        rows[file] = values

    def _write(self, rows: dict[str, tuple[str, ...]]) -> None:
        """Replace the file."""
        lines = [_line(*self._columns), *(_line(file, *values) for file, values in rows.items())]
        write_text(self.path, "".join(lines))
        self._known = _identity(self.path)


def _identity(path: Path) -> tuple[int, ...]:
    """A value that changes when the file changes; empty if there is no file."""
    if not path.exists():
        return ()
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


def _end_last_line(path: Path) -> None:
    """Append the final line break that some editors leave out."""
    if not path.read_bytes().endswith(b"\n"):
        _append(path, "\n")


def _line(*cells: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _append(path: Path, line: str) -> None:
    """Append a line and wait until it is on the disk. If that fails, nothing of it stays in the file."""
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
        content = content[os.write(descriptor, content) :]  # a nearly full disk writes a part first, then raises


def _remove_torn_line(path: Path) -> None:
    content = path.read_bytes()
    complete = content.rfind(b"\n") + 1
    if complete and complete < len(content):
        torn = content[complete:].decode(errors="replace")
        print(f"{path}: removed an incomplete last line: {torn!r}")
        os.truncate(path, complete)
        sync(path)
