"""Every setting, once.

Edit the defaults below, or pass them to a script: each field that concerns a script is also its option,
`--name value`. Folders are relative to the current folder.
"""

import dataclasses
import typing
from dataclasses import dataclass
from typing import Any

from captcha_predict.console import UserError

PRECISIONS = ("float32", "bfloat16", "float16")


def option(default: Any, about: str, low: float | None = None, high: float | None = None, *, free: bool = False) -> Any:
    """A field: its default, its meaning (with the unit), and the smallest and largest value allowed.

    A stopped run may continue with another value of a `free` field: it does not affect the weights, or only through the
    sets, which are compared by their content.
    """
    if low is not None:
        about += f" ({low} to {high})"
    return dataclasses.field(default=default, metadata={"about": about, "low": low, "high": high, "free": free})


@dataclass(frozen=True)
class Config:
    """All settings. Raises UserError on a value that makes no sense, naming the field and its range."""

    # The captcha
    characters: str = option("0123456789", "characters of a captcha, in the order of their labels")
    length: int = option(4, "characters in a captcha", 1, 32)
    width: int = option(128, "image width, pixels", 16, 2048)
    height: int = option(64, "image height, pixels", 16, 2048)
    fonts: tuple[str, ...] = option((), "TrueType font files to draw with; none: the captcha library's own", free=True)
    font_sizes: tuple[int, ...] = option((40,), "font sizes to draw with, pixels", 4, 1024, free=True)
    oversample_characters: str = option("", "characters that make up half of the training split's text", free=True)
    seed: int = option(1, "decides every pixel, every batch and every weight", 0, 2**31 - 1)

    # The sets
    train_count: int = option(30_000, "captchas in the training split", 1, 10**9, free=True)
    validation_count: int = option(3_000, "captchas in the validation split", 1, 10**9, free=True)
    validation_share: float = option(0.2, "share of imported images that is held out for validation", 0, 0.9, free=True)
    images_per_shard: int = option(1000, "captchas in one TFRecord file", 1, 1_000_000, free=True)
    workers: int = option(0, "processes that draw (0: one per core)", 0, 1024, free=True)
    images_dir: str = option("images", "folder of the PNG files, one folder a split", free=True)
    tfrecords_dir: str = option("tfrecords", "folder of the TFRecord files", free=True)

    # The input pipeline
    on_the_fly: bool = option(False, "draw the training images during training, so that none is seen twice")
    shift: int = option(2, "augmentation: largest shift of a training image, pixels in each direction", 0, 64)
    rotate: float = option(0.0, "augmentation: largest rotation, degrees in each direction", 0, 45)
    zoom: float = option(0.0, "augmentation: largest change of size, as a share of it", 0, 0.5)

    # The network
    channels: tuple[int, ...] = option((16, 32, 64, 64), "filters of the convolutions, first to last", 1, 1024)
    input_downsampling: bool = option(
        True, "halve the image first; without it steps are slower, and O and 0 differ more"
    )
    label_smoothing: float = option(0.05, "share of a label that is spread over all characters", 0.0, 0.5)

    # Training
    init_from: str = option("", "where to take convolutions from: a save folder, or digits, letters, capitals")
    batch_size: int = option(64, "images in a step, over all devices", 1, 65536)
    max_steps: int = option(1000, "steps to train for; the learning rate reaches zero at the last", 1, 10**8)
    learning_rate: float = option(8e-3, "largest learning rate, reached after the warm-up", 1e-7, 1.0)
    warmup_steps: int = option(20, "steps in which the learning rate rises from zero", 0, 10**6)
    weight_decay: float = option(0.01, "weight decay of matrices and kernels", 0.0, 1.0)
    precision: str = option("float32", f"what layers compute in: {', '.join(PRECISIONS)}; the last two are for GPUs")
    xla: bool = option(False, "compile the step with XLA; for one GPU, where it can be faster")

    # Checkpoints
    eval_every: int = option(200, "steps between two evaluations on the validation split", 1, 10**6, free=True)
    save_every: int = option(200, "steps between two checkpoints", 1, 10**6, free=True)
    keep_checkpoints: int = option(3, "newest checkpoints to keep, besides the best", 1, 1000, free=True)
    save_dir: str = option("save", "folder of the checkpoints", free=True)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))
        if len(set(self.characters)) != len(self.characters) or len(self.characters) < 2:
            raise UserError(f"characters: {self.characters!r} must be two or more characters, none of them repeated")
        blank = [c for c in self.characters if c.isspace() or not c.isprintable()]
        if blank:
            raise UserError(f"characters: {blank[0]!r} cannot be seen in an image; leave it out")
        if self.oversample_characters and not set(self.oversample_characters) < set(self.characters):
            raise UserError(
                f"oversample_characters: {self.oversample_characters!r} must be some of the characters"
                f" {self.characters!r}, and not all"
            )
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
        """The config that `dataclasses.asdict` turned into `values`. Raises UserError on an unknown name."""
        unknown = sorted(values.keys() - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise UserError(f"unknown config name {', '.join(unknown)}; captcha_config.py lists the names")
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})

    def experiment(self) -> dict[str, Any]:
        """The fields that decide the weights."""
        fields = dataclasses.fields(self)
        return {field.name: getattr(self, field.name) for field in fields if not field.metadata["free"]}


def _check(field: dataclasses.Field, value: Any) -> None:
    """Refuse a value of the wrong type or out of range; in a tuple, every item is checked."""
    is_tuple = typing.get_origin(field.type) is tuple
    if is_tuple != isinstance(value, tuple):
        raise UserError(f"{field.name}: {value!r} must be {'a tuple' if is_tuple else 'one value'}")
    kind, low, high = item_type(field), field.metadata["low"], field.metadata["high"]
    for item in value if is_tuple else (value,):
        if isinstance(item, bool) != (kind is bool) or not isinstance(item, (int, float) if kind is float else kind):
            raise UserError(f"{field.name}: {item!r} must be of type {kind.__name__}")
        if low is not None and not low <= item <= high:
            raise UserError(f"{field.name}: {item!r} is out of range; it must be from {low} to {high}")


def item_type(field: dataclasses.Field) -> type:
    """The type of a field's value, or of the items of a tuple."""
    return field.type.__args__[0] if typing.get_origin(field.type) is tuple else field.type
