"""Every setting, once.

Edit the defaults below, or pass them to a script: each field that concerns a script is also its option,
`--name value`. Folders are relative to the current folder.
"""

import dataclasses
import functools
import re
import typing
from dataclasses import dataclass
from typing import Any

from captcha_predict.console import UserError

PRECISIONS = ("float32", "bfloat16", "float16")
LIBRARY = "captcha_sets.library:draw"  # the drawer that draws with the captcha library
MAX_LENGTH = 32  # characters in a captcha
MIN_PIXELS, MAX_PIXELS = 16, 2048  # of an image's width or height
RANGES = ("character_rotate", "character_offset_dx", "character_offset_dy", "character_warp_dx", "character_warp_dy")


def option(default: Any, about: str, low: float | None = None, high: float | None = None, *, free: bool = False) -> Any:
    """A field: its default, its meaning (with the unit), and the smallest and largest value allowed.

    A stopped run may continue with another value of a `free` field: it does not affect the weights, or only through the
    sets, which are compared by their content (see `experiment` for an exception).
    """
    if low is not None:
        about += f" ({low} to {high})"
    return dataclasses.field(default=default, metadata={"about": about, "low": low, "high": high, "free": free})


drawing_option = functools.partial(option, free=True)  # it affects the weights only through the sets


@dataclass(frozen=True)
class Config:
    """All settings. Raises UserError on a value that makes no sense, naming the field and its range."""

    # The captcha
    characters: str = option("0123456789", "characters of a captcha, in the order of their labels")
    length: int = option(4, "characters in a captcha", 1, MAX_LENGTH)
    min_length: int = option(0, "smallest length, where lengths vary; 0: all have length", 0, MAX_LENGTH)
    width: int = option(128, "image width, pixels", MIN_PIXELS, MAX_PIXELS)
    height: int = option(64, "image height, pixels", MIN_PIXELS, MAX_PIXELS)
    seed: int = option(1, "decides every pixel, every batch and every weight", 0, 2**31 - 1)

    # Its drawing; from bg_color on, what the captcha library lets one set, mostly under its own names
    drawer: str = drawing_option(LIBRARY, "the function that draws, as module:function")
    fonts: tuple[str, ...] = drawing_option((), "TrueType font files; none: the captcha library's own")
    font_sizes: tuple[int, ...] = drawing_option((40,), "font sizes, pixels", 4, 1024)
    canvas_sizes: tuple[str, ...] = drawing_option(
        (), "sizes to draw at, such as 160x60; images are then resized; none: width x height"
    )
    oversample_characters: str = drawing_option("", "characters that make up half of the training split's text")
    bg_color: tuple[int, ...] = drawing_option((), "background: red, green, blue; none: a random pale colour", 0, 255)
    fg_color: tuple[int, ...] = drawing_option(
        (), "ink: red, green, blue, and opacity if it is not 255; none: a random darker colour", 0, 255
    )
    noise_dots: int = drawing_option(30, "dots of noise", 0, 10_000)
    noise_dot_width: int = drawing_option(3, "width of a dot, pixels", 1, 100)
    noise_curves: int = drawing_option(1, "arcs of noise", 0, 100)
    character_rotate: tuple[int, ...] = drawing_option((-30, 30), "rotation of a character, degrees", -180, 180)
    character_offset_dx: tuple[int, ...] = drawing_option(
        (0, 4), "blank columns at the left, which 0.7.1 crops", 0, 256
    )
    character_offset_dy: tuple[int, ...] = drawing_option((0, 6), "blank rows above, which 0.7.1 crops", 0, 256)
    character_warp_dx: tuple[float, ...] = drawing_option((0.1, 0.3), "horizontal warp, share of the width", 0.0, 2.0)
    character_warp_dy: tuple[float, ...] = drawing_option((0.2, 0.3), "vertical warp, share of the height", 0.0, 2.0)
    word_space_probability: float = drawing_option(
        0.5, "probability that no space is drawn before a character", 0.0, 1.0
    )
    word_offset_dx: float = drawing_option(0.25, "largest overlap, share of the characters' mean width", 0.0, 1.0)
    lookup_table: tuple[int, ...] = drawing_option(
        (), "opacity of the ink for each of 256 levels; none: the captcha library's own", 0, 2**16
    )

    # The sets
    train_count: int = option(30_000, "captchas in the training split", 1, 10**9, free=True)
    validation_count: int = option(3_000, "captchas in the validation split", 1, 10**9, free=True)
    validation_share: float = option(0.2, "share of imported images held out for validation", 0.001, 0.9, free=True)
    images_per_shard: int = option(1000, "captchas in one TFRecord file", 1, 1_000_000, free=True)
    workers: int = option(0, "processes that draw (0: one per core)", 0, 1024, free=True)
    images_dir: str = option("images", "folder of the PNG files, one folder a split", free=True)
    tfrecords_dir: str = option("tfrecords", "folder of the TFRecord files", free=True)

    # The input pipeline
    on_the_fly: bool = option(False, "draw the training images during training, so that none is seen twice")
    shift: int = option(2, "augmentation: largest shift of a training image, pixels in each direction", 0, 64)
    rotate: float = option(0.0, "augmentation: largest rotation, degrees in each direction", 0, 45)
    zoom: float = option(0.0, "augmentation: the size changes by 1 / (1 + zoom) to 1 / (1 - zoom)", 0, 0.5)

    # The network
    channels: tuple[int, ...] = option((16, 32, 64, 64), "filters of the convolutions, first to last", 1, 1024)
    input_downsampling: bool = option(True, "halve the image first; off: slower steps, better at telling O from 0")
    head_units: tuple[int, ...] = option(
        (16, 64), "two numbers: filters that locate characters, and features of each column", 1, 4096
    )
    count_freely: bool = option(
        False, "do not scale the number of characters found to length; always so where lengths vary"
    )
    input_color: bool = option(False, "see images in colour; off: in grey")
    one_alphabet: bool = option(
        False,
        "when reading, use a prior: a text is all digits, lower case, upper case, or a mixture, each equally likely",
        free=True,
    )
    label_smoothing: float = option(0.05, "share of a label that is spread over all characters", 0.0, 0.5)

    # Training
    automatic: bool = option(
        True, "for imported images, choose max_steps, shift, rotate, zoom and learning_rate", free=True
    )
    init_from: str = option(
        "",
        "the network to start from (an import takes its image size): a save folder, digits, letters, capitals, starter",
    )
    batch_size: int = option(64, "global batch size: images in a step, over all devices", 1, 65536)
    max_steps: int = option(1000, "steps to train for; the learning rate reaches zero at the last", 1, 10**8)
    learning_rate: float = option(8e-3, "peak learning rate, after the warm-up", 1e-7, 1.0)
    warmup_steps: int = option(20, "steps in which the learning rate rises from zero", 0, 10**6)
    weight_decay: float = option(0.01, "weight decay of matrices and kernels", 0.0, 1.0)
    precision: str = option(
        "float32",
        f"compute dtype of the layers: {', '.join(PRECISIONS)}; the last two are for GPUs, bfloat16 for some CPUs, too",
    )
    xla: bool = option(False, "compile the step with XLA; for one GPU, where it can be faster")

    # Checkpoints
    eval_every: int = option(200, "steps between two evaluations on the validation split", 1, 10**6, free=True)
    save_every: int = option(200, "steps between two checkpoints", 1, 10**6, free=True)
    keep_checkpoints: int = option(3, "newest checkpoints to keep, besides the best", 1, 1000, free=True)
    save_dir: str = option("save", "folder of the checkpoints", free=True)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))
        self._check_characters()
        self._check_lengths()
        self._check_drawing()
        self._check_network()

    def _check_characters(self) -> None:
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

    def _check_lengths(self) -> None:
        if self.min_length > self.length:
            raise UserError(f"min_length: {self.min_length} must not be more than length {self.length}; set both")
        if self.min_length == self.length:
            object.__setattr__(self, "min_length", 0)  # one way to say it: sets and runs are compared by their values

    def _check_drawing(self) -> None:
        if not self.font_sizes:
            raise UserError("font_sizes: give one size or more")
        for name in RANGES:
            bounds = getattr(self, name)
            if len(bounds) != 2 or bounds[0] > bounds[1]:
                raise UserError(f"{name}: {bounds} must be two numbers, the smaller one first")
        for name, counts in (("bg_color", (0, 3)), ("fg_color", (0, 3, 4)), ("lookup_table", (0, 256))):
            if len(getattr(self, name)) not in counts:
                allowed = " or ".join(map(str, counts[1:]))
                raise UserError(f"{name}: {len(getattr(self, name))} numbers are given; it takes {allowed}, or none")
        _ = self.canvases  # raises

    def _check_network(self) -> None:
        if self.shift >= min(self.width, self.height):
            raise UserError(f"shift: {self.shift} must be less than width {self.width} and height {self.height}")
        if self.precision not in PRECISIONS:
            raise UserError(f"precision: {self.precision!r} must be one of {', '.join(PRECISIONS)}")
        if len(self.head_units) != 2:
            raise UserError("head_units: give two numbers, such as 16 64")
        if len(self.channels) < 2:
            raise UserError("channels: the network has at least 2 convolutions; give 2 numbers or more")

    @classmethod
    def from_file(cls, values: dict[str, Any], file: Any) -> "Config":
        """As from_dict, of values that were read from a file. Errors name it."""
        try:
            return cls.from_dict(values)
        except UserError as error:
            raise UserError(f"{file}: {error}") from error

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Config":
        """The config that `dataclasses.asdict` turned into `values`.

        Raises:
          UserError: a name is unknown, or a value makes no sense.
        """
        unknown = sorted(values.keys() - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise UserError(f"unknown config name {', '.join(unknown)}; captcha_config.py lists the names")
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})

    @property
    def lengths(self) -> range:
        """The lengths that a captcha may have."""
        return range(self.min_length or self.length, self.length + 1)

    @property
    def lengths_in_words(self) -> str:
        """Such as "4", or "4 to 6"."""
        return f"{self.min_length} to {self.length}" if self.min_length else str(self.length)

    @property
    def input_channels(self) -> int:
        """The channels of the pixels that the network sees."""
        return 3 if self.input_color else 1

    @functools.cached_property
    def canvases(self) -> list[tuple[int, int]]:
        """The sizes to draw at, (width, height) in pixels. Raises UserError where canvas_sizes names no such size."""
        sizes = []
        for text in self.canvas_sizes or (f"{self.width}x{self.height}",):
            match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", text)
            size = tuple(map(int, match.groups())) if match else (0, 0)
            if not all(MIN_PIXELS <= pixels <= MAX_PIXELS for pixels in size):
                allowed = f"{MIN_PIXELS} to {MAX_PIXELS} pixels"
                raise UserError(f"canvas_sizes: {text!r} must be WIDTHxHEIGHT, such as 160x60, each {allowed}")
            sizes.append(size)
        return sizes

    def experiment(self) -> dict[str, Any]:
        """The fields that decide the weights."""
        names = [field.name for field in dataclasses.fields(self) if not field.metadata["free"]]
        if self.on_the_fly:
            names.append("oversample_characters")  # it concerns only training captchas, of which there is no set
        return {name: getattr(self, name) for name in names}


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
