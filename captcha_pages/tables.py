"""CSV files with one row for each file: every change is on the disk when the call returns.

labels = Table(path, ("file", "label"))     reads the rows
labels.put("a17.jpg", "2704")
labels.remove("a17.jpg")

Each change writes the whole file anew and then replaces it, so that no kill or power cut leaves an incomplete line.
"""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from captcha_cli import UserError
from captcha_sets.files import write_text


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
        self._read_if_changed()

    def put(self, file: str, *values: str) -> None:
        """Set a file's row. Raises OSError if it cannot be written; the table is then unchanged."""
        self._read_if_changed()
        if self.rows.get(file) != values:
            self._write({**self.rows, file: values})

    def remove(self, file: str) -> None:
        """Remove a file's row, if there is one."""
        self._read_if_changed()
        if file in self.rows:
            self._write({name: values for name, values in self.rows.items() if name != file})

    def add_missing(self, rows: dict[str, tuple[str, ...]]) -> None:
        """Add the rows of files that have none yet, all at once."""
        missing = {file: values for file, values in rows.items() if file not in self.rows}
        if missing:
            self._write({**self.rows, **missing})

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

    def _add(self, rows: dict[str, tuple[str, ...]], file: str, values: tuple[str, ...], line: int) -> None:
        if rows.get(file, values) != values:
            raise UserError(f"{self.path}: line {line} gives {file} another label than an earlier line; remove one")
        rows[file] = values

    def _write(self, rows: dict[str, tuple[str, ...]]) -> None:
        """Replace the file."""
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(self._columns)
        lines.writerows((file, *values) for file, values in rows.items())
        write_text(self.path, text.getvalue())
        self.rows, self._known = rows, _identity(self.path)


def _identity(path: Path) -> tuple[int, ...]:
    """A value that changes when the file changes; empty if there is no file."""
    if not path.exists():
        return ()
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns
