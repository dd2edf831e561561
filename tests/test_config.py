import dataclasses
import sys

from captcha_config import Config, UserError, parse_args

import pytest


def test_every_field_says_what_it_is():
    assert all(field.metadata["about"] for field in dataclasses.fields(Config))


def test_the_defaults_are_within_their_own_ranges():
    Config()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"length": 0}, "length: 0 is out of range; it must be from 1 to 32"),
        ({"learning_rate": float("nan")}, "learning_rate: nan is out of range"),
        ({"batch_size": "64"}, "batch_size: '64' must be of type int"),
        ({"batch_size": True}, "batch_size: True must be of type int"),
        ({"font_sizes": (40, 2)}, "font_sizes: 2 is out of range"),
        ({"font_sizes": 40}, "font_sizes: 40 must be a tuple"),
        ({"height": 16, "shift": 16}, "shift: 16 must be less than width 128 and height 16"),
        ({"characters": "0"}, "characters: '0' must be two or more"),
        ({"characters": "0110"}, "characters: '0110' must be two or more characters, each one once"),
        ({"often": "O"}, "often: 'O' must be some of the characters '0123456789'"),
        ({"often": "0123456789"}, "often: '0123456789' must be some of the characters '0123456789', and not all"),
        ({"characters": "0 1"}, "characters: ' ' cannot be seen"),
    ],
)
def test_a_senseless_value_is_refused_by_name(values, said):
    with pytest.raises(UserError, match=None) as caught:
        Config(**values)
    assert str(caught.value).startswith(said)


def test_an_unknown_name_in_a_saved_config_is_refused_by_name():
    with pytest.raises(UserError, match="unknown config name colour"):
        Config.from_dict({"colour": 1})


def test_a_saved_config_comes_back_as_it_was():
    config = Config(font_sizes=(30, 40), seed=7)
    assert Config.from_dict(dataclasses.asdict(config)) == config


def test_options_are_generated_from_the_fields(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["script", "--length", "6", "--font_sizes", "30", "40", "--learning_rate", "0.1"])
    config, _ = parse_args("A script.", ("length", "font_sizes", "learning_rate"))
    assert config == Config(length=6, font_sizes=(30, 40), learning_rate=0.1)


def test_an_unknown_option_is_one_line_and_status_2(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["script", "--len", "6"])
    with pytest.raises(SystemExit) as caught:
        parse_args("A script.", ("length",))
    assert caught.value.code == 2
    assert capsys.readouterr().err == "script: error: unrecognized arguments: --len 6 (see --help)\n"


def test_only_what_cannot_change_the_experiment_may_differ_on_a_resume():
    free = {field.name for field in dataclasses.fields(Config) if field.metadata["free"]}
    assert not free & {"characters", "length", "width", "height", "channels", "seed", "batch_size", "learning_rate"}
    changed = Config(learning_rate=0.1, max_steps=5)
    assert Config().differences(changed) == ["learning_rate is 0.008, was 0.1"]
