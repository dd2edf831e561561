"""Cut the power at every moment of real saves, and see what the program makes of every state that a disk may then have.

    python tests/power/power_cuts.py
    python tests/power/power_cuts.py --without-sync 40      leaves out one sync at a time, and tries 40 states of each

strace records what a save really does. `disk` says which states may be left by a power cut; each is laid out as a
working folder, and the program goes on in it, in a process of its own. What came of it is one of

    recovered   it went on with all that was acknowledged, and with the right data
    refused     one line said what is wrong, status 2, and nothing was removed
    lost        something that was acknowledged is gone: must be 0
    silent      wrong data was taken for right: must be 0
    traceback   it crashed: must be 0

It ends with a table of these, and with status 1 where anything was lost, silent or crashed. With --without-sync it
prints what each sync protects: a sync without which nothing is lost is not needed.
"""

import argparse
import itertools
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # as the scripts set it
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from cases import LOST, REFUSED, SILENT, TRACEBACK, VERDICTS, Case, Labels, Pixels, Sets
from disk import State, digest, states
from journal import Journal
from recording import FORK, MISSING, STRACE, record, tree
from rich.console import Console
from rich.table import Table
from runs import Checkpoints, Exports

CASES = (Checkpoints(False), Checkpoints(True), Sets(False), Sets(True), Pixels(False), Pixels(True), Exports(None),
         Exports("weights/own"), Labels())  # fmt: skip
KINDS = tuple(dict.fromkeys(case.kind for case in CASES))
COUNT = 300  # states of each case
SHOWN, SHOWN_SAID = 2, 2000  # bad states of a case that are listed, and characters of what was said
BAD = (LOST, SILENT, TRACEBACK)
COMMANDS = 50  # states in which the real command goes on, started as a shell starts it
TOGETHER = 20  # trials that one process makes, one after the other
SECONDS = 600  # after which a process counts as hung


@dataclass(frozen=True)
class Trial:
    """A state, and how to go on in it."""

    case: Case
    state: State
    by_command: bool = False


def forked(function: Callable, case: Case, folder: Path) -> object:
    """The function's result, called as the case's script in a folder. TensorFlow starts in that process, never here."""
    with FORK.Pool(1, initializer=as_script, initargs=(case, folder, os.devnull)) as pool:
        return pool.apply_async(function).get(SECONDS)


def as_script(case: Case, folder: Path, told: str | Path) -> None:
    """Make this process the case's script, in a folder. What it says goes to the file `told`."""
    os.chdir(folder)
    sys.argv = [case.script, *case.words]
    said = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)


def recorded(case: Case, scratch: Path) -> Journal:
    """What a case does to its folder. Sets what is right before and after it."""
    folder = scratch / "work"
    folder.mkdir(parents=True)
    case.earlier = forked(case.prepare, case, folder)
    before = tree(folder)

    def act() -> None:
        sys.argv = [case.script, *case.words]
        case.act()

    journal = Journal(before, record(act, folder, scratch), folder, scratch)
    if journal.end() != tree(folder):
        raise RuntimeError(f"{case.kind}: the recorded calls do not explain what is in the folder")
    case.expected = forked(case.expect, case, folder)
    return journal


def spread(states: Iterable[State], count: int, rng: random.Random) -> list[State]:
    """At most `count` of the states, evenly from all calls."""
    after = [list(group) for _, group in itertools.groupby(states, key=lambda state: state.after)]
    for group in (after, *after):
        rng.shuffle(group)
    rounds = itertools.chain.from_iterable(itertools.zip_longest(*after))
    return list(itertools.islice(filter(None, rounds), count))


def examine(trial: Trial) -> tuple[str, str]:
    """(verdict, what was said) of a state."""
    case = trial.case
    scratch = Path(tempfile.mkdtemp())
    try:
        lay_out(trial.state, scratch / "work")
        as_script(case, scratch / "work", scratch / "told")
        try:
            verdict = case.examine(trial.state.said, case.command if trial.by_command else case.go_on)
        except Exception:
            verdict = TRACEBACK
            traceback.print_exc()
        if verdict == REFUSED and changed(trial.state, scratch / "work"):
            verdict = LOST
        sys.stderr.flush()
        return verdict, (scratch / "told").read_text(errors="replace")
    finally:
        shutil.rmtree(scratch)


def changed(state: State, folder: Path) -> bool:
    """Whether any of the state's files, but hidden ones, is not as it was."""
    now = tree(folder)
    return any(now.get(path, ...) != content for path, content in state.tree.items() if "/." not in f"/{path}")


def lay_out(state: State, folder: Path) -> None:
    folder.mkdir()
    for path, content in state.tree.items():
        if content is None:
            (folder / path).mkdir(parents=True, exist_ok=True)
        else:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)


def examined(trials: list[Trial], workers: int) -> Iterator[tuple[Trial, str, str]]:
    """Each trial, its verdict and what was said. A process starts TensorFlow once, for a few of them."""
    with FORK.Pool(workers, maxtasksperchild=TOGETHER) as pool:
        verdicts = pool.imap(examine, trials)
        for trial in trials:
            yield trial, *verdicts.next(SECONDS)


def all_states(cases: list[Case], count: int, workers: int, scratch: Path) -> bool:
    """Examine every state, and print the table. Returns whether nothing was lost, silent or crashed."""
    rng, trials, enumerated = random.Random(1), [], Counter()
    for number, case in enumerate(cases):
        found = list(states(recorded(case, scratch / str(number)), rng))
        enumerated[case.kind] += len(found)
        trials += [Trial(case, state) for state in spread(found, count, rng)]
    commanded = rng.sample(trials, min(COMMANDS, len(trials) // 10))
    trials += [Trial(trial.case, trial.state, by_command=True) for trial in commanded]
    table, seen = {kind: Counter() for kind in enumerated}, Counter()
    for done, (trial, verdict, said) in enumerate(examined(trials, workers), 1):
        table[trial.case.kind][verdict] += 1
        if verdict in BAD:
            seen[trial.case, verdict] += 1
            if seen[trial.case, verdict] <= SHOWN:
                report(trial, verdict, said)
        if done % 50 == 0:
            print(f"{done} of {len(trials)}", file=sys.stderr, flush=True)
    sheet = Table("of", "states", "tried", *VERDICTS)
    for kind, counts in [*table.items(), ("all", sum(table.values(), Counter()))]:
        found = enumerated[kind] or enumerated.total()
        sheet.add_row(kind, *map(str, [found, counts.total(), *(counts[verdict] for verdict in VERDICTS)]))
    Console(width=100).print(sheet)
    print(f"{len(commanded)} of them a second time, by the real commands")
    return not any(counts[verdict] for counts in table.values() for verdict in BAD)


def report(trial: Trial, verdict: str, said: str) -> None:
    """Print a state that was not recovered, and what was said."""
    print(f"{verdict}: {trial.case.kind} after call {trial.state.after}", "by command" if trial.by_command else "")
    for path, content in sorted(trial.state.tree.items()):
        print(f"  {path}/" if content is None else f"  {path} {len(content)} bytes")
    print(f"acknowledged:\n{trial.state.said}\nsaid:\n{said[-SHOWN_SAID:]}", flush=True)


def without_syncs(cases: list[Case], count: int, workers: int, scratch: Path) -> None:
    """Leave out one sync at a time, examine the states that are possible only then, and print what it protects."""
    for number, case in enumerate(cases):
        journal, rng = recorded(case, scratch / str(number)), random.Random(1)
        known = {digest(state) for state in states(journal, rng)}
        for place in dict.fromkeys(place for _, _, place in journal.syncs):
            new = (state for state in states(journal, rng, place) if digest(state) not in known)
            trials = [Trial(case, state) for state in spread(new, count, rng)]
            counts = Counter(verdict for _, verdict, _ in examined(trials, workers))
            outcome = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
            print(f"{case.kind} without {place}: {outcome}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=COUNT, help=f"states to try of each case; default: {COUNT}")
    parser.add_argument(
        "--without-sync", type=int, metavar="K", help="leave out one sync at a time; try K states of each"
    )
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="default: all")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args()
    if not STRACE:
        parser.error(MISSING)
    cases = [case for case in CASES if case.kind in args.only]
    with tempfile.TemporaryDirectory() as scratch:
        if args.without_sync:
            without_syncs(cases, args.without_sync, args.workers, Path(scratch))
            return 0
        return 0 if all_states(cases, args.count, args.workers, Path(scratch)) else 1


if __name__ == "__main__":
    sys.exit(main())
