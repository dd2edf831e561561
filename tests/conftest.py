"""A small captcha that draws and trains in seconds, and the scripts as people run them."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from captcha_config import Config  # noqa: E402
from captcha_producer import produce  # noqa: E402

SMALL = Config(
    characters="0123",
    length=2,
    width=48,
    height=32,
    font_sizes=(20,),
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
DRAWING = ("characters", "length", "width", "height", "font_sizes", "images_per_shard")
TRAINING = ("characters", "length", "width", "height", "channels", "batch_size", "max_steps", "warmup_steps",
            "eval_every", "save_every", "shift")  # fmt: skip


def options(names: tuple[str, ...], config: Config = SMALL) -> list[str]:
    """The command-line options that give a script these fields of the config."""
    typed = []
    for name in names:
        value = getattr(config, name)
        typed += [f"--{name}", *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    return typed


def command(script: str, *args: object) -> list[str]:
    return [sys.executable, str(ROOT / script), *map(str, args)]


def run(script: str, *args: object, cwd: Path) -> subprocess.CompletedProcess:
    """Run a script from a shell's point of view."""
    return subprocess.run(command(script, *args), cwd=cwd, capture_output=True, text=True, timeout=600)


def own_lines(stderr: str) -> list[str]:
    """What the project said on standard error; TensorFlow adds lines of its own while it is imported."""
    return [line for line in stderr.splitlines() if ".py: " in line or line.startswith(("warning: ", "Traceback"))]


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder and its content; left out are the locks, and the notes of which files were checked."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in (".lock", ".checked") and path.name != ".lock"
    }


def checkpoint_values(folder: Path, stem: str) -> dict[str, bytes]:
    """Every value in a checkpoint, read by TensorFlow's own reader."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(folder / stem))
    names = [name for name in reader.get_variable_to_shape_map() if name != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    return {name: reader.get_tensor(name).tobytes() for name in names}


@pytest.fixture(scope="session")
def _drawn(tmp_path_factory) -> Path:
    """The two small sets, drawn once."""
    folder = tmp_path_factory.mktemp("drawn")
    for split, count in (("train", 100), ("validation", 37)):
        produce(count, folder / "images" / split, replace(SMALL, tfrecords_dir=str(folder / "tfrecords")))
    return folder


@pytest.fixture
def folder(_drawn, tmp_path) -> Path:
    """A working folder of one's own, with the two small sets in it."""
    shutil.copytree(_drawn, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def config(folder) -> Config:
    """The small config, pointed at `folder`."""
    return replace(SMALL, tfrecords_dir=str(folder / "tfrecords"), save_dir=str(folder / "save"))


os.environ.setdefault("COLUMNS", "200")
