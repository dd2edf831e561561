"""Every command in the README runs, as it is written but on smaller sets and for fewer steps."""

import re
import shlex
import subprocess
import sys

from captcha_config import Config
from captcha_draw import draw

import pytest
from conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.removeprefix(".venv/bin/")
    for block in re.findall(r"```sh\n(.*?)```", README, re.S)
    for line in block.strip().splitlines()
]


def shrunk(line: str) -> list[str]:
    words = [sys.executable, str(ROOT / line.split()[1]), *shlex.split(line)[2:]]
    for option, number in (("-n", "200"), ("--fresh", "60"), ("--max_steps", "8")):
        if option in words:
            words[words.index(option) + 1] = number
    if words[1].endswith("producer.py") and "benchmarks" in words[1]:
        words += ["--count", "100", "--rounds", "1"]
    if "--slice" in words:
        words += ["--images_per_shard", "50"]
    if words[1].endswith("gpu.py"):
        words += ["--batch_sizes", "8", "--steps", "2"]
    if words[1].endswith("scale.py"):
        words += ["--counts", "100", "200", "--workers", "1", "--steps", "2", "--memory_budget", "60"]
    if words[1].endswith("reading.py"):
        words += ["--folder", "50"]
    if words[1].endswith("own_style.py"):
        words += ["--seeds", "1", "--max_steps", "4", "--held_out", "20"]
    if words[1].endswith("logging_cost.py"):
        words += ["--blocks", "1", "--steps", "2"]
    if words[1].endswith("sprint.py"):
        words += ["--seeds", "1", "2", "--max_steps", "3"]
    if words[1].endswith("summit.py"):
        words += ["--count", "60", "--models", "letters"]
    if words[1].endswith("captcha_train.py"):
        few = {"--max_steps": "4", "--warmup_steps": "2", "--eval_every": "4", "--save_every": "4", "--batch_size": "8"}
        words += [word for option, value in few.items() if option not in words for word in (option, value)]
    return words


@pytest.mark.slow
def test_every_command_runs_in_the_order_of_the_page(tmp_path):
    scripts = [line for line in COMMANDS if re.match(r"python \w+\.py", line)]
    assert len(scripts) >= 10
    (tmp_path / "my_images").mkdir()  # the images of one's own that the page speaks of
    for i in range(12):
        text, image = draw(i, "own", Config())
        image.save(tmp_path / "my_images" / f"{i}_{text}.png")
    for line in scripts:
        done = subprocess.run(shrunk(line), cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{line}\n{done.stderr}"


def test_make_train_runs_the_commands_that_the_readme_gives_for_people_without_make(tmp_path):
    """By make's own word, with nothing set up and no set drawn."""
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "requirements.txt").touch()
    said = subprocess.run(["make", "-n", "train"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    by_make = [line.removeprefix(".venv/bin/") for line in said.splitlines() if ".py" in line]
    by_hand = [line for line in COMMANDS if re.match(r"python \w+\.py", line)][: len(by_make)]
    assert by_make == by_hand


def test_every_other_command_is_one_of_these():
    others = {line for line in COMMANDS if not re.match(r"python \w+/?\w*\.py", line)}
    known = {"make train", "make test", "tensorboard --logdir save"}
    known |= {"python -m venv .venv", "python -m pip install -r requirements.txt"}
    assert others <= known


@pytest.mark.parametrize("target", ["train", "test", "setup", "check", "faults", "bench", "tensorboard"])
def test_the_makefile_has_the_target(target):
    subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=True)


def test_every_file_on_the_map_exists():
    names = re.findall(r"^(captcha_\w+\.py)", README, re.M)
    assert sorted(names) == sorted(path.name for path in ROOT.glob("captcha_*.py"))
