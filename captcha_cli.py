"""What the scripts share: options made from the config's fields, and a quiet import of TensorFlow.

config, args = parse_args(__doc__, FIELDS)      the command line
with quiet_import(__name__): import tensorflow  without the lines that TensorFlow prints while it is imported
start_litert()                                  the same for LiteRT
run(main)                                       an error that the user can correct is one line and exit status 2
"""

import argparse
import contextlib
import dataclasses
import gc
import os
from collections.abc import Callable, Iterable, Iterator

import captcha_predict
from captcha_config import Config, item_type
from captcha_predict.console import OneLineParser, UserError, exit_stopped, quiet_stderr, run, track

__all__ = ["UserError", "parse_args", "quiet_import", "run", "start_litert", "track"]


def parse_args(
    doc: str, fields: Iterable[str], add_arguments: Callable[[argparse.ArgumentParser], None] | None = None
) -> tuple[Config, argparse.Namespace]:
    """Parse the command line: `fields` of the config, and the script's own options.

    Args:
      doc: the script's docstring; its first line becomes the help's description.
      fields: names of the config's fields that concern the script.
      add_arguments: called with the parser, to add options that are not in the config.
    Returns:
      The config with what was given, and everything that was parsed.
    Raises:
      UserError: a value is out of range. An unknown option exits with status 2 and one line.
    """
    parser = OneLineParser(doc)
    if add_arguments:
        add_arguments(parser)
    by_name = {field.name: field for field in dataclasses.fields(Config)}
    for name in fields:
        _add_field(parser, by_name[name])
    args = parser.parse_args()
    given = {name: value for name, value in vars(args).items() if name in by_name}
    return Config.from_dict(given), args


def _add_field(parser: argparse.ArgumentParser, field: dataclasses.Field) -> None:
    is_tuple = isinstance(field.default, tuple)
    default = " ".join(map(str, field.default)) or "none" if is_tuple else field.default
    if field.type is bool:
        how = {"action": argparse.BooleanOptionalAction}
    else:
        metavar = field.name.upper() if isinstance(field.default, str) else item_type(field).__name__.upper()
        how = {"type": item_type(field), "nargs": "*" if is_tuple else None, "metavar": metavar}
    parser.add_argument(
        f"--{field.name}",
        **how,
        default=argparse.SUPPRESS,  # so that only what was given overrides the config
        help=f"{field.metadata['about']}; default: {default}".replace("%", "%%"),
    )


@contextlib.contextmanager
def quiet_import(name: str) -> Iterator[None]:
    """For the import of TensorFlow: set what it must find in the environment, hold back the lines that it prints, and
    pause garbage collection.

    Args:
      name: __name__ of the calling module; in any other than the main program nothing is done.
    """
    if name != "__main__":
        yield
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what goes wrong still raises in Python
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # leaves room on the GPU for other programs
    gc.disable()  # while so much is imported, looking for garbage takes a fifth of the time and finds none
    try:
        with quiet_stderr():
            yield
        gc.freeze()  # modules are never garbage: collections skip what is there so far
    except KeyboardInterrupt:
        exit_stopped()
    finally:
        gc.enable()


def start_litert() -> None:
    """Load LiteRT at the start of a command that needs it later, and hold back the line that it prints."""
    with quiet_stderr():
        captcha_predict.load(captcha_predict.DEFAULT)
