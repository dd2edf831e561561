"""Images mapped into memory or held in it: the speed of training, the memory, and a file larger than memory.

    python benchmarks/pixels.py [--counts 3000 30000] [--steps 100] [--synthetic_gb 0] [--folder .]

The sets are random pixels in the format of captcha_sets/pixels.py. For each count it trains on images that are mapped
(captcha_data.training_batches) and on the same ones held in memory (tf.constant and tf.gather), in turns in one
process; and then on each in a process of its own, for the memory. RssAnon is the memory that is not a file's; what is
mapped is left out, for the system can drop it at any time.

--synthetic_gb 30 adds a file of 30 GB in --folder, which is removed at the end. It is not in the system's cache when a
process begins to read random batches from it: once without advice to the system, and once, as the trainer does with
files larger than memory, with the advice to read no more than is asked for (MADV_RANDOM).
"""

import argparse
import mmap
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from captcha_cli import UserError, quiet_import, run

with quiet_import(__name__):
    import tensorflow as tf

import captcha_data
from captcha_config import Config
from captcha_predict.console import quiet_stderr
from captcha_sets import pixels
from captcha_sets.files import sync

import numpy as np
from rich.console import Console
from rich.table import Table
from scale import AHEAD, in_turns, rss_anon, training_step

WRITTEN = 4096  # records written at a time
MAPPED, IN_MEMORY, NO_READ_AHEAD = "mapped", "in memory", "mapped, no read-ahead"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[3000, 30_000], help="images in the sets")
    parser.add_argument("--steps", type=int, default=100, help="that are timed of each kind")
    parser.add_argument("--synthetic_gb", type=float, default=0, help="size of one more file, GB; 0: none")
    parser.add_argument("--folder", type=Path, default=Path("."), help="where to write the files; they are removed")
    args = parser.parse_args()
    config = Config()
    console = Console(width=120, highlight=False)
    turns = Table("images", f"{MAPPED}, images/s", f"{IN_MEMORY}, images/s", "difference")
    alone = Table("images", "GB", "kind", "input alone, batches/s", "RssAnon, MB", "training, images/s", "RssAnon, MB",
                  "from the disk, MB")  # fmt: skip
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for count in args.counts:
            path = write_pixels(Path(folder), count, config)
            turns.add_row(str(count), *compare(path, config, args.steps))
            for kind in KINDS:
                alone.add_row(*measured_alone(path, kind, config, args.steps))
            path.unlink()
        if args.synthetic_gb:
            path = write_pixels(Path(folder), int(args.synthetic_gb * 1e9 / pixels._dtype(config).itemsize), config)
            for kind in (MAPPED, NO_READ_AHEAD):
                drop_from_cache(path)
                alone.add_row(*measured_alone(path, kind, config, args.steps))
    print("in turns, in one process")
    console.print(turns)
    print(f"in a process each; this machine has {total_memory():.1f} GB of memory")
    console.print(alone)


def write_pixels(folder: Path, count: int, config: Config) -> Path:
    """Write a file of random pixels and labels, as captcha_sets.pixels writes those of a split."""
    path = folder / f"{count}.npy"
    rng = np.random.default_rng(config.seed)
    dtype = pixels._dtype(config)
    print(f"writing {count} images, {count * dtype.itemsize / 1e9:.2f} GB", file=sys.stderr)
    with open(path, "wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (count,)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, count, WRITTEN):
            records = np.zeros(min(WRITTEN, count - start), dtype)
            records["labels"] = rng.integers(0, len(config.characters), records["labels"].shape)
            records["image"] = rng.integers(0, 256, records["image"].shape, np.uint8)
            records["checksum"] = pixels._checksums(records, range(start, start + len(records)))
            file.write(records.tobytes())
    sync(path)
    return path


def in_memory_batches(records: np.memmap, first_step: int, config: Config) -> tf.data.Dataset:
    """The batches of captcha_data.training_batches, in the same order, of images that are held in memory."""
    images, labels = tf.constant(records["image"]), tf.constant(records["labels"])
    count, size = len(records), config.batch_size
    last = tf.constant(count - 1, tf.int64)

    def batch_of(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        place = step * size + tf.range(size, dtype=tf.int64)  # [size], through all epochs
        epoch = place // count
        seed = tf.stack([tf.fill([size], tf.constant(config.seed, tf.int64)), epoch, tf.zeros_like(epoch)], axis=1)
        index = captcha_data.shuffled(place % count, seed, last)
        start = tf.constant(0, tf.int64)
        return captcha_data.augmented(tf.gather(images, index), step, start, config), tf.gather(labels, index)

    steps = tf.data.Dataset.counter(start=first_step)
    return steps.map(batch_of, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


KINDS: dict[str, Callable] = {MAPPED: captcha_data.training_batches, IN_MEMORY: in_memory_batches}


def compare(path: Path, config: Config, steps: int) -> tuple[str, str, str]:
    """Train on both kinds of images in turns; returns both rates, and how much faster the mapped ones are."""
    records = np.load(path, mmap_mode="r")
    batches = {kind: iter(batches_of(records, 0, config)) for kind, batches_of in KINDS.items()}
    for one, other in zip(*map(next, batches.values()), strict=True):
        if not np.array_equal(one, other):
            raise AssertionError("the two pipelines give different batches")
    rates = in_turns(training_step(config), batches, steps, config.batch_size)
    mapped, in_memory = rates.values()
    return f"{mapped:.0f}", f"{in_memory:.0f}", f"{mapped / in_memory - 1:+.1%}"


def measured_alone(path: Path, kind: str, config: Config, steps: int) -> tuple[str, ...]:
    """A row of the table: what a process that reads and trains on one kind of images takes."""
    spawn = multiprocessing.get_context("spawn")  # a fork would begin with this process's memory
    receiver, sender = spawn.Pipe(duplex=False)
    process = spawn.Process(target=measure, args=(path, kind, config, steps, sender))
    with quiet_stderr():  # TensorFlow's lines; a traceback is shown
        process.start()
        sender.close()
        try:
            values = receiver.recv()
        except EOFError as error:
            raise UserError(f"the process that reads {kind} images failed") from error
        finally:
            process.kill()  # where this one was stopped
            process.join()
    count, gigabytes, batches, reading, images, training, megabytes = values
    row = (f"{count}", f"{gigabytes:.2f}", kind, f"{batches:.0f}", f"{reading:.0f}", f"{images:.0f}", f"{training:.0f}")
    return (*row, f"{megabytes:.0f}")


def measure(path: Path, kind: str, config: Config, steps: int, results: Connection) -> None:
    """Read batches, and then train on some, in this process; sends the values of a row of the table."""
    records = np.load(path, mmap_mode="r")
    if kind == NO_READ_AHEAD:
        records._mmap.madvise(mmap.MADV_RANDOM)
    read = bytes_from_disk()
    batches = iter(KINDS.get(kind, captcha_data.training_batches)(records, 0, config))
    batches_a_second, reading = rate(lambda: next(batches), steps)
    train_step = training_step(config)
    steps_a_second, training = rate(lambda: train_step(*next(batches)), steps)
    megabytes = (bytes_from_disk() - read) / 1e6
    images_a_second = steps_a_second * config.batch_size
    results.send((len(records), records.nbytes / 1e9, batches_a_second, reading, images_a_second, training, megabytes))


def rate(call: Callable, steps: int) -> tuple[float, float]:
    """Calls a second, and this process's RssAnon after them, MB."""
    for _ in range(AHEAD):
        call()
    began = time.perf_counter()
    for _ in range(steps):
        call()
    return steps / (time.perf_counter() - began), rss_anon()


def bytes_from_disk() -> int:
    """What this process has made the system read from a disk so far; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes:"))


def drop_from_cache(path: Path) -> None:
    """Have the system forget what it holds of a file, so that reading it again reads the disk."""
    if hasattr(os, "posix_fadvise"):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def total_memory() -> float:
    """GB."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9


if __name__ == "__main__":
    run(main)
