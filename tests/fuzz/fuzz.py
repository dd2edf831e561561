"""Read a hundred thousand broken and hostile inputs, each with the code that reads it in earnest.

    python tests/fuzz/fuzz.py --count 100000 --seed 1
    python tests/fuzz/fuzz.py --kinds picture model_network --count 2000

An input is made from a real one: see mutations.py. (seed, kind, number) decide it. It must be answered, or refused in
one line with status 2: no traceback, crash or hang, no time beyond worker.MAX_SECONDS or memory beyond worker.MAX_MB,
no file written elsewhere. It ends with a table, and with status 1 if there was a finding.
"""

import argparse
import functools
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # as the scripts set it
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from captcha_cli import run
from captcha_sets.drawing import produce
from captcha_sets.manifest import SPLITS
from captcha_sets.sheet import write_sheet

import inputs
import networks
import sets
from outcomes import FORK, outcomes
from rich.console import Console
from rich.table import Table
from worker import Outcome

ROOT = Path(__file__).parent.parent.parent
KINDS = {kind.__name__: kind for kind in (*sets.KINDS, *networks.KINDS, *inputs.KINDS)}


def prepare(base: Path) -> None:
    """Real files: two small sets, and a checkpoint."""
    os.chdir(base)
    for split in SPLITS:
        produce(split, sets.CONFIG)
        write_sheet(split, sets.CONFIG)
    shutil.copytree(ROOT / "weights" / "digits", base / "save")


class Tally:
    """What came of the inputs of one kind."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.seconds = self.megabytes = 0.0

    def add(self, outcome: Outcome) -> None:
        self.counts[outcome.kind] += 1
        self.seconds = max(self.seconds, outcome.seconds)
        self.megabytes = max(self.megabytes, outcome.megabytes)


def fuzz(kinds: list[str], count: int, seed: int, workers: int) -> dict[str, Tally]:
    """Read `count` inputs, the same number of each kind."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        preparing = FORK.Process(target=run, args=(functools.partial(prepare, base),))
        preparing.start()
        preparing.join()

        def read(kind: str) -> Tally:
            tally = Tally()
            for number, outcome in outcomes(KINDS[kind], range(-(-count // len(kinds))), base, f"{seed}/{kind}"):
                tally.add(outcome)
                if outcome.kind == "finding":
                    print(f"{kind}, number {number} of seed {seed}: {outcome.told[-3000:]}", flush=True)
            print(f"{kind}: {dict(tally.counts)}", file=sys.stderr, flush=True)
            return tally

        with ThreadPoolExecutor(workers) as pool:
            return dict(zip(kinds, pool.map(read, kinds), strict=True))


def print_tallies(tallies: dict[str, Tally]) -> None:
    table = Table("kind", "tried", "answered", "refused", "findings", "worst CPU time, s", "peak memory, MB")
    for kind, tally in tallies.items():
        counts = [tally.counts.total(), *(tally.counts[name] for name in ("answered", "refused", "finding"))]
        table.add_row(kind.replace("_", " "), *map(str, counts), f"{tally.seconds:.2f}", f"{tally.megabytes:.0f}")
    every = sum((tally.counts for tally in tallies.values()), Counter())
    table.add_row("all", str(every.total()), *(str(every[name]) for name in ("answered", "refused", "finding")))
    Console(width=120).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000, help="inputs, over all kinds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args()
    began = time.perf_counter()
    tallies = fuzz(args.kinds, args.count, args.seed, args.workers)
    print_tallies(tallies)
    print(f"{time.perf_counter() - began:.0f} s")
    return 1 if any(tally.counts["finding"] for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
