"""Every benchmark that the README names runs, on small sets and for few steps."""

import subprocess

import pytest
from conftest import run
from test_readme import COMMANDS, shrunk

BENCHMARKS = [line for line in COMMANDS if line.startswith("python benchmarks/")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where there are the two sets that most of them need."""
    folder = tmp_path_factory.mktemp("benchmarks")
    for split in ("train", "validation"):
        assert run("captcha_producer.py", "-n", 200, "-p", f"images/{split}", cwd=folder).returncode == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("line", BENCHMARKS)
def test_it_runs(folder, line):
    done = subprocess.run(shrunk(line), cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout
