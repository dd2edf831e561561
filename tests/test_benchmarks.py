"""Every benchmark that the pages name runs, on small sets and for few steps."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from conftest import CHROMIUM, ROOT, run

NEEDED = {  # programs and fonts that few machines have
    "development_styles.py": "/usr/share/fonts/truetype/clear-sans",
    "few_labels.py": "/usr/share/fonts/opentype/cabin",
    "labelling.py": CHROMIUM or "chromium",
    "starter.py": "/usr/share/fonts/opentype/cabin",
    "unseen_styles.py": "/usr/share/fonts/opentype/cabin",
    "wrong_labels.py": "/usr/share/fonts/opentype/cabin",
}
TIMEOUT = 400  # seconds; even reduced, some train networks much larger than the other tests do
REDUCED = {
    "development_styles.py": "",
    "few_labels.py": "--styles tiles --labels 20 --starts nothing --seeds 1 --max_steps 2",
    "gpu.py": "--batch_sizes 8 --steps 2 --max_steps 3",
    "growth.py": "--rounds 1",
    "labelling.py": "--folder 10 --labels 3",
    "logging_cost.py": "--blocks 1 --steps 2",
    "memory.py": "--minutes 0.05",
    "own_style.py": "--seeds 1 --max_steps 4 --held_out 20",
    "pixels.py": "--counts 100 --steps 2 --synthetic_gb 0.001 --folder .",
    "producer.py": "--count 100 --rounds 1",
    "reading.py": "--folder 50",
    "saving.py": "",
    "scale.py": "--counts 100 200 --workers 1 --steps 2",
    "sprint.py": "--seeds 1 2 --max_steps 3",
    "starter.py": "--count 10",
    "stock.py": "--count 20 --models letters",
    "summit.py": "--count 60 --models letters",
    "unseen_styles.py": "",
    "wrong_labels.py": "--styles hollow --labelled 40 --wrong 3 --max_steps 2",
    "yardstick.py": "",
}  # options given twice: the last ones count


def commands() -> list[str]:
    """The commands of the pages that run a benchmark, each once: lines of blocks of shell commands."""
    found = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
            lines = (line.strip().removeprefix(".venv/bin/") for line in block.splitlines())
            found += [line for line in lines if line.startswith("python benchmarks/")]
    return list(dict.fromkeys(found))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder with the two splits that most of them need."""
    folder = tmp_path_factory.mktemp("benchmarks")
    done = run("captcha_producer.py", "--train_count", 200, "--validation_count", 100, "--no-images", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("line", commands())
def test_the_command_runs_and_prints_figures(line, drawn, tmp_path):
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    before = {path.name for path in tmp_path.iterdir()}
    _, script, *options = shlex.split(line)
    name = script.removeprefix("benchmarks/")
    if not Path(NEEDED.get(name, ROOT)).exists():
        pytest.skip(f"{NEEDED[name]} is not installed")
    done = run(script, *options, *REDUCED[name].split(), cwd=tmp_path, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d", done.stdout)
    assert {path.name for path in tmp_path.iterdir()} - before <= {
        "own_style",
        "few_labels",
        "styles",
    }  # which one may want to look at


def test_every_benchmark_is_a_command_of_a_page():
    named = {shlex.split(line)[1] for line in commands()}
    assert named == {f"benchmarks/{path.name}" for path in (ROOT / "benchmarks").glob("*.py")}
