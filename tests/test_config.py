"""The settings, the options made from them, and imports without side effects."""

import dataclasses
import subprocess
import sys

import captcha_cli
from captcha_cli import UserError, parse_args
from captcha_config import Config

import pytest
from conftest import ROOT

WITHOUT_TENSORFLOW = [
    "captcha_config", "captcha_cli", "captcha_predict", "captcha_predict.console", "captcha_predict.decode",
    "captcha_predict.images", "captcha_sets", "captcha_sets.draw", "captcha_sets.files", "captcha_sets.library",
    "captcha_sets.pool", "captcha_runs",
]  # fmt: skip


def test_every_field_says_what_it_is():
    assert all(field.metadata["about"] for field in dataclasses.fields(Config))


def test_the_defaults_are_within_their_own_ranges():
    Config()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"length": 0}, "length: 0 is out of range; it must be from 1 to 32"),
        ({"learning_rate": float("nan")}, "learning_rate: nan is out of range"),
        ({"validation_share": 1.0}, "validation_share: 1.0 is out of range; it must be from 0.001 to 0.9"),
        ({"batch_size": "64"}, "batch_size: '64' must be of type int"),
        ({"batch_size": True}, "batch_size: True must be of type int"),
        ({"xla": 1}, "xla: 1 must be of type bool"),
        ({"font_sizes": (40, 2)}, "font_sizes: 2 is out of range"),
        ({"font_sizes": 40}, "font_sizes: 40 must be a tuple"),
        ({"font_sizes": ()}, "font_sizes: give one size or more"),
        ({"head_units": (16,)}, "head_units: give two numbers"),
        ({"head_units": (0, 64)}, "head_units: 0 is out of range; it must be from 1 to 4096"),
        ({"channels": (16,)}, "channels: the network has at least 2 convolutions"),
        ({"precision": "float8"}, "precision: 'float8' must be one of float32, bfloat16, float16"),
        ({"height": 16, "shift": 16}, "shift: 16 must be less than width 128 and height 16"),
        ({"characters": "0"}, "characters: '0' must be two or more"),
        ({"characters": "0110"}, "characters: '0110' must be two or more characters, none of them repeated"),
        ({"oversample_characters": "O"}, "oversample_characters: 'O' must be some of the characters '0123456789'"),
        (
            {"oversample_characters": "0123456789"},
            "oversample_characters: '0123456789' must be some of the characters '0123456789', and not all",
        ),
        ({"characters": "0 1"}, "characters: ' ' cannot be seen"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(values, message):
    with pytest.raises(UserError) as caught:
        Config(**values)
    assert str(caught.value).startswith(message)


def test_an_unknown_name_in_a_saved_config_is_refused_by_name():
    with pytest.raises(UserError, match="unknown config name colour"):
        Config.from_dict({"colour": 1})


def test_a_saved_config_comes_back_as_it_was():
    config = Config(font_sizes=(30, 40), seed=7)
    assert Config.from_dict(dataclasses.asdict(config)) == config


def test_only_what_cannot_change_the_weights_may_differ_when_training_resumes():
    decides = {
        "characters",
        "length",
        "width",
        "height",
        "channels",
        "head_units",
        "input_color",
        "seed",
        "batch_size",
        "learning_rate",
        "max_steps",
    }
    assert decides <= Config().experiment().keys()
    assert not {"save_dir", "workers", "eval_every", "keep_checkpoints"} & Config().experiment().keys()


# The command line


def parsed(monkeypatch, words, fields):
    monkeypatch.setattr(sys, "argv", ["script", *words])
    return parse_args("A script.\n\nWith more to say.", fields)[0]


def test_options_are_made_from_the_fields(monkeypatch):
    words = ["--length", "6", "--font_sizes", "30", "40", "--learning_rate", "0.1", "--xla", "--no-input_downsampling"]
    config = parsed(monkeypatch, words, ("length", "font_sizes", "learning_rate", "xla", "input_downsampling"))
    assert config == Config(length=6, font_sizes=(30, 40), learning_rate=0.1, xla=True, input_downsampling=False)


def test_options_that_are_not_given_have_the_defaults(monkeypatch):
    assert parsed(monkeypatch, [], ("length", "font_sizes", "xla")) == Config()


def test_a_value_out_of_range_on_the_command_line_is_a_user_error(monkeypatch):
    with pytest.raises(UserError, match="length: 99 is out of range; it must be from 1 to 32"):
        parsed(monkeypatch, ["--length", "99"], ("length",))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--len", "6"], "unrecognized arguments: --len 6"),
        (["--width", "6"], "unrecognized arguments: --width 6"),  # a field, but not one of this script's
        (["--length", "six"], "argument --length: invalid int value: 'six'"),
    ],
)
def test_a_wrong_option_is_one_line_and_status_2(monkeypatch, capsys, words, message):
    with pytest.raises(SystemExit) as caught:
        parsed(monkeypatch, words, ("length",))
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"script: error: {message} (see --help)\n"


def test_the_help_shows_meaning_range_and_default(monkeypatch, capsys):
    with pytest.raises(SystemExit) as caught:
        parsed(monkeypatch, ["--help"], ("length", "fonts", "xla"))
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "A script." in text and "With more" not in text
    assert "--length INT characters in a captcha (1 to 32); default: 4" in text
    assert "none: the captcha library's own; default: none" in text
    assert "--xla, --no-xla compile the step with XLA; for one GPU, where it can be faster; default: False" in text


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UserError("tfrecords: is not there"), 2, "error: tfrecords: is not there"),
        (FileNotFoundError(2, "No such file or directory", "x.png"), 2, "error: No such file or directory: x.png"),
        (
            MemoryError(),
            2,
            "error: out of memory; close other programs, or use a smaller --batch_size, --workers or --fresh",
        ),
        (KeyboardInterrupt(), 130, "stopped; run the same command again"),
    ],
)
def test_an_error_that_the_user_can_correct_is_one_line(monkeypatch, capsys, error, status, message):
    def fail():
        raise error

    monkeypatch.setattr(sys, "argv", ["folder/script.py"])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(SystemExit) as caught:
        captcha_cli.run(fail)
    assert caught.value.code == status
    assert capsys.readouterr().err == f"script.py: {message}\n"


def test_any_other_error_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(ZeroDivisionError):
        captcha_cli.run(lambda: 1 / 0)


# Imports


def modules() -> list[str]:
    """Every module of the project that can be imported."""
    paths = [*ROOT.glob("captcha_*.py"), *ROOT.glob("captcha_*/*.py")]
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted(paths))
    return [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]


IN_COPIES = """
import argparse, importlib, os, sys

def refuse(*_):
    raise AssertionError("it parses arguments")

main = sys.modules["__main__"]

def imported_in_a_copy(module):
    "Import a module in a copy of this process and say what it changed."
    sys.stdout.flush()
    if os.fork():
        return os.wait()
    before = dict(os.environ)
    argparse.ArgumentParser.parse_known_args = refuse
    importlib.import_module(module)
    changes = ["environment"] * (dict(os.environ) != before)
    changes += ["__main__"] * (sys.modules["__main__"] is not main)
    changes += ["tensorflow"] * (not with_tensorflow and "tensorflow" in sys.modules)
    print(module, *changes, flush=True)
    os._exit(0)

with_tensorflow = False
for module in sys.argv[1].split():
    imported_in_a_copy(module)
import tensorflow, keras
with_tensorflow = True
for module in sys.argv[2].split():
    imported_in_a_copy(module)
"""


def test_importing_any_module_first_works_and_changes_nothing(tmp_path):
    """Neither the environment nor what the main program is; and it parses no arguments. Some need no TensorFlow."""
    words = [sys.executable, "-c", IN_COPIES, " ".join(WITHOUT_TENSORFLOW), " ".join(modules())]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines() == [*WITHOUT_TENSORFLOW, *modules()], done.stderr
    assert len(modules()) > 25


ORDERS = """
import os, sys

def unchanged(module):
    "Import a module, which must not change the environment."
    before = dict(os.environ)
    __import__(module)
    assert dict(os.environ) == before, module

def read():
    import numpy
    print(captcha_predict.read(numpy.zeros((64, 128, 3), numpy.uint8), details=True))

def multiply():
    print(tensorflow.matmul([[2.0]], [[3.0]]).numpy())

tensorflow_first, modules = sys.argv[1] == "tensorflow", sys.argv[2].split()
if tensorflow_first:
    import tensorflow
    multiply()
    unchanged("captcha_predict")
    import captcha_predict
    read()
else:
    unchanged("captcha_predict")
    import captcha_predict
    read()
    import tensorflow
    multiply()
import keras
for module in modules if tensorflow_first else modules[::-1]:
    unchanged(module)
read()
multiply()
"""


def test_the_order_of_imports_does_not_matter(tmp_path):
    printed = []
    for first in ("tensorflow", "captcha_predict"):
        words = [sys.executable, "-c", ORDERS, first, " ".join(modules())]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        printed.append(sorted(done.stdout.splitlines()))
    assert printed[0] == printed[1] and len(printed[0]) == 4
