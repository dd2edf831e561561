"""Broken and hostile inputs: a short run of every kind (`make fuzz` is the long one), and what counts as a finding."""

import ctypes
import faulthandler
import sys
import time
from pathlib import Path

from captcha_cli import UserError

import pytest
from conftest import ROOT, run

sys.path.insert(0, str(ROOT / "tests" / "fuzz"))

import outcomes


@pytest.mark.slow
def test_a_few_inputs_of_every_kind_are_answered_or_refused_in_one_line(tmp_path):
    done = run("tests/fuzz/fuzz.py", "--count", 48, cwd=tmp_path)
    assert done.returncode == 0, done.stdout


def bug(work, mutator):
    if mutator.rng:
        raise KeyError("a bug")


def crash(work, mutator):
    if mutator.rng:
        faulthandler.disable()  # this crash is meant: pytest need not print a traceback of it
        ctypes.string_at(0)


def hang(work, mutator):
    if mutator.rng:
        time.sleep(60)


def hoard(work, mutator):
    if mutator.rng:
        bytearray(b"x") * 400_000_000


def trespass(work, mutator):
    if mutator.rng:
        (work.parent / "elsewhere").write_text("")


def mumble(work, mutator):
    if mutator.rng:
        print("what is this?", file=sys.stderr)


def refuse_all(work, mutator):
    raise UserError("refused")


@pytest.mark.parametrize(
    ("reader", "problem"),
    [
        (bug, "KeyError: 'a bug'"),
        (crash, "crashes: exit status -11"),
        (hoard, "took 39"),
        (trespass, "open ("),
        (mumble, "it prints 'what is this?"),
        (refuse_all, "refuses what is sound"),
    ],
)
def test_what_must_not_happen_is_a_finding(reader, problem, tmp_path):
    (outcome,) = run_reader(reader, tmp_path)
    assert outcome.kind == "finding"
    assert problem in outcome.told


def test_a_hang_is_a_finding_and_the_next_input_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(outcomes, "PATIENCE", 1)
    found = run_reader(hang, tmp_path, 2)
    assert [outcome.told for outcome in found] == ["hangs: more than 1 seconds"] * 2


def read_well(work, mutator):
    assert (work / "file").read_text() == "content"
    if mutator.rng and mutator.rng.random() < 0.5:
        raise UserError("refused")


def test_answers_and_refusals_are_counted(tmp_path):
    (tmp_path / "file").write_text("content")
    assert {outcome.kind for outcome in run_reader(read_well, tmp_path, 20)} == {"answered", "refused"}


def run_reader(reader, base: Path, count: int = 1) -> list:
    return [outcome for _, outcome in outcomes.outcomes(reader, range(count), base, "test")]
