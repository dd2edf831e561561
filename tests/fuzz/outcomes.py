"""The processes that read inputs, as seen from the command: each answers in time, or is replaced.

for number, outcome in outcomes(read, range(1000), base, seed):
"""

import contextlib
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from worker import Outcome, serve

FORK = multiprocessing.get_context("fork")  # what the command has imported need not be imported again
PATIENCE = 30  # seconds until an input hangs, however busy the machine is; worker.MAX_SECONDS limits the CPU time
START = 120  # seconds until a worker does


def outcomes(read: Callable, numbers: Iterable[int], base: Path, seed: str) -> Iterator[tuple[int, Outcome]]:
    """(number, outcome) of each of these inputs. A worker that hangs or crashes is replaced."""
    worker = None
    for number in numbers:
        worker = worker or Worker(read, base, seed)
        outcome = worker.start() or worker.read(number)
        yield number, outcome
        if not worker.process.is_alive():
            worker = None
    if worker:
        worker.stop()


class Worker:
    """A process that reads inputs, at this end of the pipe."""

    def __init__(self, read: Callable, base: Path, seed: str) -> None:
        self._pipe, theirs = FORK.Pipe()
        self.process = FORK.Process(target=serve, args=(read, base, seed, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self._started = False

    def start(self) -> Outcome | None:
        """Wait until it has read the sound input; returns what is wrong with that, if anything."""
        if self._started:
            return None
        self._started = True
        return self._answer(START)

    def read(self, number: int) -> Outcome:
        self._pipe.send(number)
        return self._answer(PATIENCE)

    def _answer(self, seconds: float) -> Outcome | None:
        with contextlib.suppress(EOFError, ConnectionResetError):  # it crashed
            if self._pipe.poll(seconds):
                return self._pipe.recv()
        self.process.join(0.5)
        status = self.process.exitcode
        self.stop()
        problem = f"hangs: more than {seconds} seconds" if status is None else f"crashes: exit status {status}"
        return Outcome("finding", problem, seconds, 0.0)

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
