"""The system calls by which a function changes a folder, as strace sees them.

calls = record(function, folder, scratch)   runs it in a process of its own, in that folder
tree(folder)                                what is in a folder: path → content, None for a folder

The process is forked from this one, with TensorFlow imported but not started, and strace attaches to it. Nothing is
simulated: the calls are those of the real code, and their data are what they wrote.
"""

import ctypes
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

STRACE = shutil.which("strace")
MISSING = "strace is missing; install it, as with: apt-get install strace"
FORK = multiprocessing.get_context("fork")
TRACED = (
    "open", "openat", "creat", "write", "pwrite64", "writev", "pwritev", "ftruncate", "truncate", "fallocate", "lseek",
    "fsync", "fdatasync", "sync_file_range", "msync", "rename", "renameat", "renameat2", "link", "linkat", "symlinkat",
    "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "sendfile", "copy_file_range", "mmap",
)  # fmt: skip
LINE = re.compile(r"\d+ +(\w+)\((.*)\) += (\w+)")  # a call that failed has a result of -1
UNFINISHED = re.compile(r"((\d+) .*) <unfinished \.\.\.>")
RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)")
LONGEST = 1 << 26  # bytes of a write that strace shows
PR_SET_PTRACER, ANY = 0x59616D61, -1  # lets a process that is no parent of this one trace it


@dataclass(frozen=True)
class Call:
    """A system call that succeeded.

    Attributes:
      words: its arguments as strace shows them, without strings.
      paths: of the file descriptors and the strings among its arguments, in order; those of strings as they were given.
      data: what it wrote.
    """

    name: str
    words: tuple[str, ...]
    paths: tuple[str, ...]
    data: bytes
    result: int


def record(function: Callable[[], object], folder: Path, scratch: Path) -> list[Call]:
    """Run the function in a traced process whose working directory is `folder`.

    Args:
      scratch: an existing folder outside it. What the function prints goes to its file "said"; before each sync the
        line of code that asks for it goes to its file "places".
    Raises:
      RuntimeError: strace cannot attach, or the function fails.
    """
    attached = FORK.Event()
    process = FORK.Process(target=_traced, args=(function, folder, scratch, attached))
    process.start()
    log = scratch / "calls"
    words = [STRACE, "-f", "-y", "-xx", "-s", str(LONGEST), "-e", "trace=?" + ",?".join(TRACED)]
    strace = subprocess.Popen([*words, "-o", log, "-p", str(process.pid)], stderr=subprocess.PIPE, text=True)
    first = strace.stderr.readline()
    if "attached" not in first:
        process.kill()
        raise RuntimeError(f"strace cannot attach: {first}")
    attached.set()
    process.join()
    strace.communicate()
    if process.exitcode:
        raise RuntimeError((scratch / "said").read_text())
    return [call for line in _joined(log.read_text().splitlines()) if (call := _parsed(line))]


def _traced(function: Callable, folder: Path, scratch: Path, attached) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANY, 0, 0, 0)
    attached.wait()
    os.chdir(folder)
    said = os.open(scratch / "said", os.O_WRONLY | os.O_CREAT)
    os.dup2(said, 1)
    os.dup2(said, 2)
    sys.stdout = sys.stderr = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    places = os.open(scratch / "places", os.O_WRONLY | os.O_CREAT)
    fsync = os.fsync

    def placed_fsync(descriptor: int) -> None:
        os.write(places, _place().encode())
        fsync(descriptor)

    os.fsync = placed_fsync
    function()


def _place() -> str:
    """The lines of code, up to the first outside captcha_sets/files.py, that ask for a sync."""
    frame, lines = sys._getframe(2), []
    while frame:
        path = Path(frame.f_code.co_filename)
        if frame.f_code.co_name != "sync":
            lines.append(f"{path.parent.name}/{path.name}:{frame.f_lineno}")
        if not path.match("captcha_sets/files.py"):
            break
        frame = frame.f_back
    return " < ".join(lines)


def _joined(lines: Iterable[str]) -> Iterator[str]:
    """The lines of a log, with each call on one, where it returns.

    strace splits the line of a call when another thread's call begins before the first one returns. (With its option
    -z, which leaves out calls that failed, it sometimes leaves out the end of such a call too.)
    """
    begun = {}  # thread → the first part of its call
    for line in lines:
        if first := UNFINISHED.fullmatch(line):
            begun[first[2]] = first[1]
        elif second := RESUMED.match(line):
            yield begun.pop(second[1]) + second[2]
        else:
            yield line


def _parsed(line: str) -> Call | None:
    found = LINE.match(line)
    if not found:
        return None
    name, arguments, result = found.groups()
    words = arguments.split(", ")
    strings = [_bytes(word) for word in words if word.startswith(('"', "[{"))]
    data = b"".join(strings) if "write" in name else b""
    paths = []
    for word in words:
        if "<" in word and "(deleted)" not in word:
            paths.append(os.fsdecode(_bytes(word[word.index("<") :])))
        elif word.startswith('"') and "write" not in name:
            paths.append(os.fsdecode(_bytes(word)))
    return Call(name, tuple(words), tuple(paths), data, int(result, 0))


def _bytes(word: str) -> bytes:
    return bytes.fromhex("".join(re.findall(r"\\x([0-9a-f]{2})", word)))


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder: path relative to it → content, None for a folder."""
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes() for path in paths}
