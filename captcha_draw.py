"""Draw captchas with the captcha library, seeded, on all cores.

text, image = draw(index, split, config)    one captcha, which these alone decide
draw_many(indices, split, config)           many of a split, as PNG files, in order
save_images(folder, count, config)          as files, for other uses
check_fonts(config)                         can a reader tell the characters apart?
"""

import collections
import concurrent.futures
import concurrent.futures.process
import contextlib
import functools
import importlib.util
import io
import itertools
import multiprocessing
import os
import random
import re
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, SimpleNamespace
from urllib.parse import quote

from captcha_config import Config, UserError

from PIL import Image, ImageFont
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

CHUNK = 50  # captchas that a worker draws before it hands them over
PNG_COMPRESS_LEVEL = 3  # files 4 % larger than with Pillow's 6, encoded in 0.6 of the time
_one_at_a_time = threading.Lock()  # threads would draw with each other's random numbers
PLAIN_SECONDS = 10  # between two lines of progress where there is no terminal


@functools.cache
def _captcha_image() -> ModuleType:
    """A private copy of captcha.image: the library draws with `secrets`, which cannot be seeded, so `draw` swaps it."""
    spec = importlib.util.find_spec("captcha.image")
    source = Path(spec.origin).read_text(encoding="utf-8")
    if set(re.findall(r"\bsecrets\.(\w+)", source)) != {"randbelow", "randbits", "choice"}:
        raise UserError(f"captcha {version('captcha')} cannot be seeded; install captcha 0.7.1")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def _artist(width: int, height: int, fonts: tuple[str, ...], font_sizes: tuple[int, ...]):
    return _captcha_image().ImageCaptcha(width, height, list(fonts), font_sizes)  # keeps its fonts loaded


def draw(index: int, split: str, config: Config) -> tuple[str, Image.Image]:
    """Draw one captcha. (config.seed, split, index) decide it alone: no order, process or earlier draw does.

    Returns:
      (its text, its RGB image of config.width x config.height pixels).
    """
    rng = random.Random(f"{config.seed}/{split}/{index}")  # Python hashes the string with SHA-512: no streams meet
    with _one_at_a_time:
        _captcha_image().secrets = SimpleNamespace(randbelow=rng.randrange, randbits=rng.getrandbits, choice=rng.choice)
        text = "".join(rng.choices(config.characters, weights(config), k=config.length))
        return text, _artist(config.width, config.height, config.fonts, config.font_sizes).generate_image(text)


def weights(config: Config) -> list[float] | None:
    """How often each character is drawn, beside the others; None: all alike."""
    if not config.often:
        return None
    often = len(set(config.often))
    others = len(config.characters) - often
    return [1 / (often if c in config.often else others) for c in config.characters]


def check_fonts(config: Config) -> None:
    """Raise UserError where a font cannot be read, lacks a character, or draws two characters alike."""
    for font_file in config.fonts or _captcha_image().DEFAULT_FONTS:
        for size in config.font_sizes:
            try:
                font = ImageFont.truetype(font_file, size)
            except OSError as error:
                raise UserError(f"fonts: {font_file} cannot be read ({error}); name a TrueType font file") from error
            drawn = {bytes(font.getmask("\uffff")): None}  # no font has this character: what is drawn is the box
            for character in config.characters:
                other = drawn.setdefault(bytes(font.getmask(character)), character)
                if other is None:
                    raise UserError(f"characters: {font_file} has no {character!r}; leave it out or use another font")
                if other != character:
                    raise UserError(
                        f"characters: {font_file} draws {other!r} and {character!r} alike at {size} pixels;"
                        " leave one out, or use another font or size"
                    )


def draw_many(indices: range, split: str, config: Config) -> Iterator[tuple[str, bytes]]:
    """Draw captchas of a split, such as range(count), on config.workers processes.

    Yields:
      (text, PNG file as bytes), in order.
    """
    check_fonts(config)
    starts = range(0, len(indices), CHUNK)
    chunks = (indices[start : start + CHUNK] for start in starts)
    workers = min(config.workers or os.cpu_count() or 1, len(starts))
    context = multiprocessing.get_context("spawn")
    executor = concurrent.futures.ProcessPoolExecutor(workers, context, _start_worker)
    try:
        with _importing_this_file_alone():  # the first tasks start the workers
            drawing = collections.deque(
                executor.submit(_draw_chunk, chunk, split, config) for chunk in itertools.islice(chunks, 4 * workers)
            )
        while drawing:
            yield from drawing.popleft().result()
            for chunk in itertools.islice(chunks, 1):
                drawing.append(executor.submit(_draw_chunk, chunk, split, config))
    except concurrent.futures.process.BrokenProcessPool as error:
        raise UserError("a process that draws was killed; make room in memory, or use fewer (--workers)") from error
    finally:
        executor.shutdown(cancel_futures=True)


def _draw_chunk(indices: range, split: str, config: Config) -> list[tuple[str, bytes]]:
    chunk = []
    for index in indices:
        text, image = draw(index, split, config)
        chunk.append((text, png(image)))
    return chunk


def save_images(folder: Path, count: int, config: Config, suffix: str = "png") -> list[Path]:
    """Draw captchas for other uses: image files named <index>_<label>.<suffix> in a new folder, and nothing else.

    Args:
      folder: made where it is not there.
      suffix: png, jpg, or another of Pillow's.
    Returns:
      The files, in order.
    Raises:
      UserError: the folder holds something already; the characters cannot be drawn; or Pillow writes no such files.
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


def file_label(text: str) -> str:
    """A captcha's text as a part of a file's name."""
    return quote(text, safe="").replace("_", "%5F")


def png(image: Image.Image) -> bytes:
    """The image as a PNG file."""
    encoded = io.BytesIO()
    image.save(encoded, format="png", compress_level=PNG_COMPRESS_LEVEL)
    return encoded.getvalue()


@contextlib.contextmanager
def _importing_this_file_alone() -> Iterator[None]:
    """Let new processes take this file for the main script.

    They would import the real one, and TensorFlow with it: seconds and hundreds of megabytes for each.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = sys.modules[__name__]
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends the workers
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    multiprocessing.parent_process().join()  # a killed parent cannot end its workers
    os._exit(1)


def track(items: Iterable, total: int, what: str) -> Iterator:
    """Pass `items` on and show on standard error how many of `total` there were, the rate and the time left."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        rate = TextColumn("{task.fields[rate]:.0f} images/s")
        # what is printed meanwhile appears above the bar, unless it goes elsewhere
        shared = sys.stdout.isatty()
        with Progress(*columns, rate, TimeRemainingColumn(), console=console, redirect_stdout=shared) as progress:
            task = progress.add_task(what, total=total, rate=0)
            for item in items:
                progress.update(task, advance=1, rate=progress.tasks[task].speed or 0)
                yield item
        return
    start = last = time.monotonic()
    for done, item in enumerate(items, 1):
        now = time.monotonic()
        if now - last > PLAIN_SECONDS or done == total:
            last, rate = now, done / max(now - start, 1e-9)
            left = (total - done) / rate
            print(f"{what}: {done} of {total}, {rate:.0f} images/s, {left:.0f} s left", file=sys.stderr, flush=True)
        yield item
