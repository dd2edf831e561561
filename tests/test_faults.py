"""Nothing lost, nothing silently wrong: a short run of the fault suite (`make faults` is the long one)."""

import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.mark.slow
def test_32_faults_lose_nothing_and_none_is_silent():
    args = [sys.executable, str(ROOT / "tests" / "faults" / "faults.py"), "--count", "32", "--seed", "7"]
    done = subprocess.run(args, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout
