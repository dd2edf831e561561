"""Whether values from a JSON file have the form that they should have.

problem = misfit(values, {"step": int, "files": {str: str}})     what is wrong, in words; "" if nothing is
is_unicode(text)                                                 whether a text can be encoded

A form is a type, None, a list of one form (any number of values of that form), a tuple (one of these forms), or a dict:
of names, which must be there beside any others, or of `str`, for any names.
"""

from typing import Any

MAX_NUMBER = 2**63 - 1  # of either sign


def misfit(value: Any, form: Any, name: str = "it") -> str:
    """What is wrong with a value, in words; "" if it has the form."""
    if isinstance(form, tuple):
        problems = [misfit(value, each, name) for each in form]
        return problems[0] if all(problems) else ""
    if form is None:
        return "" if value is None else f"{name} is not null"
    if isinstance(form, type):
        return "" if _is_of(value, form) else f"{name} is not of type {form.__name__}"
    if not isinstance(value, type(form)):
        return f"{name} is not a {type(form).__name__}"
    if isinstance(form, list):
        pairs = [(each, form[0], f"{name}[{i}]") for i, each in enumerate(value)]
    elif str in form:
        pairs = [(key, str, f"a key of {name}") for key in value]
        pairs += [(each, form[str], f"{key!r} of {name}") for key, each in value.items()]
    else:
        missing = [key for key in form if key not in value]
        if missing:
            return f"{name} has no {missing[0]!r}"
        pairs = [(value[key], each, repr(key)) for key, each in form.items()]
    return next(filter(None, (misfit(*pair) for pair in pairs)), "")


def _is_of(value: Any, kind: type) -> bool:
    """Whether a value is of a type; `float` includes whole numbers, `object` everything.

    Numbers are finite, and text can be encoded: JSON may have others.
    """
    if kind is object:
        return True
    if type(value) is not kind and not (kind is float and type(value) is int):
        return False
    if kind is str:
        return is_unicode(value)
    return kind not in (int, float) or abs(value) <= MAX_NUMBER


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded in UTF-8. JSON may have lone surrogates; Python reads file names with them."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
