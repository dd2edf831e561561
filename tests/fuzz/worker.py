"""A process that reads one input after another, and says what came of each.

An input is `answered`, or `refused`: one line on standard error and exit status 2, by captcha_cli.run. Everything else
is a finding: a traceback, too much memory, a file written outside of the working folder, a program started.
"""

import contextlib
import io
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from captcha_cli import run
from captcha_predict.console import program

from mutations import Mutator

MAX_SECONDS = 5  # of CPU time
MAX_MB = 300  # beyond the process before it read the input
SAFETY_NET = 2 << 30  # bytes of address space beyond it, in case the limit above comes too late
WAIT = 10  # seconds between two looks at whether the process that asks is still there
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {  # events of Python that change a folder → the arguments that are paths
    "os.remove": 1, "os.rename": 2, "os.mkdir": 1, "os.rmdir": 1, "os.link": 2, "os.symlink": 2, "os.truncate": 1,
    "os.chmod": 1, "shutil.rmtree": 1,
}  # fmt: skip
PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "socket.bind")


class Outcome(NamedTuple):
    kind: str  # "answered", "refused", or "finding"
    told: str  # what was printed, or what is wrong
    seconds: float  # of CPU time
    megabytes: float  # peak, beyond the process before


def serve(function: Callable, base: Path, seed: str, pipe: Connection) -> None:
    """Read the input of each number that comes through the pipe, in a copy of the folder `base`."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder).resolve() / "work"
        shutil.copytree(base, work)
        os.chdir(work)
        tempfile.tempdir = str(work)
        _silence()
        trespasses = _watch(work)
        first = _read(function, work, Mutator(None), trespasses)  # loads what is loaded once
        sound = first.kind == "answered"
        pipe.send(None if sound else first._replace(kind="finding", told=f"refuses what is sound: {first.told}"))
        limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + SAFETY_NET
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        while _is_asked(pipe):
            pipe.send(_read(function, work, Mutator(random.Random(f"{seed}/{pipe.recv()}")), trespasses))


def _is_asked(pipe: Connection) -> bool:
    """Wait for the next number. False where the process that asks has ended."""
    parent = os.getppid()
    while not pipe.poll(WAIT):
        if os.getppid() != parent:
            return False
    return True


def _silence() -> None:
    """Native code writes to the descriptors, which nobody reads."""
    for descriptor in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def _watch(work: Path) -> list[str]:
    """A list that collects what Python does outside of the folder."""
    trespasses: list[str] = []

    def outside(path: object) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        real = os.path.realpath(os.fsdecode(path))
        return real != os.devnull and not real.startswith(str(work))

    def hook(event: str, args: tuple) -> None:
        paths = args[: CHANGES.get(event, 0)]
        if event == "open" and isinstance(args[2], int) and args[2] & WRITING:
            paths = args[:1]
        if event in PROGRAMS or any(map(outside, paths)):
            trespasses.append(f"{event} {args}")

    sys.addaudithook(hook)
    return trespasses


def _read(function: Callable, work: Path, mutator: Mutator, trespasses: list[str]) -> Outcome:
    printed, status = io.StringIO(), None
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, began = _megabytes("VmRSS"), time.process_time()
    trespasses.clear()
    with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(io.StringIO()):
        try:
            run(lambda: function(work, mutator))
        except SystemExit as end:
            status = end.code
            problem = _problem(status, printed.getvalue())
        except BaseException:
            problem = traceback.format_exc()
    seconds, megabytes = time.process_time() - began, _megabytes("VmHWM") - before
    if not problem and seconds > MAX_SECONDS:
        problem = f"took {seconds:.0f} s"
    if not problem and megabytes > MAX_MB:
        problem = f"took {megabytes:.0f} MB"
    problem = problem or "; ".join(trespasses)
    kind = "finding" if problem else "refused" if status else "answered"
    return Outcome(kind, problem or printed.getvalue(), seconds, megabytes)


def _problem(status: object, printed: str) -> str:
    """What is wrong with how a command ends; "" if nothing is."""
    lines = [line for line in printed.splitlines() if "images/s" not in line]
    errors = [line for line in lines if line.startswith(f"{program()}: error: ")]
    others = [line for line in lines if not line.startswith((f"{program()}: ", "warning: ", "  "))]
    expected = len(errors) > 0 if status == 1 else len(errors) == bool(status)  # 1: some of many files are unreadable
    if status not in (None, 0, 1, 2) or not expected or others:
        return f"status {status}, and it prints {printed!r}"
    if "out of memory" in printed:
        return printed
    return "" if printed.replace("\n", "").isprintable() else f"it prints {printed!r}"


def _megabytes(name: str) -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1000
