"""The settings that are compared, and the captchas of each.

settings = grid(config, varied)             the config with each combination of the values of --vary
pool = drawn_pool(setting, labels, ...)     captchas to draw, for training and held out
pool = own_pool(source, config, ...)        the same, of your own labelled images
sizes = sizes_of(pools, sizes)              the sizes for which there are enough captchas
seconds_to_draw(pools)                      an estimate
"""

import dataclasses
import inspect
import itertools
import os
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from captcha_cli import UserError
from captcha_config import Config, item_type
from captcha_predict.console import printable
from captcha_sets.draw import TRAIN, check_drawing, draw, is_own
from captcha_sets.files import checksum, sha256
from captcha_sets.labelled import fitted, hold_out, labelled_images
from captcha_sets.manifest import CAPTCHA_FIELDS, DRAWING_FIELDS, SPLITS, VALIDATION, set_exists, versions

VARIED = tuple(name for name in DRAWING_FIELDS if name != "seed")
AS_IT_IS = "the captcha"  # the name of the setting if nothing is varied
TRIAL_CAPTCHAS = 20  # drawn for the estimate
SETS = "sets"  # folder of the drawn or imported captchas, in the folder of the results


class Setting(NamedTuple):
    name: str  # such as "noise_dots 30, length 4"
    config: Config


@dataclass(frozen=True)
class Pool:
    """The captchas of a setting."""

    name: str  # of the setting
    config: Config  # with their characters, lengths and size, and the folder of their splits
    digest: str  # of everything that decides the captchas
    count: int  # captchas to train on
    held_out: int  # captchas that no network trains on
    source: Path | None  # of your own images; None: drawn

    @property
    def looks(self) -> str:
        """A digest of what decides how the captchas look. Unlike `digest`, it is the same for any number of them."""
        if self.source:
            return self.digest
        return checksum(_drawing(self.config))[:16]


def grid(config: Config, varied: Sequence[Sequence[str]]) -> list[Setting]:
    """The settings to compare.

    Args:
      varied: for each --vary, the name of a drawing setting, and its values. A value of several numbers is one word:
        ["character_rotate", "0 0", "-30 30"].
    Raises:
      UserError: there is no such setting, it is given twice, or a value is not allowed.
    """
    choices = [_choices(*words) for words in varied]
    names = [words[0] for words in varied]
    if len(set(names)) < len(names):
        raise UserError("--vary: a setting is given twice; give all of its values at once")
    return [_setting(config, dict(pairs)) for pairs in itertools.product(*choices)]


def _choices(name: str, *words: str) -> list[tuple[str, Any]]:
    if name not in VARIED:
        raise UserError(f"--vary {name}: is not a drawing setting; choose one of {', '.join(VARIED)}")
    if not words:
        raise UserError(f"--vary {name}: has no values; give some, such as --vary noise_dots 0 30 60")
    return [(name, value) for value in dict.fromkeys(_value(name, word) for word in words)]


def _value(name: str, word: str) -> Any:
    (field,) = (field for field in dataclasses.fields(Config) if field.name == name)
    kind = item_type(field)
    try:
        return tuple(map(kind, word.split())) if isinstance(field.default, tuple) else kind(word)
    except ValueError as error:
        raise UserError(f"--vary {name} {word}: {word!r} must be of type {kind.__name__}") from error


def _setting(config: Config, values: dict[str, Any]) -> Setting:
    named = ", ".join(f"{name} {_in_words(value)}" for name, value in values.items())
    return Setting(named or AS_IT_IS, dataclasses.replace(config, **values))


def _in_words(value: Any) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def drawn_pool(setting: Setting, labels: int, folder: Path) -> Pool:
    """Captchas to draw for a setting: `labels` of them to train on, and config.validation_count held out.

    Raises:
      UserError: they cannot be drawn.
    """
    check_drawing(setting.config)
    config = dataclasses.replace(setting.config, train_count=labels)
    counts = {name: getattr(config, name) for name in ("train_count", "validation_count")}
    digest = checksum(_drawing(config) | counts)[:16]
    return Pool(setting.name, _in_folder(config, folder, digest), digest, labels, config.validation_count, None)


def _drawing(config: Config) -> dict:
    """The drawing fields, library versions and, for a drawer outside this project, its module's checksum."""
    values = {name: getattr(config, name) for name in DRAWING_FIELDS} | versions()
    if not is_own(config.drawer):
        module = sys.modules[config.drawer.partition(":")[0]]
        values["code"] = sha256(Path(inspect.getfile(module)))
    return values


def own_pool(source: Path, config: Config, typed: Collection[str], folder: Path) -> Pool:
    """Your own labelled images. config.validation_share of them is held out, the same for all measurements.

    Args:
      source: as captcha_sets.labelled.labelled_images takes it.
      typed: names of the fields that were typed. Characters, lengths and size are as typed, or those of the images.
    Raises:
      UserError: there are too few images, or none can be used.
    """
    insisted = [name for name in CAPTCHA_FIELDS if name in typed]
    good, problems = labelled_images(source, config, insisted)
    for problem in problems:
        print(f"left out: {printable(problem)}")
    if not good:
        raise UserError(f"{source}: none of its images can be used; correct them, or add others")
    config = fitted(good, config, insisted)
    parts = hold_out(good, source, config)
    values = {name: getattr(config, name) for name in (*CAPTCHA_FIELDS, "seed", "validation_share")}
    digest = checksum(values | {"images": [[image.text, sha256(image.path)] for image in good]})[:16]
    counts = len(parts[TRAIN]), len(parts[VALIDATION])
    return Pool(AS_IT_IS, _in_folder(config, folder, digest), digest, *counts, source)


def _in_folder(config: Config, folder: Path, digest: str) -> Config:
    place = str(folder / SETS / digest)
    return dataclasses.replace(config, tfrecords_dir=place, images_dir=place)


def sizes_of(pools: Sequence[Pool], sizes: Sequence[int]) -> list[int]:
    """The sizes for which there are enough captchas, in ascending order. A line is printed about the others.

    Raises:
      UserError: there are too few for any of the sizes.
    """
    largest = min(pool.count for pool in pools)
    sizes = sorted(set(sizes))
    too_many = ", ".join(f"{size:,}" for size in sizes if size > largest)
    if sizes[0] > largest:
        raise UserError(f"--sizes: there are only {largest:,} labelled captchas to train on; choose smaller sizes")
    if too_many:
        print(f"left out: {too_many} labels; there are {largest:,} to train on, and {pools[0].held_out:,} are held out")
    return [size for size in sizes if size <= largest]


def seconds_to_draw(pools: Sequence[Pool]) -> float:
    """An estimate of the seconds to draw the captchas that do not exist yet."""
    total = 0.0
    for pool in pools:
        counts = {TRAIN: pool.count, VALIDATION: pool.held_out}
        count = sum(counts[split] for split in SPLITS if not set_exists(split, pool.config))
        if count and not pool.source:
            began = time.perf_counter()
            for index in range(TRIAL_CAPTCHAS):
                draw(index, TRAIN, pool.config)
            each = (time.perf_counter() - began) / TRIAL_CAPTCHAS
            total += count * each / (pool.config.workers or os.cpu_count() or 1)
    return total
