"""How cost grows: with the number of processes, and with the size of a set. For the producer and for the trainer.

    python benchmarks/scale.py [--counts 3000 30000 300000] [--workers 1 2] [--steps 200]

Draws the sets, on as many processes as --workers says last (the smallest one on each number), and trains on each for
so many steps; sets over --memory_budget are streamed. Then steps on the smallest set, in memory and streamed, in turns.
"""

import argparse
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import captcha_data
import captcha_log
import captcha_model
import captcha_optimizer
import captcha_stream
import captcha_train
from captcha_config import Config, run

import keras
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
BLOCK = 25  # steps in a turn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[3000, 30_000, 300_000], help="captchas in the sets")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="processes that draw, or train")
    parser.add_argument("--steps", type=int, default=200, help="of training")
    parser.add_argument("--memory_budget", type=int, default=200, help="MiB, for the largest set")
    args = parser.parse_args()
    console = Console(width=120, highlight=False)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        folder = Path(folder)
        table = Table("captchas", "processes that draw", "seconds", "images/s", "MB")
        draw(folder, min(3000, args.counts[0]), args.workers[-1], "validation")
        for count, workers in [(args.counts[0], n) for n in args.workers[:-1]] + [
            (count, args.workers[-1]) for count in args.counts
        ]:
            seconds = draw(folder, count, workers)
            size = sum(path.stat().st_size for path in (folder / str(count)).glob("train*.tfrecord")) / 1e6
            table.add_row(str(count), str(workers), f"{seconds:.0f}", f"{count / seconds:.0f}", f"{size:.0f}")
        console.print(table)

        trained = []  # all of it before this process takes memory: a child's peak is at least its parent's at its start
        for count, workers in [(count, 1) for count in args.counts] + [
            (args.counts[0], n) for n in args.workers if n > 1
        ]:
            budget = args.memory_budget if count == args.counts[-1] else Config.memory_budget
            config = Config(tfrecords_dir=str(folder / str(count)), memory_budget=budget)
            trained.append((config, count, workers, *train(folder, config, args.steps, workers)))
        table = Table("captchas", "processes that train", "images", "images/s", "peak MB of each", "s to go on")
        for config, count, workers, rate, peak in trained:
            how = "in memory" if captcha_data.fits(captcha_data.read_manifest("train", config), config) else "streamed"
            table.add_row(str(count), str(workers), how, f"{rate:.0f}", f"{peak:.0f}", f"{going_on(config):.1f}")
        console.print(table)
        configs = {count: config for config, count, workers, *_ in trained if workers == 1}
        compare(console, configs[args.counts[-1]], configs[args.counts[0]])


def draw(folder: Path, count: int, workers: int, split: str = "train") -> float:
    """Seconds for the whole command, from nothing to a set."""
    records = folder / (str(count) if split == "train" else split)
    words = [sys.executable, ROOT / "captcha_producer.py", "-n", count, "-p", folder / "images" / split, "--no-images"]
    words += ["--workers", workers, "--tfrecords_dir", records]
    began = time.perf_counter()
    subprocess.run(list(map(str, words)), check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    if split == "train":
        for path in (folder / "validation").glob("validation*"):
            (records / path.name).unlink(missing_ok=True)
            os.link(path, records / path.name)
    return seconds


def train(folder: Path, config: Config, steps: int, workers: int) -> tuple[float, float]:
    """Images a second of the trainer, and the most memory that one of its processes took, MB."""
    save = folder / f"save-{Path(config.tfrecords_dir).name}-{workers}"
    words = [sys.executable, ROOT / "captcha_train.py", "--tfrecords_dir", config.tfrecords_dir, "--save_dir", save]
    words += ["--memory_budget", config.memory_budget, "--max_steps", steps, "--eval_every", steps]
    words += ["--save_every", steps, "--warmup_steps", 2]
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(workers)]
    environment = dict(os.environ)
    processes = []
    for index in range(workers):
        if workers > 1:
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            environment["TF_CONFIG"] = json.dumps(task)
        log = open(f"{save}-{index}.txt", "w")  # noqa: SIM115
        processes.append(subprocess.Popen(list(map(str, words)), env=environment, stdout=log, stderr=log))
    peaks = []
    for process in processes:
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit(Path(f"{save}-0.txt").read_text())
        peaks.append(usage.ru_maxrss / 1e3)
    return captcha_log.read(save)[-1]["images_per_second"], max(peaks)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def going_on(config: Config, step: int = 1234) -> float:
    """Seconds from nothing to the batch of a step in the middle of an epoch; decoding and checking were done before."""
    manifest = captcha_data.read_manifest("train", config)
    began = time.perf_counter()
    if captcha_data.fits(manifest, config):
        batches = captcha_data.training_batches(*captcha_data.load("train", config), step, config)
    else:
        batches = captcha_stream.batches(manifest, step, config)
    next(iter(batches))
    return time.perf_counter() - began


def compare(console: Console, large: Config, small: Config) -> None:
    """Steps on images in memory and on streamed ones, in turns."""
    keras.utils.set_random_seed(small.seed)
    model = captcha_model.build(small)
    step = captcha_train.build_train_step(model, captcha_optimizer.build(model, small), small)
    kinds = {"in memory": iter(captcha_data.training_batches(*captcha_data.load("train", small), 0, small))}
    manifest = captcha_data.read_manifest("train", large)
    if captcha_data.fits(manifest, large):
        return
    kinds["streamed"] = iter(captcha_stream.batches(manifest, 0, large))
    seconds = {name: [] for name in kinds}
    for name in itertools.chain(*[("in memory", "streamed", "streamed", "in memory")] * 8):
        step(*next(kinds[name]))  # what was read ahead in the other's turn
        for _ in range(BLOCK):
            began = time.perf_counter()
            step(*next(kinds[name]))
            seconds[name].append(time.perf_counter() - began)
    rates = {name: small.batch_size / statistics.mean(taken) for name, taken in seconds.items()}
    console.print("in turns: " + ", ".join(f"{name} {rate:.0f} images/s" for name, rate in rates.items()), end="")
    console.print(f" ({rates['streamed'] / rates['in memory'] - 1:+.1%})")


if __name__ == "__main__":
    run(main)
