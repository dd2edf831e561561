"""Inject real faults into real runs, and see that nothing is lost and nothing silently wrong.

    python tests/faults/faults.py --count 1000 --seed 1
    python tests/faults/faults.py --first 500 --count 500 --seed 1      the second half of them

Each fault is a run of its own, in processes of its own, on a small captcha: killed, signalled, cut, flipped, filled up
or mixed up at a place drawn from (seed, number). What came of it is one of

    recovered   the work continued, and its end is that of an undisturbed run, byte for byte
    refused     one line said what is wrong, status 2, and nothing had changed on the disk
    lost        something that was reported as done is gone: must be 0
    silent      it continued with wrong data, or ended with other weights: must be 0

It ends with a table of these, and with status 1 where anything was lost or silent.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # as the scripts set it
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent.parent))

import captcha_data
import captcha_train
from captcha_cli import run
from captcha_config import Config
from captcha_runs import checkpoint_files
from captcha_sets.drawing import produce
from captcha_sets.files import read_checksummed, sha256
from captcha_sets.manifest import SPLITS, read_manifest

from conftest import files, in_folder
from rich.console import Console
from rich.table import Table

FORK = multiprocessing.get_context("fork")  # TensorFlow is imported once, here, and started in the children only


class Work:
    """A folder of one's own with the sets and, where asked for, a finished run in it; and what runs in it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.config = in_folder(folder)

    def start(self, function: Callable, *args, before: Callable | None = None, **kwargs):
        """A process, like the script's own: one line and a status for an error, what it says in the file `said`."""

        def main() -> None:
            with open(self.folder / "said", "a") as said:
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
            sys.stdout = sys.stderr = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
            if before:
                before()
            try:
                run(lambda: function(*args, **kwargs))
            except SystemExit as end:
                os._exit(end.code if isinstance(end.code, int) else 0)

        process = FORK.Process(target=main)
        process.start()
        return process

    def train(self, config: Config | None = None, **how):
        return self.start(captcha_train.train, config or self.config, **how)

    def produce(self, config: Config | None = None, **how):
        return self.start(produce, "train", config or self.config, **how)

    def produce_another(self, **how):
        return self.produce(replace(self.config, seed=2), **how)

    def decode(self):
        return self.start(decode, self.config)

    def said(self) -> str:
        path = self.folder / "said"
        return path.read_text() if path.exists() else ""

    def saved(self) -> int:
        """The last step that was acknowledged as saved."""
        return max((int(step) for step in re.findall(r"^step (\d+)/.*  saved$", self.said(), re.M)), default=0)

    def state(self) -> dict[str, bytes]:
        return {name: content for name, content in files(self.folder).items() if name not in ("said", "save/.trainer")}

    def pixels(self, split: str) -> Path:
        return self.folder / "tfrecords" / f".{split}.pixels.npy"


def decode(config: Config) -> None:
    for split in SPLITS:
        captcha_data.open_pixels(read_manifest(split, config), config)


def finish(process, seconds: float = 120) -> int:
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError("it hung")
    return process.exitcode


class Faults:
    """The faults, a method each: (work, rng) → "recovered", "refused", "lost" or "silent"."""

    def __init__(self, base: Path):
        self.base = base
        work = Work(base)
        for split in SPLITS:
            assert finish(work.start(produce, split, work.config)) == 0
        self.sets = work.state()
        assert finish(work.train()) == 0, work.said()
        self.end = self.weights(work)
        self.best = self.weights(work, checkpoint_files.BEST)

    def weights(self, work: Work, name: str = checkpoint_files.LATEST) -> dict:
        with contextlib.redirect_stderr(io.StringIO()):
            metadata = checkpoint_files.newest(Path(work.config.save_dir), name)
        data = {file: digest for file, digest in metadata["files"].items() if ".data" in file}
        return {"step": metadata["step"], "best": metadata["best"], "data": data}

    def outcome(self, work: Work, at_least: int = 0, **how) -> str:
        """Train to the end, and compare it with the undisturbed run's."""
        before = len(work.said())
        if finish(work.train(**how)) != 0:
            return "lost"
        told = work.said()[before:]
        resumed = int(re.search(r"(?:resuming from|starting at) step (\d+)", told)[1])
        if resumed < at_least:
            return "lost"
        same = self.weights(work) == self.end and self.weights(work, checkpoint_files.BEST) == self.best
        return "recovered" if same else "silent"

    def refused(self, work: Work, start: Callable) -> str:
        """Start it. Was it refused in one line with status 2, nothing having changed?"""
        before, told = work.state(), len(work.said())
        status = finish(start())
        errors = [line for line in work.said()[told:].splitlines() if "error: " in line]
        if status == 0:
            return "silent"
        return "refused" if (status, len(errors)) == (2, 1) and work.state() == before else "lost"

    # Stopped

    def killed_while_training(self, work: Work, rng: random.Random) -> str:
        process = work.train()
        wait(lambda: "starting at" in work.said() or not process.is_alive())
        time.sleep(rng.random() * 1.6)
        process.kill()
        process.join()
        return self.outcome(work, at_least=work.saved())

    def killed_while_decoding(self, work: Work, rng: random.Random) -> str:
        process = work.decode()
        time.sleep(rng.random() * 0.8)
        process.kill()
        process.join()
        return self.outcome(work)

    def killed_during_a_save(self, work: Work, rng: random.Random) -> str:
        """SIGKILL before the n-th call that changes the folder, in the save of a random step."""
        process = work.train(before=lambda: kill_before_call(rng.randrange(1, 180)))
        finish(process)
        return self.outcome(work, at_least=work.saved())

    def signalled_while_training(self, work: Work, rng: random.Random) -> str:
        number = rng.choice([signal.SIGTERM, signal.SIGINT])
        process = work.train()
        wait(lambda: "starting at" in work.said() or not process.is_alive())
        time.sleep(rng.random() * 1.6)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
        status = finish(process)
        stopped = re.search(r"stopped by \w+ after step (\d+)", work.said())
        if stopped and status != 128 + number:
            return "lost"
        return self.outcome(work, at_least=int(stopped[1]) if stopped else 0)

    def killed_while_producing(self, work: Work, rng: random.Random) -> str:
        return self._stopped_while_producing(work, rng, signal.SIGKILL)

    def signalled_while_producing(self, work: Work, rng: random.Random) -> str:
        return self._stopped_while_producing(work, rng, rng.choice([signal.SIGTERM, signal.SIGINT]))

    def _stopped_while_producing(self, work: Work, rng: random.Random, number: int) -> str:
        process = work.produce_another()
        time.sleep(rng.random() * 1.2)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
        finish(process)
        return self._set_outcome(work)

    def killed_while_replacing_a_set(self, work: Work, rng: random.Random) -> str:
        """SIGKILL before the n-th call that changes a folder, among those that put the new set in its place."""
        process = work.produce_another(before=lambda: kill_before_call(rng.randrange(1, 30), after="sync"))
        finish(process)
        return self._set_outcome(work)

    def _set_outcome(self, work: Work) -> str:
        """The earlier set, the new one, or none: never half of one. Then the old one again, byte for byte."""
        if (work.folder / "tfrecords" / "train.json").exists() and not self._set_is_whole(work):
            return "silent"
        if finish(work.produce()) != 0:
            return "lost"
        return "recovered" if work.state() == self.sets else "silent"

    def _set_is_whole(self, work: Work) -> bool:
        manifest = read_checksummed(work.folder / "tfrecords" / "train.json")
        named = {shard["name"]: shard["sha256"] for shard in manifest["shards"]}
        there = {path.name: sha256(path) for path in (work.folder / "tfrecords").glob("train-*")}
        return named == there and len(list((work.folder / "images" / "train").glob("*.png"))) == manifest["count"]

    def killed_while_setting_aside(self, work: Work, rng: random.Random) -> str:
        """SIGKILL before the n-th call that changes the folder: the next start moves the rest of the earlier run."""
        finish(work.train(replace(work.config, shift=1, max_steps=4)))
        earlier = files(work.folder / "save")
        (work.folder / "said").unlink()
        number = rng.randrange(1, 16)
        finish(work.train(set_aside=True, before=lambda: kill_while_setting_aside(number)))
        outcome = self.outcome(work, at_least=work.saved(), set_aside=True)
        aside = sorted((work.folder / "save").glob("*before*"))
        whole = [path.name for path in aside] == ["before-1"] and files(aside[0]) == earlier
        return outcome if whole else "lost"

    # Filled up

    def disk_full_while_producing(self, work: Work, rng: random.Random) -> str:
        limit = rng.randrange(1000, 60_000)  # a shard is some 70,000 bytes
        return self.refused(work, lambda: work.produce_another(before=lambda: limit_files(limit)))

    def disk_full_while_saving(self, work: Work, rng: random.Random) -> str:
        """Full for good from a random save on: it trains to the end, says so and fails; with room it ends the same."""
        finish(work.train(replace(work.config, max_steps=4)))  # and images are decoded
        kept = work.saved()
        path = work.folder / "save"
        size = next(path.glob("ckpt-4.data*")).stat().st_size
        limit = rng.randrange(size // 4, size - 100)  # what is said fits in
        for file in path.glob("*"):
            file.is_file() and file.unlink()
        (work.folder / "said").unlink()
        status = finish(work.train(before=lambda: limit_files(limit)))
        errors = [line for line in work.said().splitlines() if "error: " in line]
        if kept != 4 or status != 2 or len(errors) != 1 or "warning: not saved" not in work.said():
            return "silent" if status == 0 else "lost"
        return self.outcome(work, at_least=work.saved())

    def disk_full_on_a_small_disk(self, work: Work, rng: random.Random) -> str:
        """A real file system of a few pages, where mounting is allowed: else the limit on files serves again."""
        save = work.folder / "save"
        save.mkdir(exist_ok=True)
        size = rng.randrange(60, 400)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", save], capture_output=True)
        if mounted.returncode:
            return self.disk_full_while_saving(work, rng)
        try:
            status = finish(work.train())
            saved = work.saved()
            if status == 0:  # there was room enough
                return self.outcome(work, at_least=saved)
            if status != 2 or "warning: not saved: No space left on device" not in work.said():
                return "lost"
            subprocess.run(["mount", "-o", "remount,size=10m", save], check=True)
            return self.outcome(work, at_least=saved)
        finally:
            subprocess.run(["umount", save], check=True)

    # Cut and flipped

    def damaged_checkpoint(self, work: Work, rng: random.Random, how: Callable, what: str) -> str:
        """One file of the newest checkpoints is damaged: the one before is taken, and the end is the same."""
        finish(work.train(replace(work.config, max_steps=12)))
        (work.folder / "said").unlink()
        save = work.folder / "save"
        damaged = save / f"ckpt-12{what}"
        before = damaged.read_bytes()
        how(damaged, rng)
        if damaged.exists() and damaged.read_bytes() == before:  # nothing was damaged
            return self.outcome(work)
        for file in save.glob("best-12.*"):
            file.unlink()  # it would be as good
        if self.weights(work)["step"] == 12:
            return "recovered" if self.weights(work) == self.end else "silent"
        outcome = self.outcome(work, at_least=10)
        return outcome if "damaged (" in work.said() else "silent"

    def all_checkpoints_damaged(self, work: Work, rng: random.Random) -> str:
        finish(work.train())
        for file in (work.folder / "save").glob(rng.choice(["*.data*", "*.index", "*.json"])):
            rng.choice([cut, flip_bits])(file, rng)
        return self.refused(work, work.train)

    def damaged_pixels(self, work: Work, rng: random.Random, how: Callable, what: str) -> str:
        """Decoded images, or the note about them, are damaged: they are decoded anew, at once or by a second run."""
        finish(work.decode())
        path = work.pixels(rng.choice(SPLITS)).with_suffix(what)
        before = path.read_bytes()
        how(path, rng)
        if path.exists() and path.read_bytes() == before:  # nothing was damaged
            return self.outcome(work)
        status = finish(work.train())
        if status == 2:
            lines = [line for line in work.said().splitlines() if "error: " in line]
            if len(lines) != 1 or "run the same command again" not in lines[0]:
                return "lost"
        elif status != 0:
            return "lost"
        return self.outcome(work, at_least=work.saved())

    def damaged_set(self, work: Work, rng: random.Random, how: Callable) -> str:
        how(rng.choice(sorted((work.folder / "tfrecords").glob("*.tfrecord"))), rng)
        return self.refused(work, work.train) if work.state() != self.sets else self.outcome(work)

    def damaged_set_after_a_check(self, work: Work, rng: random.Random) -> str:
        """Bits that flip in a file that was checked before: its time and size do not tell."""
        finish(work.decode())
        for split in SPLITS:
            work.pixels(split).unlink()
        flip_unnoticed(rng.choice(sorted((work.folder / "tfrecords").glob("*.tfrecord"))), rng)
        return self.refused(work, work.train)

    def damaged_set_after_decoding(self, work: Work, rng: random.Random) -> str:
        """The same once the images are decoded: nothing reads the file again."""
        finish(work.decode())
        flip_unnoticed(rng.choice(sorted((work.folder / "tfrecords").glob("*.tfrecord"))), rng)
        return self.outcome(work)

    def damaged_manifest(self, work: Work, rng: random.Random) -> str:
        path = work.folder / "tfrecords" / f"{rng.choice(SPLITS)}.json"
        values = json.loads(path.read_text())
        rng.choice([cut, flip_bits])(path, rng)
        with contextlib.suppress(ValueError):
            if json.loads(path.read_text()) == values:  # a flip that means the same
                return self.outcome(work)
        return self.refused(work, work.train)

    def extra_shard(self, work: Work, rng: random.Random) -> str:
        """What is not in the manifest does not exist."""
        shards = sorted((work.folder / "tfrecords").glob("*.tfrecord"))
        name = f"train-{rng.randrange(3, 99999):05}-of-{rng.randrange(1, 99999):05}.tfrecord"
        shutil.copy(rng.choice(shards), work.folder / "tfrecords" / name)
        return self.outcome(work)

    def exchanged_shards(self, work: Work, rng: random.Random) -> str:
        one, two = rng.sample(sorted((work.folder / "tfrecords").glob("train-*")), 2)
        content = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(content)
        return self.refused(work, work.train)

    # Mixed up

    def second_trainer(self, work: Work, rng: random.Random) -> str:
        first = work.train(replace(work.config, max_steps=1000, save_every=1000, eval_every=1000))
        wait(lambda: "starting at" in work.said() or not first.is_alive())
        time.sleep(rng.random() * 0.2)
        outcome = self.refused(work, work.train)
        named = f"process {first.pid} is training there" in work.said()
        first.kill()
        first.join()
        return outcome if named else "lost"

    def changed_config(self, work: Work, rng: random.Random) -> str:
        finish(work.train(before=lambda: kill_before_call(rng.randrange(60, 150))))  # in the middle of it
        if not work.saved():
            return self.outcome(work)
        checkpoint_files.sweep(work.folder / "save")  # as the next run does before it refuses
        changes = {"max_steps": 20, "learning_rate": 0.001, "seed": 2, "channels": (4, 9), "batch_size": 17, "shift": 1,
                   "label_smoothing": 0.2, "weight_decay": 0.1, "warmup_steps": 3}  # fmt: skip
        newest = checkpoint_files.newest(work.folder / "save", checkpoint_files.LATEST, checkpoint_files.BEST)
        if newest["step"] == work.config.max_steps:
            del changes["max_steps"]  # a finished run may be continued
        name = rng.choice(sorted(changes))
        return self.refused(work, lambda: work.train(replace(work.config, **{name: changes[name]})))

    def changed_characters(self, work: Work, rng: random.Random) -> str:
        order = list("0123")
        while "".join(order) == "0123":
            rng.shuffle(order)
        return self.refused(work, lambda: work.train(replace(work.config, characters="".join(order))))

    def swapped_size(self, work: Work, rng: random.Random) -> str:
        config = replace(work.config, width=work.config.height, height=work.config.width)
        return self.refused(work, lambda: work.train(config))

    def another_set(self, work: Work, rng: random.Random) -> str:
        """The config fits the new set, but the run did not begin with it."""
        config = replace(work.config, train_count=rng.randrange(40, 100))
        finish(work.train(replace(work.config, max_steps=4)))
        finish(work.produce(config))
        outcome = self.refused(work, lambda: work.train(config))
        return outcome if "cannot be resumed: " in work.said() else "silent"

    def another_set_than_the_configs(self, work: Work, rng: random.Random) -> str:
        finish(work.produce(replace(work.config, seed=rng.randrange(2, 1000))))
        return self.refused(work, work.train)

    def kinds(self) -> dict[str, Callable]:
        """Name → fault. The same fault at several places is several kinds."""
        single = (
            "killed_while_training", "killed_while_decoding", "killed_during_a_save", "signalled_while_training",
            "killed_while_producing", "signalled_while_producing", "killed_while_replacing_a_set",
            "killed_while_setting_aside", "disk_full_while_producing", "disk_full_while_saving",
            "disk_full_on_a_small_disk", "all_checkpoints_damaged", "damaged_set_after_a_check",
            "damaged_set_after_decoding", "damaged_manifest", "extra_shard", "exchanged_shards", "second_trainer",
            "changed_config", "changed_characters", "swapped_size", "another_set", "another_set_than_the_configs",
        )  # fmt: skip
        kinds = {name: getattr(self, name) for name in single}
        files_of = {"data": ".data-00000-of-00001", "index": ".index", "metadata": ".json"}
        for how in (cut, flip_bits, remove):
            for name, what in files_of.items():
                kinds[f"checkpoint {name} {how.__name__}"] = lambda work, rng, how=how, what=what: (
                    self.damaged_checkpoint(work, rng, how, what)
                )
            for name, what in {"pixels": ".npy", "note of pixels": ".json"}.items():
                kinds[f"{name} {how.__name__}"] = lambda work, rng, how=how, what=what: self.damaged_pixels(
                    work, rng, how, what
                )
        for how in (cut, cut_between_records, flip_bits, remove):
            kinds[f"shard {how.__name__}"] = lambda work, rng, how=how: self.damaged_set(work, rng, how)
        return kinds


def wait(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.005)


def cut(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def cut_between_records(path: Path, rng: random.Random) -> None:
    """The cut that a TFRecord reader cannot see."""
    content, ends, at = path.read_bytes(), [0], 0
    while at < len(content):
        at += 8 + 4 + int.from_bytes(content[at : at + 8], "little") + 4
        ends.append(at)
    path.write_bytes(content[: rng.choice(ends[:-1])])


def flip_bits(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 2, 8])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def flip_unnoticed(path: Path, rng: random.Random) -> None:
    """Flip one bit, as a disk does: the file keeps its size and its time."""
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    with open(path, "r+b") as file:
        file.write(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def remove(path: Path, rng: random.Random) -> None:
    path.unlink()


def limit_files(size: int) -> None:
    """No file of this process can grow over `size` bytes: the system's own error, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def kill_before_call(number: int, after: str | None = None) -> None:
    """SIGKILL this process before its n-th call that changes a folder (from the first `sync` on, where asked for)."""
    calls, begun = 0, after is None

    def counted(function: Callable) -> Callable:
        def call(*args, **kwargs):
            nonlocal calls, begun
            begun = begun or function is fsync
            calls += begun
            if calls == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    fsync = os.fsync
    os.fsync = counted(os.fsync)
    for name in ("replace", "rename", "unlink", "mkdir"):
        setattr(Path, name, counted(getattr(Path, name)))
    shutil.rmtree = counted(shutil.rmtree)


def kill_while_setting_aside(number: int) -> None:
    """SIGKILL this process before the n-th call that changes a folder, from the moment that a run is set aside."""
    set_aside = checkpoint_files.set_aside

    def killed(folder: Path) -> Path:
        kill_before_call(number)
        return set_aside(folder)

    checkpoint_files.set_aside = killed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=1000, help="faults to inject")
    parser.add_argument("--first", type=int, default=0, help="number of the first fault, to run them in pieces")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="kinds whose name has this in it")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args()
    table = {outcome: Counter() for outcome in ("recovered", "refused", "lost", "silent")}
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch) / "base"
        base.mkdir()
        faults = Faults(base)
        shutil.rmtree(base / "save")
        for note in base.rglob("*.checked"):
            note.unlink()
        kinds = {name: fault for name, fault in faults.kinds().items() if not args.only or args.only in name}

        def inject(i: int) -> None:
            name = list(kinds)[i % len(kinds)]
            folder = Path(scratch) / f"{i}"
            for part in ("images", "tfrecords"):
                shutil.copytree(base / part, folder / part)
            work = Work(folder)
            try:
                outcome = kinds[name](work, random.Random(f"{args.seed}/{i}"))
            except Exception as error:
                outcome, told = "silent", repr(error)
            else:
                told = work.said()
            table[outcome][name] += 1
            if outcome in ("lost", "silent"):
                print(f"{outcome}: {name}, number {i} of seed {args.seed}\n{told[-2000:]}", flush=True)
            shutil.rmtree(folder)

        with ThreadPoolExecutor(args.workers) as pool:
            for done, _ in enumerate(pool.map(inject, range(args.first, args.first + args.count)), 1):
                if done % 100 == 0:
                    print(f"{done} of {args.count}", file=sys.stderr, flush=True)
    sheet = Table("fault", "injected", "recovered exactly", "refused clearly", "lost", "silent")
    rows = [(name, *(table[outcome][name] for outcome in table)) for name in kinds]
    for name, *counts in [*rows, ("all", *(sum(table[outcome].values()) for outcome in table))]:
        sheet.add_row(name.replace("_", " "), *map(str, [sum(counts), *counts]))
    Console(width=120).print(sheet)
    return 1 if table["lost"] or table["silent"] else 0


if __name__ == "__main__":
    sys.exit(main())
