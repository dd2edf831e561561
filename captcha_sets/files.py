"""Files that are complete or absent: checksums, syncs, staging folders, and a lock.

check_writable(path, option)        refuse a file that could not be written, before the work for it begins
write_text(path, text)              a text file
make_folder(folder)                 a folder that is on the disk
write_checksummed(path, values)     a JSON file with a checksum in it
values = read_checksummed(path)     what was written, or a ValueError
checksum(values)                    the SHA-256 of plain values
with staging(folder):               a folder to prepare files in before they are moved into place
with lock(folder, name, busy):      one process at a time
reason(error)                       what an error of TensorFlow's says, in plain words
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from captcha_cli import UserError

import filelock


def sha256(path: Path | str, opener: Callable = open) -> str:
    """The SHA-256 of a file's content, in hexadecimal. The opener may be that of another file system."""
    digest = hashlib.sha256()
    with opener(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows has no such call for folders
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where they are missing. When this returns they are on the disk."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync(path.parent)


@contextlib.contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A new, empty folder. It is removed at the end, with everything that was not moved out of it."""
    shutil.rmtree(folder, ignore_errors=True)  # left by a process that was killed
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def lock(folder: Path, name: str, busy: str | None = None) -> Iterator[None]:
    """Hold `folder`/.`name`.lock for this process; a kill releases it.

    Args:
      busy: the message of the UserError raised where another process holds it; without one, this waits for it.
    """
    held = filelock.FileLock(folder / f".{name}.lock", timeout=0 if busy else -1)
    try:
        held.acquire()
    except filelock.Timeout as error:
        raise UserError(busy) from error
    try:
        yield
    finally:
        held.release()


def reason(error: Exception) -> str:
    """The first line of an error of TensorFlow's, without the operation and the file that it begins and ends with."""
    line = error.message.partition("\n")[0]
    return re.sub(r"^(\{\{[^}]*\}\} *)?(\S*/\S*; )?| *\[Op:.*$", "", line)


def check_writable(path: Path | None, option: str) -> None:
    """Raise UserError where the option names a file that cannot be written."""
    if path is None:
        return
    if path.is_dir():
        raise UserError(f"{option} {path}: is a folder; name a file in it")
    if not path.parent.is_dir():
        raise UserError(f"{option} {path}: there is no folder {path.parent}; create it, or name another file")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{option} {path}: nothing can be written to {path.parent}; name another file")


def write_text(path: Path, text: str) -> None:
    """Write a file, in UTF-8. Whatever happens, it holds either the new or the old content."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    sync(new)
    new.replace(path)
    sync(path.parent)


def write_checksummed(path: Path, values: dict) -> None:
    """Write a JSON file with a checksum in it. Whatever happens, it holds either the new or the old content."""
    write_text(path, with_checksum(values))


def read_checksummed(path: Path) -> dict:
    """What write_checksummed wrote. Raises ValueError where the content has changed, OSError as usual."""
    return verified(path.read_text(encoding="utf-8"))


def with_checksum(values: dict) -> str:
    """JSON with a checksum in it."""
    return json.dumps({**values, "checksum": checksum(values)}, indent=1, ensure_ascii=False) + "\n"


def verified(text: str) -> dict:
    """The values that with_checksum turned into `text`. Raises ValueError where the checksum does not match."""
    try:
        values = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(values, dict) or values.pop("checksum", None) != checksum(values):
        raise ValueError("its checksum is wrong")
    return values


def checksum(values: Any) -> str:
    """The SHA-256 of plain values, in hexadecimal. The order of names does not count."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
