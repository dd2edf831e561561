"""Small files that are trusted later: written whole or not at all, and known by a checksum.

write_sealed(path, values)      a JSON file with a checksum in it
values = read_sealed(path)      what was written, or a ValueError
seal(values), unseal(text)      the same, as text
sha256(path), sync(path)        a file's hash; wait until it is on the disk
with aside(folder):             a place to make things whole before they are put in theirs
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path


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


@contextlib.contextmanager
def aside(folder: Path) -> Iterator[Path]:
    """A new, empty folder, which is gone at the end with all that was not moved out of it."""
    shutil.rmtree(folder, ignore_errors=True)  # left by one that was killed
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_sealed(path: Path, values: dict) -> None:
    """Write a JSON file with a checksum in it. Whatever happens, it is there as a whole or as it was before."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(seal(values), encoding="utf-8")
    sync(new)
    new.replace(path)
    sync(path.parent)


def read_sealed(path: Path) -> dict:
    """What write_sealed wrote. Raises ValueError where a value is not the one that was written, OSError as usual."""
    return unseal(path.read_text(encoding="utf-8"))


def seal(values: dict) -> str:
    """JSON with a checksum in it."""
    return json.dumps({**values, "checksum": _checksum(values)}, indent=1, ensure_ascii=False) + "\n"


def unseal(text: str) -> dict:
    """What was sealed. Raises ValueError where it is not."""
    values = json.loads(text)
    if not isinstance(values, dict) or values.pop("checksum", None) != _checksum(values):
        raise ValueError("its checksum is wrong")
    return values


def _checksum(values: dict) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
