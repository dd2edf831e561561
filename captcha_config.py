"""Every number that tunes the system, once.

Edit the defaults below, or pass them to a script: each field that concerns a script is also its option,
`--name value`. Folders are relative to the folder you run in.
"""

import argparse
import dataclasses
import os
import signal
import sys
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# TensorFlow reads this while it is imported, and every script imports this file first: less start-up chatter.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what goes wrong still reaches Python

PRECISIONS = ("float32", "bfloat16", "float16")


class UserError(Exception):
    """Something that a person can put right. The message is one line: what is wrong, where, and what to do."""


def option(default: Any, about: str, low: float | None = None, high: float | None = None, *, free: bool = False) -> Any:
    """A field: its default, what it is (with the unit), and the least and the greatest value allowed.

    A stopped run may go on with another value of a `free` field; a change of any other would change the experiment.
    """
    if low is not None:
        about += f" ({low} to {high})"
    return dataclasses.field(default=default, metadata={"about": about, "low": low, "high": high, "free": free})


@dataclass(frozen=True)
class Config:
    """All settings. Raises UserError on a value that makes no sense, naming the field and its range."""

    # The captcha
    characters: str = option("0123456789", "the characters a captcha is made of, in the order of their labels")
    length: int = option(4, "characters in a captcha", 1, 32)
    width: int = option(128, "image width, pixels", 16, 2048)
    height: int = option(64, "image height, pixels", 16, 2048)
    fonts: tuple[str, ...] = option((), "TrueType font files to draw with; without, the library's own", free=True)
    font_sizes: tuple[int, ...] = option((40,), "font sizes to draw with, pixels", 4, 1024, free=True)
    often: str = option(
        "",
        "characters that half of all drawn ones shall be, such as two that look alike; without, all alike",
        free=True,
    )
    seed: int = option(1, "decides every pixel, every batch and every weight", 0, 2**31 - 1)

    # Producing
    images_per_shard: int = option(1000, "captchas in one TFRecord file", 1, 1_000_000, free=True)
    workers: int = option(0, "processes that draw (0: one for each core)", 0, 1024, free=True)
    tfrecords_dir: str = option("tfrecords", "folder of the TFRecord files, seen from the one you run in", free=True)

    # Data
    memory_budget: int = option(1024, "most memory the decoded training images may take, MiB", 1, 1 << 20, free=True)
    endless: bool = option(False, "draw the training images beside each step, so that none comes twice")
    shift: int = option(2, "augmentation: most pixels a training image is moved by, each way", 0, 64)
    rotate: float = option(
        0.0, "augmentation: most degrees it is turned by, each way; helps where images are few", 0, 45
    )
    zoom: float = option(0.0, "augmentation: most it is enlarged or made smaller by, as a share of its size", 0, 0.5)

    # Model
    channels: tuple[int, ...] = option((16, 32, 64, 64), "filters of the convolutions, first to last", 1, 1024)
    full_size: bool = option(
        False, "whether convolutions begin at the full size, not at half: can tell O from 0, slower"
    )
    label_smoothing: float = option(0.05, "share of a label spread over the other characters", 0.0, 0.5)

    # Training
    init_from: str = option(
        "", "a save folder, or a model that ships (digits, letters, capitals), whose convolutions to start from"
    )
    batch_size: int = option(64, "images in a step", 1, 65536)
    max_steps: int = option(1000, "steps to train for; the learning rate reaches zero at the last", 1, 10**8, free=True)
    learning_rate: float = option(8e-3, "learning rate at its peak, after the warm-up", 1e-7, 1.0)
    warmup_steps: int = option(20, "steps in which the learning rate rises to its peak", 0, 10**6)
    weight_decay: float = option(0.01, "weight decay, of matrices and kernels", 0.0, 1.0)
    eval_every: int = option(200, "steps between two evaluations on the validation split", 1, 10**6, free=True)
    save_every: int = option(200, "steps between two checkpoints", 1, 10**6, free=True)
    keep_checkpoints: int = option(3, "newest checkpoints kept, beside the best one", 1, 1000, free=True)
    precision: str = option("float32", f"what layers compute in: {', '.join(PRECISIONS)}; the last two are for GPUs")
    xla: bool = option(False, "compile the step with XLA; for one GPU, where it can be faster")
    save_dir: str = option("save", "folder of the checkpoints, seen from the one you run in", free=True)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))
        if len(set(self.characters)) != len(self.characters) or len(self.characters) < 2:
            raise UserError(f"characters: {self.characters!r} must be two or more characters, each one once")
        blank = [c for c in self.characters if c.isspace() or not c.isprintable()]
        if blank:
            raise UserError(f"characters: {blank[0]!r} cannot be seen in an image; leave it out")
        if self.often and not set(self.often) < set(self.characters):
            raise UserError(f"often: {self.often!r} must be some of the characters {self.characters!r}, and not all")
        if not self.font_sizes:
            raise UserError("font_sizes: give one size or more")
        if self.shift >= min(self.width, self.height):
            raise UserError(f"shift: {self.shift} must be less than width {self.width} and height {self.height}")
        if self.precision not in PRECISIONS:
            raise UserError(f"precision: {self.precision!r} must be one of {', '.join(PRECISIONS)}")
        if len(self.channels) < 2:
            raise UserError("channels: the network has at least 2 convolutions; give 2 numbers or more")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Config":
        """The config that `dataclasses.asdict` made `values` of. Raises UserError on an unknown name."""
        unknown = sorted(values.keys() - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise UserError(f"unknown config name {', '.join(unknown)}; see captcha_config.py for those there are")
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})

    def experiment(self) -> dict[str, Any]:
        """The fields that decide the weights."""
        return {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self) if not field.metadata["free"]
        }

    def differences(self, other: "Config") -> list[str]:
        """One text for each field that decides the weights and is not the same here and in `other`."""
        theirs = other.experiment()
        return [f"{name} is {v!r}, was {theirs[name]!r}" for name, v in self.experiment().items() if v != theirs[name]]


def _check(field: dataclasses.Field, value: Any) -> None:
    """Refuse a value of the wrong type or out of range; in a tuple, every item counts."""
    many = typing.get_origin(field.type) is tuple
    if many != isinstance(value, tuple):
        raise UserError(f"{field.name}: {value!r} must be {'a tuple' if many else 'one value'}")
    kind, low, high = _kind(field), field.metadata["low"], field.metadata["high"]
    for item in value if many else (value,):
        if isinstance(item, bool) != (kind is bool) or not isinstance(item, (int, float) if kind is float else kind):
            raise UserError(f"{field.name}: {item!r} must be of type {kind.__name__}")
        if low is not None and not low <= item <= high:
            raise UserError(f"{field.name}: {item!r} is out of range; it must be from {low} to {high}")


def _kind(field: dataclasses.Field) -> type:
    """The type of a field's value, or of one item of it."""
    return field.type.__args__[0] if typing.get_origin(field.type) is tuple else field.type


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


def parse_args(doc: str, fields: Iterable[str], extras: Callable[[argparse.ArgumentParser], Any] | None = None):
    """Read the command line: `fields` of the config as options, and the script's own ones that `extras` adds.

    Args:
      doc: the script's docstring; its first line leads the help.
      fields: names of the config's fields that concern the script.
      extras: called with the parser, to add arguments that are no config.
    Returns:
      (Config, argparse.Namespace): the config with the overrides, and everything that was parsed.
    Raises:
      UserError: a value is out of range. An unknown option exits with status 2 and one line.
    """
    parser = _OneLineParser(description=doc.partition("\n")[0], allow_abbrev=False)
    if extras:
        extras(parser)
    by_name = {field.name: field for field in dataclasses.fields(Config)}
    for name in fields:
        field = by_name[name]
        default = field.default
        shown = " ".join(map(str, default)) or "none" if isinstance(default, tuple) else default
        how = {
            "type": _kind(field),
            "nargs": "+" if isinstance(default, tuple) else None,
            "metavar": name.upper() if isinstance(default, str) else _kind(field).__name__.upper(),
        }
        parser.add_argument(
            f"--{name}",
            **({"action": argparse.BooleanOptionalAction} if field.type is bool else how),
            default=argparse.SUPPRESS,  # so that only what was typed overrides
            help=f"{field.metadata['about'].replace('%', '%%')}; default: {shown!s}",
        )
    args = parser.parse_args()
    typed = {name: value for name, value in vars(args).items() if name in by_name}
    return Config.from_dict(typed), args


def run(main: Callable[[], int | None]) -> None:
    """Call a script's `main` and exit with its status; an error a person can cause is one line and status 2."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so that what was half done is swept away
    try:
        sys.exit(main())
    except UserError as error:
        status, told = 2, f"error: {error}"
    except BrokenPipeError:  # who reads our output, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        sys.exit(141)
    except OSError as error:  # no permission, no space, not a folder: the system's own words, and the path
        status, told = 2, f"error: {error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    except MemoryError:
        status, told = 2, "error: out of memory; use smaller numbers"
    except KeyboardInterrupt:
        status, told = 130, "stopped"
    print(f"{Path(sys.argv[0]).name}: {told}", file=sys.stderr)
    sys.exit(status)
