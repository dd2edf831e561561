"""What recorded system calls did to a folder, in inodes, entries and contents.

journal = Journal(before, calls, folder, scratch)   replays a recording
journal.end()                                       what must be in the folder now
"""

import dataclasses
import itertools
import os
import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from recording import Call

Entry = tuple[int, str]  # (inode of a folder, name)
ROOT = 0  # the inode of the working folder


@dataclass(frozen=True)
class Change:
    """A change of folders' entries.

    Attributes:
      at: the number of the call.
      folder: the inode of the folder whose sync makes it durable.
      needs: numbers of the changes without which it cannot persist.
    """

    at: int
    folder: int
    removed: tuple[Entry, ...]
    added: tuple[tuple[Entry, int], ...]
    needs: frozenset[int]


class Journal:
    """What a recorded process did to a folder. Calls are numbered in their order; -1 is before them.

    Attributes:
      first: the entries before: entry → inode.
      changes: of entries.
      versions: inode of a file → (call, content) after each change of it.
      syncs: (call, inode, place); the place is the line of code, or what a library synced.
      said: (call, what was printed).
    """

    def __init__(self, before: dict[str, bytes | None], calls: list[Call], folder: Path, scratch: Path) -> None:
        """Raises ValueError where a call is not part of the model."""
        self._folder, self._told, self._placed = folder, str(scratch / "said"), str(scratch / "places")
        self._entries: dict[Entry, int] = {}
        self.versions: dict[int, list[tuple[int, bytes]]] = {}
        self._positions: dict[int, int] = {}
        self.changes: list[Change] = []
        self.syncs: list[tuple[int, int, str]] = []
        self.said: list[tuple[int, str]] = []
        self._inodes, self._place = itertools.count(1), ""
        for path, content in before.items():
            inode = next(self._inodes)
            self._entries[self._entry(path)] = inode
            if content is not None:
                self.versions[inode] = [(-1, content)]
        self.first = dict(self._entries)
        for number, call in enumerate(calls):
            self._replay(number, call)

    def _entry(self, path: str) -> Entry | None:
        """The entry of a path; None outside the working folder, and where its folder is not there."""
        relative = os.path.relpath(os.path.join(self._folder, path), self._folder)
        if relative.startswith(os.pardir):
            return None
        *folders, name = Path(relative).parts or ("",)
        inode = ROOT
        for folder in folders:
            inode = self._entries.get((inode, folder))
        return (inode, name)

    def _inode(self, path: str) -> int | None:
        entry = self._entry(path)
        return ROOT if entry == (ROOT, "") else self._entries.get(entry)

    def _replay(self, number: int, call: Call) -> None:
        if call.name == "write" and call.paths and call.paths[0] in (self._told, self._placed):
            self._hear(number, call)
            return
        handler = getattr(self, f"_{call.name.rstrip('264')}", None)
        ours = [path for path in call.paths if self._entry(path)]
        if handler:
            handler(number, call)
        elif ours and call.name != "mmap":
            raise ValueError(f"{call.name} of {ours[0]} is not part of the model")
        elif ours and "PROT_WRITE" in call.words[2] and "MAP_SHARED" in call.words[3]:
            raise ValueError(f"{ours[0]} is written through a memory map, which is not part of the model")

    def _hear(self, number: int, call: Call) -> None:
        if call.paths[0] == self._placed:
            self._place = call.data.decode()
        else:
            self.said.append((number, call.data.decode(errors="replace")))

    def _openat(self, number: int, call: Call) -> None:
        path, flags = os.path.join(*call.paths), call.words[2]
        entry, inode = self._entry(path), self._inode(path)
        if not entry or ("O_WRONLY" not in flags and "O_RDWR" not in flags):
            return
        if inode is None:
            inode = self._new(number, entry)
            self.versions[inode] = [(number, b"")]
        elif "O_TRUNC" in flags and self.versions[inode][-1][1]:
            self.versions[inode].append((number, b""))
        self._positions[inode] = -1 if "O_APPEND" in flags else 0

    def _new(self, number: int, entry: Entry) -> int:
        inode = next(self._inodes)
        self._change(number, entry[0], (), ((entry, inode),))
        return inode

    def _change(self, number: int, folder: int, removed: tuple, added: tuple, emptied: int | None = None) -> None:
        touched = {*removed, *(entry for entry, _ in added)}
        needs = frozenset(
            change.at
            for change in self.changes
            if touched & {*change.removed, *(entry for entry, _ in change.added)}
            or emptied in {folder for folder, _ in change.removed}
        )
        self.changes.append(Change(number, folder, removed, added, needs))
        apply(self._entries, [self.changes[-1]])

    def _mkdir(self, number: int, call: Call) -> None:
        if entry := self._entry(os.path.join(*call.paths)):
            self._new(number, entry)

    _mkdirat = _mkdir

    def _unlinkat(self, number: int, call: Call) -> None:
        if entry := self._entry(os.path.join(*call.paths)):
            self._change(number, entry[0], (entry,), (), self._entries[entry])

    _unlink = _rmdir = _unlinkat

    def _rename(self, number: int, call: Call) -> None:
        half = len(call.paths) // 2
        old, new = (self._entry(os.path.join(*paths)) for paths in (call.paths[:half], call.paths[half:]))
        if old and new:
            self._change(number, new[0], (old,), ((new, self._entries[old]),))
        elif old or new:
            raise ValueError(f"{call.paths} is moved across the edge of the folder, which is not part of the model")

    _renameat = _rename

    def _write(self, number: int, call: Call) -> None:
        inode = call.paths and self._inode(call.paths[0])
        if inode:
            content, at = self.versions[inode][-1][1], self._positions[inode]
            offset = int(call.words[-1]) if call.name.startswith("p") else len(content) if at < 0 else at
            written = call.data[: call.result]
            after = content.ljust(offset, b"\0")[:offset] + written + content[offset + len(written) :]
            self.versions[inode].append((number, after))
            if at >= 0 and not call.name.startswith("p"):
                self._positions[inode] = offset + len(written)

    _writev = _pwrite = _write

    def _sendfile(self, number: int, call: Call) -> None:
        source, start = self._inode(call.paths[1]), int(re.findall(r"\d+", call.words[2])[0])
        copied = self.versions[source][-1][1][start : start + call.result]
        self._write(number, dataclasses.replace(call, name="write", data=copied))

    def _lseek(self, number: int, call: Call) -> None:
        inode = call.paths and self._inode(call.paths[0])
        if inode and self._positions.get(inode, -1) >= 0:
            self._positions[inode] = call.result

    def _ftruncate(self, number: int, call: Call) -> None:
        inode, size = call.paths and self._inode(call.paths[0]), int(call.words[-1])
        if inode:
            self.versions[inode].append((number, self.versions[inode][-1][1][:size].ljust(size, b"\0")))

    _truncate = _ftruncate

    def _fsync(self, number: int, call: Call) -> None:
        inode = call.paths and self._inode(call.paths[0])
        if inode is not None and call.paths:
            place = self._place or f"a library, {os.path.relpath(call.paths[0], self._folder)}"
            self.syncs.append((number, inode, place))
        self._place = ""

    _fdatasync = _fsync

    def end(self) -> dict[str, bytes | None]:
        """What is in the folder after the last call."""
        return tree_of(self._entries, {inode: versions[-1][1] for inode, versions in self.versions.items()})


def apply(entries: dict[Entry, int], changes: Collection[Change]) -> dict[Entry, int]:
    """Change the entries, and return them."""
    for change in changes:
        for entry in change.removed:
            entries.pop(entry, None)
        entries.update(change.added)
    return entries


def tree_of(entries: dict[Entry, int], contents: dict[int, bytes]) -> dict[str, bytes | None]:
    """path → content, None for a folder. What has no content is a folder."""
    inside = defaultdict(list)
    for (folder, name), inode in entries.items():
        inside[folder].append((name, inode))
    found, todo = {}, [("", ROOT)]
    while todo:
        above, folder = todo.pop()
        for name, inode in inside[folder]:
            found[above + name] = contents.get(inode)
            if inode not in contents:
                todo.append((f"{above}{name}/", inode))
    return found
