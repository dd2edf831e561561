"""How costs grow with the number of processes and with the size of a set, for the producer and for the trainer.

    python benchmarks/scale.py [--counts 3000 30000 300000] [--workers 1 2] [--steps 200]

Draws the sets, on as many processes as --workers says last (the smallest one on each number), and trains on each for
that many steps. Then it compares steps on the smallest and on the largest set, in turns.
"""

import argparse
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from captcha_cli import UserError, quiet_import, run

with quiet_import(__name__):
    import captcha_train

import captcha_data
import captcha_model
from captcha_config import Config
from captcha_runs import log, optimizer
from captcha_sets.manifest import TRAIN, VALIDATION, like_sets, read_manifest

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
BLOCK = 25  # steps in a turn
AHEAD = 5  # steps at the start of a turn that are not timed: their batches were read in the turn before
SAMPLE_SECONDS = 0.05  # between two looks at a process's memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[3000, 30_000, 300_000], help="captchas in the sets")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="processes that draw, or train")
    parser.add_argument("--steps", type=int, default=200, help="of training")
    args = parser.parse_args()
    console = Console(width=120, highlight=False)
    smallest, largest = args.counts[0], args.counts[-1]
    with tempfile.TemporaryDirectory(dir=".") as temporary:
        folder = Path(temporary)
        draw(folder, min(3000, smallest), args.workers[-1], VALIDATION)
        table = Table("captchas", "processes that draw", "seconds", "images/s", "MB")
        drawn = [(smallest, workers) for workers in args.workers[:-1]]
        for count, workers in drawn + [(count, args.workers[-1]) for count in args.counts]:
            seconds = draw(folder, count, workers)
            size = sum(path.stat().st_size for path in (folder / str(count)).glob(f"{TRAIN}*.tfrecord")) / 1e6
            table.add_row(str(count), str(workers), f"{seconds:.0f}", f"{count / seconds:.0f}", f"{size:.0f}")
        console.print(table)

        # All of these before this process takes memory: a child's peak is at least its parent's when it starts.
        runs = [(count, 1) for count in args.counts] + [(smallest, workers) for workers in args.workers if workers > 1]
        trained = [(count, workers, *train(folder, count, args.steps, workers)) for count, workers in runs]
        header = ("captchas", "processes that train", "images/s", "peak RssAnon, MB", "peak RSS, MB", "s to resume")
        table = Table(*header)
        for count, workers, rate, anonymous, resident in trained:
            seconds = resume_seconds(config_of(folder, count))
            memory = (f"{anonymous:.0f}", f"{resident:.0f}")
            table.add_row(str(count), str(workers), f"{rate:.0f}", *memory, f"{seconds:.2f}")
        console.print(table)
        if largest != smallest:
            print(compare(config_of(folder, smallest), config_of(folder, largest), args.steps))


def config_of(folder: Path, count: int) -> Config:
    """The config of the set of that many captchas."""
    return like_sets(Config(tfrecords_dir=str(folder / str(count))), ())


def draw(folder: Path, count: int, workers: int, split: str = TRAIN) -> float:
    """Draw a split, in the place of an earlier one; returns the seconds of the whole command."""
    records = folder / (str(count) if split == TRAIN else split)
    words = [sys.executable, ROOT / "captcha_producer.py", "--splits", split, f"--{split}_count", count, "--replace"]
    words += ["--no-images", "--workers", workers, "--tfrecords_dir", records]
    began = time.perf_counter()
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise UserError(f"captcha_producer.py failed:\n{done.stderr}")
    if split == TRAIN:  # all sets have the same validation split
        for path in (folder / VALIDATION).glob(f"{VALIDATION}*"):
            (records / path.name).unlink(missing_ok=True)
            os.link(path, records / path.name)
    return seconds


def train(folder: Path, count: int, steps: int, workers: int) -> tuple[float, float, float]:
    """Run the trainer, on several processes as on several machines.

    Returns:
      Images a second in the second half of the steps, after compilation; and the most memory that one of its processes
      took, MB: RssAnon, which leaves out the mapped files that the system can drop at any time, and RSS, which counts
      them.
    """
    save = folder / f"save-{count}-{workers}"
    words = [sys.executable, ROOT / "captcha_train.py", "--tfrecords_dir", folder / str(count), "--save_dir", save]
    words += ["--max_steps", steps, "--eval_every", steps, "--save_every", (steps + 1) // 2, "--warmup_steps", 2]
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(workers)]
    environment = dict(os.environ)
    processes = []
    for index in range(workers):
        if workers > 1:
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            environment["TF_CONFIG"] = json.dumps(task)
        with open(f"{save}-{index}.txt", "w") as output:
            processes.append(subprocess.Popen(list(map(str, words)), env=environment, stdout=output, stderr=output))
    anonymous, resident = watch(processes)
    if any(process.returncode for process in processes):
        raise UserError(f"captcha_train.py failed:\n{Path(f'{save}-0.txt').read_text()}")
    return log.read(save)[-1]["images_per_second"], anonymous, resident


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def watch(processes: list[subprocess.Popen]) -> tuple[float, float]:
    """Wait for processes; returns the largest RssAnon and the largest RSS that one of them had, MB."""
    anonymous = resident = 0.0
    running = list(processes)
    while running:
        time.sleep(SAMPLE_SECONDS)
        for process in list(running):
            anonymous = max(anonymous, rss_anon(process.pid))
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                process.returncode = os.waitstatus_to_exitcode(status)
                resident = max(resident, usage.ru_maxrss * 1024 / 1e6)
                running.remove(process)
    return anonymous, resident


def rss_anon(pid: int | str = "self") -> float:
    """The memory of a process that is not a file's, MB; 0 where the system does not say (only Linux does)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    values = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(values[0]) * 1024 / 1e6 if values else 0.0  # a process that has just ended has none


def resume_seconds(config: Config, step: int = 1234) -> float:
    """Seconds to the batch of a step in the middle of an epoch. The images have been checked and decoded before."""
    began = time.perf_counter()
    records = captcha_data.open_pixels(read_manifest(TRAIN, config), config)
    next(iter(captcha_data.training_batches(records, step, config)))
    return time.perf_counter() - began


def compare(small: Config, large: Config, steps: int) -> str:
    """Train on the smallest and on the largest set, in turns; returns the rates."""
    sets = {config: captcha_data.open_pixels(read_manifest(TRAIN, config), config) for config in (small, large)}
    batches = {
        f"{len(records)} captchas": iter(captcha_data.training_batches(records, 0, config))
        for config, records in sets.items()
    }
    rates = in_turns(training_step(small), batches, steps, small.batch_size)
    first, second = rates.values()
    told = ", ".join(f"{name} {rate:.0f} images/s" for name, rate in rates.items())
    return f"in turns: {told} ({second / first - 1:+.1%})"


def training_step(config: Config) -> Callable:
    """A new network's training step: a function of images and labels that waits for the device."""
    keras.utils.set_random_seed(config.seed)
    model = captcha_model.build(config)
    train_step = captcha_train.build_train_step(model, optimizer.build(model, config), config)
    return lambda images, labels: float(train_step(images, labels)[0])


def in_turns(call: Callable, batches: dict[str, Iterator], steps: int, batch_size: int) -> dict[str, float]:
    """Images a second of a function of batches, from two sources in turns.

    The turns are first, second, second, first, and so on, so that a steady drift of the machine's speed cancels out.

    Args:
      batches: of each source, by its name.
      steps: at least so many are timed with each source.
    """
    first, second = batches
    block = min(BLOCK, steps)
    rounds = math.ceil(steps / (2 * block))
    seconds: dict[str, list[float]] = {name: [] for name in batches}
    for name in (first, second, second, first) * rounds:
        for _ in range(AHEAD):
            call(*next(batches[name]))
        for _ in range(block):
            began = time.perf_counter()
            call(*next(batches[name]))
            seconds[name].append(time.perf_counter() - began)
    return {name: batch_size / float(np.mean(taken)) for name, taken in seconds.items()}


if __name__ == "__main__":
    run(main)
