"""The form of values in JSON files, and messages that quote them."""

from captcha_predict.console import printable
from captcha_predict.form import misfit

import pytest

FORM = {"step": int, "loss": float, "source": (str, None), "files": {str: str}, "sizes": [int]}
SOUND = {"step": 1, "loss": 2, "source": None, "files": {"a": "b"}, "sizes": [3], "more": object}


@pytest.mark.parametrize("values", [SOUND, {**SOUND, "source": "folder", "files": {}, "sizes": [], "loss": 0.5}])
def test_values_that_have_the_form_are_accepted(values):
    assert misfit(values, FORM) == ""


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([], "it is not a dict"),
        ({"step": 1}, "it has no 'loss'"),
        ({**SOUND, "step": True}, "'step' is not of type int"),
        ({**SOUND, "step": 2**64}, "'step' is not of type int"),
        ({**SOUND, "loss": float("nan")}, "'loss' is not of type float"),
        ({**SOUND, "loss": 10**400}, "'loss' is not of type float"),
        ({**SOUND, "source": 3}, "'source' is not of type str"),
        ({**SOUND, "source": "\ud800"}, "'source' is not of type str"),
        ({**SOUND, "files": {"a": None}}, "'a' of 'files' is not of type str"),
        ({**SOUND, "sizes": [1, "2"]}, "'sizes'[1] is not of type int"),
    ],
)
def test_what_is_wrong_with_others_is_said(values, problem):
    assert misfit(values, FORM) == problem


def test_a_message_prints_as_one_line_whatever_it_quotes():
    assert printable("a\x1b[2Jb\r\n\ud800é") == "a\\x1b[2Jb\\r\\n\\ud800é"


def test_a_list_below_a_message_keeps_its_lines():
    assert printable("correct these:\n  a.png\n  b.png") == "correct these:\n  a.png\n  b.png"
