"""Which states a disk can be in when the power fails: a model of file systems, as weak as they may be.

states(journal, rng)            the distinct states, in the order of the calls after which the power fails
states(journal, rng, place)     the same, if the sync at this place were missing

The model is that of ALICE (Pillai et al., OSDI 2014, "All File Systems Are Not Created Equal"): calls persist in any
order, except as syncs say. CrashMonkey (Mohan et al., OSDI 2018, "Finding Crash-Consistency Bugs with Bounded Black-Box
Crash Testing") generates such states of real file systems; as there, the number of reorderings is bounded. In detail:

- fsync of a file makes its data and its size durable, not its entry in a folder. fsync of a folder makes the entries
  that were added to it and removed from it durable, neither the data of the files nor the folder's own entry.
- A change of entries (create, mkdir, link, rename, unlink, rmdir) persists as a whole or not at all. A rename between
  two folders is durable once the folder that it moves to is synced.
- Changes that are not durable persist in any subset and order, except that one needs the earlier ones of the same
  entry, and rmdir the removals from that folder. What lies in a folder whose own entry is lost is lost.
- Data that is not durable persists as a whole, not at all, or up to a boundary of sectors, with the new size or without
  it; later sectors may persist before earlier ones. What did not persist reads as it did before, or as zeros.
- A name can persist without its data, and data without its name. A sector is written as a whole. A mapped file that is
  written to would need more; none of ours is, and a recording with a call that the model does not have is refused.
"""

import functools
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from journal import ROOT, Change, Entry, Journal, apply, tree_of

SECTOR, BLOCK = 512, 4096  # bytes
FEW = 5  # changes of which all subsets are tried; of more, some
RANDOM_SUBSETS = 12  # of many changes, after each call


@dataclass(frozen=True)
class State:
    """What is on the disk after a power cut, path → content, None for a folder, and what the program had said."""

    tree: dict[str, bytes | None]
    said: str
    after: int  # the call


def states(journal: Journal, rng: random.Random, without: str | None = None) -> Iterator[State]:
    """Each distinct state, in the order of the calls.

    Args:
      without: a place in journal.syncs, whose syncs are left out.
    """
    syncs = [(call, inode) for call, inode, place in journal.syncs if place != without]
    seen, calls = set(), {-1, *(change.at for change in journal.changes)}
    calls |= {call for call, *_ in (*syncs, *journal.said, *itertools.chain(*journal.versions.values()))}
    for after in sorted(calls):
        said = "".join(text for call, text in journal.said if call <= after)
        synced = {inode: call for call, inode in syncs if call <= after}  # when last
        for tree in _trees(journal, after, synced, rng):
            state = State(tree, said, after)
            if digest(state) not in seen:
                seen.add(digest(state))
                yield state


def digest(state: State) -> int:
    """A hash of all that tells states from each other."""
    return hash((frozenset(state.tree.items()), state.said))


def _trees(journal: Journal, after: int, synced: dict[int, int], rng: random.Random) -> Iterator[dict]:
    entries, pending = _durable(journal, after, synced)
    now, parts = (
        {},
        {},
    )  # inode → its content; inode → what may be on the disk of it, first nothing, then the size alone
    for inode, versions in journal.versions.items():
        known = [(call, content) for call, content in versions if call <= after]
        unsynced = [content for call, content in known if call > synced.get(inode, -1)]
        if known:
            now[inode] = known[-1][1]
        if unsynced:
            durable = next((content for call, content in known[::-1] if call <= synced.get(inode, -1)), b"")
            parts[inode] = [durable, *torn(durable, unsynced[-1]), *unsynced[:2]]
    lost = now | {inode: part[0] for inode, part in parts.items()}
    sizes = now | {inode: part[1] for inode, part in parts.items()}
    for subset in subsets(pending, rng):
        changed = apply(dict(entries), subset)
        yield from (tree_of(changed, contents) for contents in (now, lost, sizes))
    changed = apply(dict(entries), pending)
    for inode, part in parts.items():
        yield from (tree_of(changed, now | {inode: content}) for content in part)


def _durable(journal: Journal, after: int, synced: dict[int, int]) -> tuple[dict[Entry, int], list[Change]]:
    """The entries that are durable after a call, and the changes that may persist besides."""
    changes = [change for change in journal.changes if change.at <= after]
    durable: set[int] = set()
    for change in reversed(changes):
        if change.at in durable or change.at < synced.get(change.folder, -1):
            durable |= {change.at, *change.needs}
    entries = apply(dict(journal.first), [change for change in changes if change.at in durable])
    pending = [change for change in changes if change.at not in durable]
    alive = {ROOT, *entries.values(), *(inode for change in pending for _, inode in change.added)}
    return entries, [change for change in pending if change.folder in alive]


def subsets(pending: list[Change], rng: random.Random) -> Iterator[list[Change]]:
    """Sets of changes that may have persisted: all of a few; of many, each prefix, all but one, one alone, and some."""
    numbers = [change.at for change in pending]
    if len(numbers) <= FEW:
        chosen = [set(some) for size in range(len(numbers) + 1) for some in itertools.combinations(numbers, size)]
    else:
        chosen = [set(numbers[:size]) for size in range(len(numbers) + 1)]
        chosen += [set(numbers) - {number} for number in numbers]
        chosen += [{number} for number in numbers]
        chosen += [{number for number in numbers if rng.random() < 0.5} for _ in range(RANDOM_SUBSETS)]
    for some in chosen:
        yield _possible(pending, some)


def _possible(pending: list[Change], chosen: set[int]) -> list[Change]:
    """The chosen changes, without those that need one that was not chosen."""
    lost, kept = {change.at for change in pending} - chosen, []
    for change in pending:
        if change.at in lost or change.needs & lost:
            lost.add(change.at)
        else:
            kept.append(change)
    return kept


@functools.lru_cache(maxsize=1000)
def torn(durable: bytes, current: bytes) -> list[bytes]:
    """What a file may hold of data that was not synced: first the new size alone, then parts of the data."""
    base = durable if current.startswith(durable) else b""
    padded = base.ljust(len(current), b"\0")
    parts = [padded]
    for unit in (SECTOR, BLOCK):
        ends = range((len(base) // unit + 1) * unit, len(current), unit)
        for end in {ends[0], ends[len(ends) // 2], ends[-1]} if ends else ():
            parts += [current[:end], current[:end] + padded[end:], padded[:end] + current[end:]]
    return parts
