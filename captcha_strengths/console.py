"""What the command prints: the plan, each measurement as it ends, and the results."""

import itertools
from collections.abc import Mapping, Sequence

from captcha_runs.metrics import wilson_interval
from captcha_sets.sheet import print_table
from captcha_strengths.cells import Cell, Measurement
from captcha_strengths.humans import Human
from captcha_strengths.words import duration

from rich.table import Table


def print_plan(planned: Sequence[Cell], measured: dict[str, Measurement], seconds: float) -> None:
    table = Table("setting", "start", "labels", "seeds", "measured")
    for (pool, start), group in itertools.groupby(planned, key=lambda cell: (cell.pool.name, cell.start)):
        group = list(group)
        sizes, seeds = (dict.fromkeys(getattr(cell, name) for cell in group) for name in ("labels", "seed"))
        table.add_row(pool, start, " ".join(map(str, sizes)), " ".join(map(str, seeds)), _done(group, measured))
    print_table(table)
    print(f"{len(planned)} trainings, {_done(planned, measured)} measured; about {duration(seconds)} left")


def print_measured(cell: Cell, planned: Sequence[Cell], measured: Mapping[str, Measurement], left: float) -> None:
    """Print a measurement, and the estimated seconds that are left."""
    each = measured[cell.key]
    low, high = wilson_interval(each.correct, each.count)
    read = f"{each.accuracy:.2%} of {each.count} ({low:.2%} to {high:.2%}) after {each.seconds:.0f} s"
    print(f"{_done(planned, measured)}  {cell}: {read}; about {duration(left)} left", flush=True)


def _done(planned: Sequence[Cell], measured: Mapping[str, Measurement]) -> str:
    return f"{sum(cell.key in measured for cell in planned)} of {len(planned)}"


def print_people(people: Mapping[str, Human]) -> None:
    """Print what a person has read of each setting so far."""
    table = Table("setting", "captchas read", "accuracy", "95 % interval", "character accuracy", "seconds a captcha")
    for name, human in people.items():
        low, high = human.interval
        characters = f"{human.correct_characters / human.characters:.2%} of {human.characters}"
        seconds = f"{human.seconds_each:.1f}" if human.seconds else "–"
        read = f"{human.correct} of {human.shown}"
        table.add_row(name, read, f"{human.accuracy:.2%}", f"{low:.2%} to {high:.2%}", characters, seconds)
    print_table(table)


def print_found(values: dict) -> None:
    table = Table("setting", "start", "accuracy", "labels")
    for setting in values["settings"]:
        for curve in setting["curves"]:
            for answer in curve["answers"]:
                table.add_row(setting["name"], curve["start"], f"{answer['target']:.0%}", answer["words"])
    print_table(table)
    print(values["answer"])
