"""The cells of the grid: the trainings to measure, and their results.

cells = plan(pools, sizes, starts, seeds, typed)    one training each
measured = read(path)                               the results in a file, by the cell's key
append(path, measurement)                           add one; it is on the disk when this returns
seconds_left(cells, measured, paces)                an estimate
"""

import dataclasses
import json
import os
import statistics
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from captcha_cli import UserError
from captcha_config import Config
from captcha_predict.form import misfit
from captcha_runs import recipe, transfer
from captcha_sets.files import checksum, sync
from captcha_strengths.settings import Pool

NOTHING = "nothing"  # the start without another network
STARTER = "starter"  # the trained network to start from, as --init_from takes it
FORM = {
    "key": str, "setting": str, "labels": int, "start": str, "seed": int, "correct": int, "count": int, "seconds": float
}  # of a measurement  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One training: a number of labelled captchas, of one setting, from one start, with one seed."""

    pool: Pool
    labels: int
    start: str
    seed: int
    config: Config  # how to train
    network: str  # the fingerprint of the network it starts from; "" for none

    @property
    def key(self) -> str:
        """A digest of everything that decides the result."""
        values = {"captchas": self.pool.digest, "labels": self.labels, "training": self.config.experiment()}
        return checksum(values | {"network": self.network})[:16]

    @property
    def work(self) -> int:
        """Pixels that the training reads; its time is nearly proportional to them."""
        return self.config.max_steps * self.config.batch_size * self.config.width * self.config.height

    def __str__(self) -> str:
        return f"{self.pool.name}, {self.labels:,} labels, from {self.start}, seed {self.seed}"


@dataclass(frozen=True)
class Measurement:
    """The result of a cell."""

    key: str
    setting: str
    labels: int
    start: str
    seed: int
    correct: int  # held-out captchas that were read
    count: int  # all held-out captchas
    seconds: float  # of the training

    def __post_init__(self) -> None:
        if problem := misfit(dataclasses.asdict(self), FORM):
            raise ValueError(problem)
        if not 0 <= self.correct <= self.count or self.count < 1 or self.labels < 1:
            raise ValueError("its counts make no sense")

    @property
    def accuracy(self) -> float:
        """The captcha accuracy, 0 to 1."""
        return self.correct / self.count


def plan(
    pools: Iterable[Pool], sizes: Iterable[int], starts: Iterable[str], seeds: Iterable[int], typed: Collection[str]
) -> list[Cell]:
    """The cells, in the order in which they are measured: of each start, the smallest sizes first, with all seeds.

    Each uses the recipe for its number of labels.

    Args:
      typed: names of the fields that were typed; these stay as they are. Typed fields of the network apply only to the
        start from nothing, because any other start has its own network.
    Raises:
      UserError: a start names no network.
    """
    cells = []
    for pool in pools:
        for start in starts:
            begun = _starting(pool.config, start, typed)
            network = transfer.fingerprint(begun)
            for labels in sizes:
                for seed in seeds:
                    config = recipe.for_own_images(dataclasses.replace(begun, seed=seed), labels, typed)
                    cells.append(Cell(pool, labels, start, seed, config, network))
    return cells


def _starting(config: Config, start: str, typed: Collection[str]) -> Config:
    if start == NOTHING:
        return dataclasses.replace(config, init_from="")
    others = [name for name in typed if name not in (*transfer.NETWORK_FIELDS, "count_freely")]
    return transfer.like_network(dataclasses.replace(config, init_from=start), others)


def read(path: Path) -> dict[str, Measurement]:
    """The measurements in a file, by their keys. An incomplete last line, as a kill leaves it, is ignored.

    Raises:
      UserError: a line is damaged.
    """
    if not path.exists():
        return {}
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    found = {}
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            measurement = Measurement(**json.loads(line))
        except (ValueError, TypeError, RecursionError) as error:
            raise UserError(f"{path}: line {number} is damaged; remove the line to measure it again") from error
        found[measurement.key] = measurement
    return found


def drop_cut_line(path: Path) -> None:
    """Remove an incomplete last line, as a kill leaves it, so that the next result begins a new line."""
    if path.exists():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


def append(path: Path, measurement: Measurement) -> None:
    """Add a measurement to a file, and wait until it is on the disk."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(dataclasses.asdict(measurement), ensure_ascii=False) + "\n")
    sync(path)
    sync(path.parent)


def paces(cells: Iterable[Cell], measured: Mapping[str, Measurement]) -> dict[str, float]:
    """Seconds for a unit of work, for each start that has results."""
    known: dict[str, list[float]] = {}
    for cell in cells:
        if cell.key in measured:
            known.setdefault(cell.start, []).append(measured[cell.key].seconds / cell.work)
    return {start: statistics.mean(values) for start, values in known.items()}


def seconds_left(cells: Iterable[Cell], measured: Mapping[str, Measurement], pace: Mapping[str, float]) -> float:
    """An estimate of the seconds to measure the remaining cells.

    Args:
      pace: seconds for a unit of work, by start.
    """
    return sum(cell.work * pace[cell.start] for cell in cells if cell.key not in measured)
