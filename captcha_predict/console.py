"""What every command line here shares: errors of one line, their exit status, and progress."""

import argparse
import contextlib
import faulthandler
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_SECONDS = 10  # between two lines of progress where there is no terminal


class UserError(Exception):
    """An error that the user can correct. The message is one line: what is wrong, where, and what to do."""


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and exit status 2."""

    def __init__(self, description: str) -> None:
        super().__init__(prog=program(), description=description.partition("\n")[0], allow_abbrev=False)

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: error: {printable(message)} (see --help)\n")


def printable(message: str) -> str:
    """The message with everything escaped that a terminal would not print: it may quote a stranger's file.

    Of line breaks, only those before an indented line are kept.
    """
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
    return "".join(shown).replace("\\n  ", "\n  ")


def program() -> str:
    """The name of the running command, which begins its error messages."""
    path = Path(sys.argv[0])
    return path.parent.name if path.name == "__main__.py" else path.name


def run(main: Callable[[], int | None]) -> None:
    """Call a script's `main` and exit with the status it returns.

    A UserError, an OSError or a MemoryError becomes one line on standard error and exit status 2; Ctrl-C becomes
    status 130. Any other exception is a bug, and keeps its traceback.
    """
    warnings.filterwarnings("ignore", module="PIL")  # of damaged EXIF data, and of sizes, which open_image limits
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so that temporary files are removed
    if sys.stdout and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name need not be UTF-8
    try:
        sys.exit(main())
    except UserError as error:
        message = str(error)
    except BrokenPipeError:  # the reader of our output, such as head, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        sys.exit(141)
    except OSError as error:
        message = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    except MemoryError:
        message = "out of memory; close other programs, or use a smaller --batch_size, --workers or --fresh"
    except KeyboardInterrupt:
        exit_stopped()
    print(f"{program()}: error: {printable(message)}", file=sys.stderr)
    sys.exit(2)


def exit_stopped() -> None:
    """Exit after Ctrl-C."""
    print(f"{program()}: stopped; run the same command again", file=sys.stderr)
    sys.exit(130)


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold back what C++ libraries write to standard error; it is shown if the body raises.

    It redirects the whole process, so it is for main programs, before they start threads.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        faulthandler.enable(stderr)  # a crash inside, as on a processor that is too old, shows at least where
        try:
            yield
        except Exception:
            held.seek(0)
            with open(stderr, "wb", closefd=False) as shown:
                shutil.copyfileobj(held, shown)
            raise
        finally:
            faulthandler.disable()
            os.dup2(stderr, 2)
            os.close(stderr)


def track(items: Iterable, total: int, description: str, unit: str = "images") -> Iterator:
    """Yield `items` and show on standard error how many of `total` are done, the rate and the time left."""
    console = Console(stderr=True)
    return (_bar if console.is_terminal else _lines)(items, total, description, unit, console)


def _bar(items: Iterable, total: int, description: str, unit: str, console: Console) -> Iterator:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    rate = TextColumn("{task.fields[rate]:.0f} " + f"{unit}/s")
    # Lines printed meanwhile appear above the bar, unless standard output goes elsewhere.
    redirect = sys.stdout.isatty()
    with Progress(*columns, rate, TimeRemainingColumn(), console=console, redirect_stdout=redirect) as progress:
        task = progress.add_task(description, total=total, rate=0)
        for item in items:
            progress.update(task, advance=1, rate=progress.tasks[task].speed or 0)
            yield item


def _lines(items: Iterable, total: int, description: str, unit: str, console: Console) -> Iterator:
    start = last = time.monotonic()
    for done, item in enumerate(items, 1):
        now = time.monotonic()
        if now - last > PLAIN_SECONDS or done == total:
            last = now
            rate = done / max(now - start, 1e-9)
            left = (total - done) / rate
            line = f"{description}: {done} of {total}, {rate:.0f} {unit}/s, {left:.0f} s left"
            print(line, file=console.file, flush=True)
        yield item
