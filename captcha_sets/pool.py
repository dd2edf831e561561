"""Draw many captchas, on all cores.

draw_many(indices, split, config)           PNG files of a split, in order
is_repeatable(split, config)                whether another process draws the same
save_images(folder, count, config)          image files alone, for other uses
"""

import collections
import contextlib
import io
import itertools
import os
import pickle
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from captcha_cli import UserError
from captcha_config import Config
from captcha_sets.draw import check_drawing, draw, file_label, is_own, png

from PIL import Image

CHUNK = 50  # captchas that a process draws before it hands them over
PROBE = 8  # captchas that are drawn twice to see whether they come out alike
AHEAD = 4  # chunks in progress or waiting, for each process


def draw_many(indices: range, split: str, config: Config) -> Iterator[tuple[str, bytes]]:
    """Draw captchas of a split, such as range(count), on config.workers processes.

    Yields:
      (text, PNG file as bytes), in order. Closing the iterator ends the processes.
    Raises:
      UserError: the characters cannot be drawn, or a process was killed.
    """
    check_drawing(config)
    starts = range(0, len(indices), CHUNK)
    workers = min(config.workers or os.cpu_count() or 1, len(starts))
    with contextlib.ExitStack() as stack:
        idle: queue.SimpleQueue = queue.SimpleQueue()
        for _ in range(workers):
            idle.put(stack.enter_context(_worker()))
        pool = ThreadPoolExecutor(workers)  # each thread waits for one process
        stack.callback(pool.shutdown, cancel_futures=True)

        def drawn(chunk: range) -> list[tuple[str, bytes]]:
            draw_chunk = idle.get()
            try:
                return draw_chunk(chunk, split, config)
            finally:
                idle.put(draw_chunk)

        futures = (pool.submit(drawn, indices[start : start + CHUNK]) for start in starts)
        waiting = collections.deque(itertools.islice(futures, AHEAD * workers))
        while waiting:
            yield from waiting.popleft().result()
            waiting.extend(itertools.islice(futures, 1))


def is_repeatable(split: str, config: Config) -> bool:
    """Whether two processes that draw captchas of a split, in opposite orders, draw the same."""
    if is_own(config.drawer):  # tests hold that
        return True
    check_drawing(config)
    indices = range(PROBE)
    with _worker() as first, _worker() as second:
        return first(indices, split, config) == second(indices[::-1], split, config)[::-1]


@contextlib.contextmanager
def _worker() -> Iterator[Callable]:
    """Start a process that draws; yields a function (indices, split, config) → list of (text, PNG file).

    Not a multiprocessing.Pool: that would import the main script in each process, and TensorFlow with it, which takes
    seconds and hundreds of megabytes. These end by themselves when this process does, for then their input ends.
    """
    code = f"import sys; sys.path[:] = {sys.path!r}; from captcha_sets.pool import serve; serve()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", code], **pipes)

    def draw_chunk(*chunk) -> list[tuple[str, bytes]]:
        try:
            pickle.dump(chunk, process.stdin)
            process.stdin.flush()
            answer = pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise UserError(
                "a process that draws was killed; free some memory, or use fewer processes (--workers)"
            ) from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    try:
        yield draw_chunk
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        with contextlib.suppress(OSError):  # about data that was not sent yet
            process.stdin.close()


def serve() -> None:
    """Draw the chunks that come from standard input until it ends. Runs in the processes that _worker starts."""
    for number in (signal.SIGINT, signal.SIGTERM):  # these may reach the whole group; the parent ends its workers
        signal.signal(number, lambda *_: None)  # unlike SIG_IGN, not for the programs that a drawer starts
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # what a drawer, or a program that it starts, reads
    os.dup2(2, 1)  # and prints
    sys.stdout = sys.stderr  # without a buffer
    with contextlib.suppress(EOFError, BrokenPipeError):  # the parent has ended
        while True:
            indices, split, config = pickle.load(requests)
            try:
                answer = [(text, png(image)) for text, image in (draw(i, split, config) for i in indices)]
            except Exception as error:  # the parent raises it
                answer = error
            pickle.dump(answer, answers)
            answers.flush()


def save_images(folder: Path, count: int, config: Config, suffix: str = "png") -> list[Path]:
    """Draw `count` captchas into a folder, as <index>_<label>.<suffix> and nothing else.

    Args:
      folder: created where it does not exist.
      suffix: png, jpg, or another of Pillow's.
    Returns:
      The files, in order.
    Raises:
      UserError: the folder is not empty; the characters cannot be drawn; or Pillow writes no such files.
    """
    if Image.registered_extensions().get(f".{suffix}") not in Image.SAVE:
        raise UserError(f"suffix: Pillow writes no .{suffix} files; use png or jpg")
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UserError(f"{folder}: is not empty; name another folder")
    paths = []
    for i, (text, encoded) in enumerate(draw_many(range(count), folder.name, config)):
        paths.append(folder / f"{i:08}_{file_label(text)}.{suffix}")
        if suffix == "png":
            paths[-1].write_bytes(encoded)
        else:
            Image.open(io.BytesIO(encoded)).save(paths[-1])
    return paths
