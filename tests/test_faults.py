"""Nothing lost, nothing silently wrong: short runs of the fault suite (`make faults` is the long one)."""

import subprocess
import sys

import pytest
from conftest import ROOT


def inject(count: int) -> subprocess.CompletedProcess:
    words = [sys.executable, str(ROOT / "tests" / "faults" / "faults.py"), "--count", str(count), "--seed", "7"]
    return subprocess.run(words, capture_output=True, text=True, timeout=900)


def test_a_few_faults_lose_nothing_and_none_is_silent():
    done = inject(6)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_a_hundred_faults_of_all_kinds_lose_nothing_and_none_is_silent():
    done = inject(100)
    assert done.returncode == 0, done.stdout
