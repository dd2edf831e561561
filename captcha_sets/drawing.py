"""A split of drawn captchas.

produce(split, config, ...)     draws it, in the place of an earlier one
"""

from collections.abc import Collection

from captcha_cli import track
from captcha_config import Config
from captcha_sets.draw import check_drawing
from captcha_sets.manifest import DRAWN, DRAWN_ONCE, check_not_imported, count_of
from captcha_sets.pool import draw_many, is_repeatable
from captcha_sets.replace import check_target, write_split


def produce(split: str, config: Config, *, images: bool = True, typed: Collection[str] = ()) -> dict:
    """Draw a split, in the place of an earlier one.

    Args:
      split: "train" or "validation"; config.train_count or config.validation_count says how many captchas.
      images: whether to write the PNG files as well.
      typed: names of the fields that were typed; what reads the set takes these from its manifest.
    Returns:
      The manifest, as in <tfrecords_dir>/<split>.json.
    Raises:
      UserError: the characters cannot be drawn; the drawer fails; the earlier split was imported; the folder of PNG
        files holds files that the producer did not write; another producer is at work.
      OSError: a folder cannot be written. The earlier split is untouched then.
    """
    count = count_of(split, config)
    check_drawing(config)
    check_target(split, config, images)
    check_not_imported(split, config)
    origin = DRAWN if is_repeatable(split, config) else DRAWN_ONCE
    drawn = track(draw_many(range(count), split, config), count, f"drawing {split}")
    return write_split(drawn, count, split, config, images=images, typed=typed, origin=origin)
