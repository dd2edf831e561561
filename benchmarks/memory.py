"""Whether memory stays flat: the trainer, a reader with 8 threads and the try-out page, all at once, for an hour.

    python benchmarks/memory.py [--minutes 60]

Draw the sets first. RssAnon is a process's memory without mapped files. Linux only.
"""

import argparse
import itertools
import multiprocessing
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import captcha_predict
from captcha_cli import UserError, run
from captcha_config import Config
from captcha_runs import log
from captcha_sets.pool import draw_many

from rich.console import Console
from rich.table import Table
from scale import rss_anon

ROOT = Path(__file__).parent.parent
PICTURES = 500  # that are read again and again
THREADS = 8
SAMPLES = 12  # rows of the table
SPAWN = multiprocessing.get_context("spawn")  # a fork would begin with the memory of this process


def read_forever(pictures: list[bytes], count) -> None:
    """Read pictures on several threads, and count them."""

    def read(picture: bytes) -> None:
        captcha_predict.read(picture, model="digits")
        with count.get_lock():
            count.value += 1

    with ThreadPoolExecutor(THREADS) as pool:
        while True:
            list(pool.map(read, pictures))


class Trainer:
    name, unit = "trainer", "steps"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        words = [sys.executable, str(ROOT / "captcha_train.py"), "--save_dir", str(folder), "--max_steps", "1000000"]
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.pid = self._process.pid

    def done(self) -> int:
        entries = log.read(self._folder)
        return entries[-1]["step"] if entries else 0

    def stop(self) -> None:
        self._process.kill()  # it is not resumed
        self._process.wait()


class Reader:
    name, unit = "reader", "pictures"

    def __init__(self, pictures: list[bytes]) -> None:
        self._count = SPAWN.Value("q", 0)
        self._process = SPAWN.Process(target=read_forever, args=(pictures, self._count))
        self._process.start()
        self.pid = self._process.pid

    def done(self) -> int:
        return self._count.value

    def stop(self) -> None:
        self._process.kill()
        self._process.join()


class Page:
    name, unit = "page", "requests"

    def __init__(self, pictures: list[bytes]) -> None:
        words = [sys.executable, str(ROOT / "captcha_try.py"), "--model", "digits", "--port", "0"]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.pid = self._process.pid
        self._address = next(line.split()[1] for line in self._process.stdout if line.startswith("open "))
        self._count, self._stopped = 0, threading.Event()
        self._thread = threading.Thread(target=self._post, args=(pictures,))
        self._thread.start()

    def _post(self, pictures: list[bytes]) -> None:
        for picture in itertools.cycle(pictures):
            if self._stopped.is_set():
                return
            urllib.request.urlopen(f"{self._address}api/read", picture, timeout=60).read()
            self._count += 1

    def done(self) -> int:
        return self._count

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        self._process.terminate()
        self._process.wait()


def watch(programs: list, minutes: float, show: Callable) -> None:
    """Show the memory of each program at regular intervals."""
    began = time.monotonic()
    for sample in range(1, SAMPLES + 1):
        time.sleep(max(0.0, began + 60 * minutes * sample / SAMPLES - time.monotonic()))
        show(f"{minutes * sample / SAMPLES:.2g}", *map(state, programs))


def state(program: Any) -> str:
    """The memory of a program, and what it has done. Raises UserError if it has ended."""
    megabytes = rss_anon(program.pid)
    if not megabytes:
        raise UserError(f"{program.name}: has ended; run it alone to see why")
    return f"{megabytes:.1f} MB, {program.done()} {program.unit}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    args = parser.parse_args()
    pictures = [content for _, content in draw_many(range(PICTURES), "benchmark", Config())]
    table = Table("minutes", *(each.name for each in (Trainer, Reader, Page)))

    def show(*cells: str) -> None:
        print("  ".join(cells), file=sys.stderr, flush=True)
        table.add_row(*cells)

    with tempfile.TemporaryDirectory() as folder:
        programs: list = []
        try:
            programs.append(Trainer(Path(folder) / "save"))
            programs.append(Reader(pictures))
            programs.append(Page(pictures))
            watch(programs, args.minutes, show)
        finally:
            for each in programs:
                each.stop()
    Console(width=120).print(table)


if __name__ == "__main__":
    run(main)
