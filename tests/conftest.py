"""A small captcha that draws and trains in seconds, and the scripts as people run them.

TensorFlow is imported once for all scripts that the tests start: a server process loads it and then forks, so that each
script is a real process, which can be killed, without waiting for the import. `command` is for the few tests that need
the shell's own command.
"""

import contextlib
import multiprocessing
import os
import runpy
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.reduction import DupFd
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = str(ROOT)  # for the server, and for python -m in other folders
os.environ.setdefault("COLUMNS", "200")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")

from captcha_config import Config  # noqa: E402
from captcha_sets.drawing import produce  # noqa: E402

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["captcha_train", "captcha_evaluate", "captcha_producer", "captcha_predict", "ai_edge_litert.interpreter"]
)
SMALL = Config(
    characters="0123",
    length=2,
    width=48,
    height=32,
    font_sizes=(20,),
    train_count=100,
    validation_count=37,
    images_per_shard=40,
    channels=(4, 8),
    batch_size=16,
    max_steps=12,
    warmup_steps=2,
    eval_every=4,
    save_every=2,
    shift=2,
    workers=1,
)
DRAWING = ("characters", "length", "width", "height", "font_sizes", "train_count", "validation_count",
           "images_per_shard")  # fmt: skip
IMPORTING = ("characters", "length", "width", "height", "images_per_shard")
TRAINING = ("characters", "length", "width", "height", "channels", "batch_size", "max_steps", "warmup_steps",
            "eval_every", "save_every", "shift")  # fmt: skip
TIMEOUT = 120  # seconds
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
browser_only = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium")
SCREENSHOTS = ROOT / "build" / "screenshots"


def options(names: tuple[str, ...], config: Config = SMALL) -> list[str]:
    """The command-line options that give a script these fields of the config."""
    words = []
    for name in names:
        value = getattr(config, name)
        words += [f"--{name}", *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    return words


class Process:
    """A function in a process of its own, with the interface of subprocess.Popen."""

    def __init__(self, function: Callable, *args, cwd: Path, env: dict[str, str] | None = None) -> None:
        out, err = os.pipe(), os.pipe()
        pipes = [DupFdWhenSent(write) for _, write in (out, err)]
        self._process = SERVER.Process(target=_child, args=(function, args, str(cwd), env or {}, pipes))
        self._process.start()
        for _, write in (out, err):
            os.close(write)
        self.stdout, self.stderr = (os.fdopen(read, encoding="utf-8") for read, _ in (out, err))
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float = TIMEOUT) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            self.kill()
            raise TimeoutError("it hung")
        return self.returncode

    def communicate(self, timeout: float = TIMEOUT) -> tuple[str, str]:
        read: dict[str, str] = {}
        threads = [threading.Thread(target=lambda n=n: read.update({n: getattr(self, n).read()})) for n in STREAMS]
        for thread in threads:
            thread.start()
        self.wait(timeout)
        for thread in threads:
            thread.join()
        return tuple(read[name] for name in STREAMS)

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


STREAMS = ("stdout", "stderr")


class DupFdWhenSent:
    """A file descriptor that the server's child inherits."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __reduce__(self):
        return _received, (DupFd(self.descriptor),)


def _received(duplicate) -> int:
    return duplicate.detach()


def _child(function: Callable, args: tuple, cwd: str, env: dict[str, str], pipes: list[int]) -> None:
    os.chdir(cwd)
    os.environ.update(env)
    for pipe, descriptor in zip(pipes, (1, 2), strict=True):
        os.dup2(pipe, descriptor)
        os.close(pipe)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, encoding="utf-8", closefd=False) for n in (1, 2))
    function(*args)


def _run_script(script: str, words: list[str]) -> None:
    sys.argv = [str(ROOT / script), *words]
    if script.endswith(".py"):
        sys.path.insert(0, str(Path(sys.argv[0]).parent))  # as Python does
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        if "." in script:
            sys.modules.pop(script, None)  # runpy warns of a module that the server has imported already
        runpy.run_module(script, run_name="__main__", alter_sys=True)


def start(script: str, *args: object, cwd: Path, env: dict[str, str] | None = None) -> Process:
    """Start a script, such as captcha_train.py, or a module, such as captcha_predict, in a folder."""
    return Process(_run_script, script, list(map(str, args)), cwd=cwd, env=env)


def run(
    script: str, *args: object, cwd: Path, env: dict[str, str] | None = None, timeout: float = TIMEOUT
) -> subprocess.CompletedProcess:
    """Run a script, or a module, to its end."""
    process = start(script, *args, cwd=cwd, env=env)
    stdout, stderr = process.communicate(timeout)
    return subprocess.CompletedProcess([script, *args], process.returncode, stdout, stderr)


def command(script: str, *args: object) -> list[str]:
    """The shell's command for a script, or a module."""
    how = [str(ROOT / script)] if script.endswith(".py") else ["-m", script]
    return [sys.executable, *how, *map(str, args)]


def wait_for(process, text: str) -> str:
    """Read a process's lines up to one with `text` in it."""
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(f"it ended without saying {text!r}: {process.stderr.read()}")


def errors(stderr: str) -> list[str]:
    """The lines of standard error that are no progress."""
    return [line for line in stderr.splitlines() if " images/s, " not in line]


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder and its content, without hidden ones: locks, notes, decoded images."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not (path.name.startswith(".") and path.suffix in (".lock", ".checked", ".npy", ".json"))
    }


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


def opened(browser, address, **how):
    """(the page, what it complained of)."""
    page, complaints = browser.new_page(**how), []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address)
    return page, complaints


def checkpoint_values(folder: Path, stem: str) -> dict[str, bytes]:
    """Every value in a checkpoint, read by TensorFlow's own reader."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(folder / stem))
    names = [name for name in reader.get_variable_to_shape_map() if name != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    return {name: reader.get_tensor(name).tobytes() for name in names}


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    """The two small splits, drawn and decoded once."""
    import captcha_data
    from captcha_sets.manifest import SPLITS, read_manifest

    folder = tmp_path_factory.mktemp("drawn")
    config = in_folder(folder)
    for split in SPLITS:
        produce(split, config)
        captcha_data.open_pixels(read_manifest(split, config), config)
    return folder


def in_folder(folder: Path, config: Config = SMALL) -> Config:
    """The config with all its folders in `folder`."""
    names = ("images", "tfrecords", "save")
    return replace(config, **{f"{name}_dir": str(folder / name) for name in names})


@pytest.fixture
def folder(drawn, tmp_path) -> Path:
    """A working folder of the test's own, with the two small splits in it."""
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def config(folder) -> Config:
    """The small config, pointed at `folder`."""
    return in_folder(folder)


@pytest.fixture(scope="session")
def trained_once(drawn, tmp_path_factory) -> Path:
    """A working folder with a finished run in save/. Do not write to it."""
    import captcha_train

    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(drawn, folder, dirs_exist_ok=True)
    assert captcha_train.train(in_folder(folder)) == 0
    return folder


@pytest.fixture
def trained(trained_once, tmp_path) -> Path:
    """A working folder of the test's own, with the two small splits and a finished run in save/."""
    shutil.copytree(trained_once, tmp_path, dirs_exist_ok=True)
    return tmp_path
