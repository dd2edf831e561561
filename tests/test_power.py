"""A power cut loses nothing that was acknowledged: short runs of the harness (`make power` is the long one)."""

import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import captcha_export
from captcha_runs.checkpoint_files import set_aside
from captcha_sets.files import make_folder, write_text

import pytest
from conftest import ROOT

POWER = ROOT / "tests" / "power"
sys.path.insert(0, str(POWER))

from disk import State, states, torn  # noqa: E402
from journal import Journal  # noqa: E402
from recording import MISSING, STRACE, record, tree  # noqa: E402

RUN = ("best-6.index", "best-6.json", "ckpt-6.index", "ckpt-6.json", "log.jsonl")
strace_only = pytest.mark.skipif(not STRACE, reason=MISSING)


def cut(*words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(POWER / "power_cuts.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=900)


@strace_only
@pytest.mark.slow
def test_power_cuts_in_every_kind_of_save_lose_nothing():
    done = cut("--count", "20")
    assert done.returncode == 0, done.stdout


@strace_only
@pytest.mark.slow
def test_without_its_sync_a_typed_label_is_lost():
    done = cut("--only", "labels", "--without-sync", "20")
    lines = [line for line in done.stdout.splitlines() if line.startswith("labels without captcha_sets/files.py")]
    assert any(" lost" in line for line in lines), done.stdout


def states_of(function: Callable[[], object], folder: Path) -> list[State]:
    """What a power cut can leave of what a function does in folder/work."""
    (folder / "work").mkdir(exist_ok=True)
    before = tree(folder / "work")
    journal = Journal(before, record(function, folder / "work", folder), folder / "work", folder)
    assert journal.end() == tree(folder / "work")
    return list(states(journal, random.Random(1)))


@strace_only
def test_a_call_is_recorded_while_another_thread_makes_calls(tmp_path):
    def write() -> None:
        written = threading.Event()

        def read() -> None:
            while not written.is_set():
                Path("other").read_text()

        Path("other").touch()
        thread = threading.Thread(target=read)
        thread.start()
        for _ in range(30):
            write_text(Path("file"), "content")
        written.set()
        thread.join()

    (tmp_path / "work").mkdir()
    calls = record(write, tmp_path / "work", tmp_path)
    assert [call.name for call in calls].count("fsync") == 2 * 30  # the file, and its folder


@strace_only
def test_without_a_sync_a_new_file_may_have_its_name_without_its_content(tmp_path):
    def write() -> None:
        Path("new").write_text("content")
        Path("new").rename("file")

    found = [state.tree["file"] for state in states_of(write, tmp_path) if "file" in state.tree]
    assert sorted(found) == [b"", b"\0" * 7, b"content"]


@strace_only
def test_a_file_that_was_synced_before_it_was_renamed_is_there_as_a_whole_or_not_at_all(tmp_path):
    found = [state.tree.get("file") for state in states_of(lambda: write_text(Path("file"), "content"), tmp_path)]
    assert set(found) == {None, b"content"}


@strace_only
def test_a_new_folder_may_be_lost_with_all_that_is_synced_in_it_until_its_own_entry_is_synced(tmp_path):
    def write(make: Callable[[Path], object]) -> None:
        make(Path("a/b"))
        write_text(Path("a/b/file"), "content")
        print("said", flush=True)

    def kept(make: Callable[[Path], object], folder: Path) -> bool:
        folder.mkdir()
        return all("a/b/file" in state.tree for state in states_of(lambda: write(make), folder) if state.said)

    assert kept(make_folder, tmp_path / "synced")
    assert not kept(lambda path: path.mkdir(parents=True), tmp_path / "not")


@strace_only
def test_a_run_that_is_set_aside_is_never_in_two_halves_of_which_one_is_lost(tmp_path):
    (tmp_path / "work").mkdir()
    for name in RUN:
        (tmp_path / "work" / name).write_bytes(name.encode())
    for state in states_of(lambda: set_aside(Path(".")), tmp_path):
        found = {Path(path).name: content for path, content in state.tree.items() if content}
        assert found == {name: name.encode() for name in RUN}


@strace_only
def test_a_saved_model_is_there_as_a_whole_while_another_takes_its_place(tmp_path):
    (tmp_path / "work" / "saved_model" / "variables").mkdir(parents=True)
    (tmp_path / "work" / "saved_model" / "variables" / "data").write_bytes(b"earlier")

    def export() -> None:
        Path("new/variables").mkdir(parents=True)
        Path("new/variables/data").write_bytes(b"later")
        captcha_export._replace(Path("new"), Path("saved_model"))
        print("said", flush=True)

    for state in states_of(export, tmp_path):
        found = [state.tree.get(f"{name}/variables/data") for name in ("saved_model", "saved_model.old")]
        assert found[0] == b"later" if state.said else (found[0] or found[1]) in (b"earlier", b"later")


def test_a_part_of_the_data_ends_at_a_sector():
    assert torn(b"a" * 512, b"a" * 512 + b"b" * 512 + b"c")[1:4] == [
        b"a" * 512 + b"b" * 512,
        b"a" * 512 + b"b" * 512 + b"\0",
        b"a" * 512 + b"\0" * 512 + b"c",
    ]
