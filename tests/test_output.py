"""What a person sees of the scripts, started from a shell: our own lines, and nothing of TensorFlow's or LiteRT's."""

import os
import subprocess
from pathlib import Path

import pytest
from conftest import DRAWING, TRAINING, command, errors, options


def shell(script: str, *args: object, cwd: Path, **env: str) -> subprocess.CompletedProcess:
    """Run a script in a new interpreter, in the environment that a person has."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    words = command(script, *args)
    return subprocess.run(words, cwd=cwd, env=plain | env, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> dict[str, subprocess.CompletedProcess]:
    """What each of the scripts prints, from an empty folder to an evaluated network."""
    folder = tmp_path_factory.mktemp("printed")
    scripts = {
        "captcha_producer.py": options(DRAWING),
        "captcha_train.py": options(TRAINING),
        "captcha_evaluate.py": ["--model", "save", "--fresh", 50],
        "captcha_export.py": ["--formats", "litert", "saved_model"],
    }
    return {script: shell(script, *args, cwd=folder) for script, args in scripts.items()}


OUTPUT = {  # how each line begins
    "captcha_producer.py": ["train: 100 captchas in 3 shards", "validation: 37 captchas in 1 "],
    "captcha_train.py": [
        "100 images of 48x32, 6361 weights, on 1 ",
        "starting at step 0, up to step 12",
        *(f"step {step}/12  loss " for step in range(2, 13, 2)),
        "steps  12, in ",
        "best   ",
        "saved  save/best-",
        "next   python captcha_evaluate.py ",
        "       python -m captcha_predict ",
        "       tensorboard ",
        "save/model.tflite: the exported model",
    ],
    "captcha_evaluate.py": [
        f"{os.sep}",
        "captcha accuracy ",
        "character accuracy ",
        "calibration error ",
        *("┏━", "┃ confidence ", "┡━", *5 * ["│ "], "└─"),
    ],
    "captcha_export.py": ["save/model.tflite: ", "save/saved_model: "],
}


@pytest.mark.parametrize("script", OUTPUT)
def test_it_prints_its_own_lines_alone(printed, script):
    done = printed[script]
    assert (done.returncode, errors(done.stderr)) == (0, [])
    lines = done.stdout.splitlines()
    assert len(lines) == len(OUTPUT[script]), done.stdout
    for line, start in zip(lines, OUTPUT[script], strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize("script", OUTPUT)
def test_no_line_ends_with_a_blank(printed, script):
    lines = printed[script].stdout.splitlines() + printed[script].stderr.splitlines()
    assert lines and [line for line in lines if line != line.rstrip()] == []


def with_tensorflow(folder: Path, *lines: str) -> subprocess.CompletedProcess:
    """Run the trainer where importing TensorFlow runs these lines."""
    (folder / "tensorflow").mkdir()
    (folder / "tensorflow" / "__init__.py").write_text("\n".join(("import os, signal", *lines)))
    return shell("captcha_train.py", cwd=folder, PYTHONPATH=str(folder))


NOISE = "os.write(2, b'this processor lacks AVX\\n')"


def test_a_failing_import_of_tensorflow_shows_what_was_held_back(tmp_path):
    """It often says why."""
    done = with_tensorflow(tmp_path, NOISE, "raise ImportError('TensorFlow cannot be loaded')")
    lines = done.stderr.splitlines()
    assert done.returncode == 1
    assert "this processor lacks AVX" in lines
    assert lines[-1] == "ImportError: TensorFlow cannot be loaded"


def test_ctrl_c_while_tensorflow_is_imported_is_one_line(tmp_path):
    done = with_tensorflow(tmp_path, NOISE, "signal.raise_signal(signal.SIGINT)")
    assert done.stderr == "captcha_train.py: stopped; run the same command again\n"
    assert (done.returncode, done.stdout) == (130, "")
