"""The README and the pages in docs/: what they say to type runs, and what they name exists.

Commands run as they are written, but on smaller sets and for fewer steps. The README comes first. Each other page
begins where it ends, in a folder of its own, and a command that ran on the README is not repeated.
"""

import ast
import dataclasses
import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from captcha_cli import parse_args
from captcha_config import Config

import pytest
from conftest import ROOT, run

README = ROOT / "README.md"
PAGES = sorted(path for path in (ROOT / "docs").glob("*.md"))
ALL = [README, *PAGES]
BY_HAND = "python captcha_producer.py --update"  # in the README's block that does by hand what make train does
SHRINK = 250  # what counts and steps are divided by
FEW = {"--train_count": 30_000, "--validation_count": 3000, "--images_per_shard": 1000, "--max_steps": 1000}
PRODUCER = ("--train_count", "--validation_count", "--images_per_shard")
TRAINER = {"--batch_size": "8", "--eval_every": "4", "--save_every": "4", "--warmup_steps": "1"}
OF_OTHERS = ("--runner", "--project", "--dask_client_address", "--dask_partition_size")  # options of Beam
OF_DRAWERS = ("bengali-captcha==0.1.2", "CaptchaGenerator==2.0.0")  # packages that a page draws with
NOT_RUN = (  # they install something, or wait for a person
    ". .venv/bin/activate", "nvidia-smi", "python -c ", "python -m dask ", "python -m ruff ", "python3 -m venv .venv",
    "tensorboard --logdir save",
)  # fmt: skip


class Block(NamedTuple):
    language: str
    content: str
    only_parsed: bool
    file: str  # under which a reader saves it

    @property
    def commands(self) -> list[str]:
        return [line.removeprefix(".venv/bin/") for line in self.content.splitlines()] if self.language == "sh" else []


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path) -> list[Block]:
    """What is in ```sh and ```python on a page."""
    pattern = r"(?:<!-- (parsed only|file (\S+)) -->\n)?^```(sh|python)\n(.*?)^```$"
    found = re.findall(pattern, text(page), re.M | re.S)
    return [Block(language, content, mark == "parsed only", file) for mark, file, language, content in found]


COMMANDS = [(page.name, line) for page in ALL for block in blocks(page) for line in block.commands]
IMAGES = next(block for block in blocks(ROOT / "docs" / "own-images.md") if "save_images" in block.content)


# Running


def run_block(page: Path, block: Block, folder: Path, ran: Collection[str] = ()) -> None:
    """Run a block of a page in a folder, but for the commands that ran before. A file is only saved there."""
    if block.file:
        (folder / block.file).write_text(block.content, encoding="utf-8")
    elif block.language == "python":
        execute(page, block, folder)
    for line in block.commands:
        words = shlex.split(line)
        if line in ran:
            continue
        if words[0] == "rm":
            assert all(re.match(r"-rf?$|\w", word) and ".." not in word for word in words[1:]), line
            subprocess.run(line, shell=True, cwd=folder, check=True)
        elif is_script(line):
            done = run(*shrunk(words), cwd=folder)
            assert done.returncode == 0, f"{page.name}: {line}\n{done.stderr}"


def execute(page: Path, block: Block, folder: Path) -> None:
    """Run a block of Python. Where comments behind its prints say what they print, that must be so."""
    script = folder / "block.py"
    script.write_text(block.content, encoding="utf-8")
    done = run(str(script), cwd=folder)
    assert done.returncode == 0, f"{page.name}:\n{block.content}\n{done.stderr}"
    expected = re.findall(r"^print\(.*\)  # (.*)$", block.content, re.M)
    assert not expected or done.stdout.splitlines() == expected


def is_script(line: str) -> bool:
    """Whether a command is one of the project's own; benchmarks have a test of their own."""
    return bool(re.match(r"python (captcha_\w+\.py|-m captcha_)", line))


def script_of(words: list[str]) -> tuple[str, list[str]]:
    """(script or module, its arguments) of a command that begins with python."""
    start = 2 if words[1] == "-m" else 1
    return words[start], words[start + 1 :]


def shrunk(words: list[str]) -> list[str]:
    """A command's script and arguments, with fewer images and steps."""
    script, words = script_of(words)
    for i, word in enumerate(words):
        if word in (*FEW, "--fresh"):
            words[i + 1] = str(max(2, int(words[i + 1]) // SHRINK))
    more = {}
    if script in ("captcha_producer.py", "captcha_sets.beam") and "--source" not in words:
        more = {name: str(FEW[name] // SHRINK) for name in PRODUCER}
    if script == "captcha_train.py":
        more = {"--max_steps": str(FEW["--max_steps"] // SHRINK)} | TRAINER
        if "--init_from" not in words:
            words += ["--channels", "4", "8"]  # the last one given counts
    if script == "captcha_suspects.py":
        more = {"--max_steps": "4", "--batch_size": "8", "--warmup_steps": "1"}
    if script == "captcha_strength.py":
        more = {"--sizes": "20", "--seeds": "1", "--validation_count": "20", "--workers": "1"}
        more |= {"--max_steps": "4", "--batch_size": "8", "--warmup_steps": "1"}
    before_beam = words.index("--") if "--" in words else len(words)
    words[before_beam:before_beam] = [word for name in more if name not in words for word in (name, more[name])]
    return [script, *words]


@pytest.fixture(scope="module")
def after_readme(tmp_path_factory) -> Path:
    """Where the README's commands have run: the sets are drawn, and three models trained."""
    folder = tmp_path_factory.mktemp("readme")
    execute(README, IMAGES, folder)  # the images of one's own that the README speaks of
    for block in blocks(README):
        if not block.only_parsed:
            run_block(README, block, folder)
    return folder


def test_the_commands_of_the_readme_run_in_order(after_readme):
    assert (after_readme / "save" / "model.tflite").exists()
    assert (after_readme / "save" / "mine" / "model.tflite").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_run_in_order(page, after_readme, tmp_path):
    shutil.copytree(after_readme, tmp_path, dirs_exist_ok=True)
    ran = {line for block in blocks(README) for line in block.commands}
    for block in blocks(page):
        if not block.only_parsed and block != IMAGES:
            run_block(page, block, tmp_path, ran)


# Parsing


@pytest.mark.parametrize("line", sorted({line for _, line in COMMANDS if re.search(r"python (-m )?captcha_", line)}))
def test_a_script_takes_the_options_that_the_pages_give_it(line, monkeypatch):
    words = shlex.split(line)
    while "=" in words[0]:  # a variable of the environment
        name, _, value = words.pop(0).partition("=")
        assert name == "CUDA_VISIBLE_DEVICES" or {"cluster", "task"} == json.loads(value).keys()
    script, given = script_of(words)
    monkeypatch.setattr(sys, "argv", [script, *given])
    if script == "captcha_predict":
        assert importlib.import_module("captcha_predict.__main__")._parse_args()
    elif script != "captcha_sets.sheet":  # which takes its arguments in main, and runs on every page that names it
        module = importlib.import_module(script.removesuffix(".py"))
        assert parse_args(module.__doc__, module.FIELDS, getattr(module, "add_arguments", None))


@pytest.mark.parametrize("block", [b for page in ALL for b in blocks(page) if b.file], ids=lambda block: block.file)
def test_a_file_of_a_page_is_a_drawer_that_compiles(block):
    module = ast.parse(block.content)
    functions = {part.name: part for part in module.body if isinstance(part, ast.FunctionDef)}
    assert [argument.arg for argument in functions["draw"].args.args] == ["text", "config", "rng"]


@pytest.mark.parametrize("block", [b for page in ALL for b in blocks(page) if b.language == "python" and b.only_parsed])
def test_python_that_is_part_of_a_function_compiles(block):
    indented = textwrap.indent(textwrap.dedent(block.content), "    ")
    compile(f"def function():\n{indented}", "page", "exec")


def test_every_other_command_is_known():
    others = [line for _, line in COMMANDS if not is_script(line) and not re.match(r"[A-Z_]+=", line)]
    pinned = (ROOT / "requirements.txt").read_text() + (ROOT / "requirements-dev.txt").read_text()
    for line in others:
        words = shlex.split(line)
        if words[0] == "make":
            subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, check=True)
        elif words[:2] == ["pip", "install"]:
            names = [word.replace("[and-cuda]", "") for word in words[2:] if not word.startswith("-")]
            assert all((ROOT / name).is_file() or name in pinned or name in OF_DRAWERS for name in names), line
        elif words[:3] == ["python", "-m", "pytest"]:
            assert all((ROOT / word).exists() for word in words if word.startswith("tests/")), line
        elif words[0] == "python" and words[1].startswith("benchmarks/"):
            assert (ROOT / words[1]).is_file(), line
        else:
            assert words[0] == "rm" or line.startswith(NOT_RUN), line


# What the pages name


def test_make_train_runs_the_commands_that_the_readme_gives_by_hand(tmp_path):
    """By make's own word, with nothing set up and no set drawn."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.txt").touch()
    said = subprocess.run(["make", "-n", "train"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    by_make = [line.replace(".venv/bin/", "") for line in said.splitlines() if "captcha_" in line]
    by_hand = next(block.commands for block in blocks(README) if BY_HAND in block.commands)
    assert by_make == [line for line in by_hand if is_script(line)]


@pytest.mark.parametrize("page", [*ALL, ROOT / ".github" / "workflows" / "test.yml"], ids=lambda page: page.name)
def test_every_make_target_exists(page):
    targets = set(re.findall(r"(?:`|run: )make (?:PYTHON=\S+ )?([a-z-]+)", text(page)))
    for target in targets:
        subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=True)


def test_the_workflow_runs_the_checks_and_the_tests():
    workflow = text(ROOT / ".github" / "workflows" / "test.yml")
    assert re.findall(r"run: (make .*)", workflow) == ["make PYTHON=python check", "make PYTHON=python test"]


def test_the_map_of_the_readme_is_complete():
    names = re.findall(r"^((?:captcha_|weights)\w*(?:\.py|/))  ", text(README), re.M)
    scripts = [path.name for path in ROOT.glob("captcha_*.py")]
    packages = [f"{path.parent.name}/" for path in ROOT.glob("captcha_*/__init__.py")]
    assert sorted(names) == sorted([*scripts, *packages, "weights/"])
    last = re.findall(r"^(images/ tfrecords/ save/|docs/ tests/ benchmarks/ Makefile)  ", text(README), re.M)
    assert all((ROOT / name).exists() for line in last for name in line.split()) and len(last) == 2


def slug(heading: str) -> str:
    """The anchor of a heading on GitHub."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", [*ALL, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_between_pages_resolve(page):
    for link, heading in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", text(page)):
        target = page.parent / link if link else page
        assert link.startswith("https://") or target.exists(), link
        if heading and not link.startswith("https://"):
            assert heading in map(slug, re.findall(r"^#+ (.*)$", text(target), re.M)), heading


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_readme_links_to_every_page(page):
    assert f"](docs/{page.name})" in text(README)


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.name)
def test_files_and_names_in_the_code_exist(page):
    for name in re.findall(r"`((?:captcha_|benchmarks/|docs/|tests/)[\w/.]*)(?:\(\))?`", text(page)):
        if "/" in name or name.endswith(".py"):
            assert (ROOT / name).exists(), name
        else:
            module, *attributes = name.split(".")
            found = importlib.import_module(module)
            for attribute in attributes:
                found = getattr(found, attribute, None) or importlib.import_module(name)


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.name)
def test_options_and_settings_exist(page):
    settings = {field.name for field in dataclasses.fields(Config)}
    sources = [path for folder in (".", "captcha_*", "benchmarks") for path in ROOT.glob(f"{folder}/*.py")]
    options = {f"--{name}" for name in settings}
    options |= {name for path in sources for name in re.findall(r'add_argument\(\s*"(--[\w-]+)"', path.read_text())}
    options |= {f"--no-{name[2:]}" for name in options} | set(OF_OTHERS) | {"--help"}
    for inline in re.findall(r"`([^`\n]+)`", text(page)):
        assert set(re.findall(r"--[\w-]+", inline)) <= options, inline
