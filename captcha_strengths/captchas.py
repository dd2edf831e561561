"""The captchas of a setting: their sets, and samples to show.

make_sets(pool)                 draws or imports them, unless they exist
samples_of(pool)                a few for the report
captchas_to_type(pool)          those that a person is shown
"""

import itertools

from captcha_predict.images import open_image
from captcha_sets.draw import draw, png
from captcha_sets.drawing import produce
from captcha_sets.importing import import_images
from captcha_sets.manifest import DRAWING_FIELDS, SPLITS, VALIDATION, read_manifest, set_exists
from captcha_sets.shards import examples
from captcha_strengths import humans
from captcha_strengths.settings import Pool

from PIL import Image

SAMPLES = 6  # captchas of each setting in the report


def make_sets(pool: Pool) -> None:
    """Draw or import the captchas of a setting, unless they exist."""
    missing = [split for split in SPLITS if not set_exists(split, pool.config)]
    if missing and pool.source:
        import_images(pool.source, SPLITS, pool.config, images=False, typed=DRAWING_FIELDS, leave_out=True)
        return
    for split in missing:
        produce(split, pool.config, images=False)


def samples_of(pool: Pool) -> list[tuple[str, Image.Image]]:
    """The first SAMPLES held-out captchas, as (text, image)."""
    return [(text, open_image(encoded)) for text, encoded in _held_out(pool, SAMPLES)]


def captchas_to_type(pool: Pool) -> list[tuple[str, str, bytes]]:
    """humans.SHOWN captchas that no network is trained on: new ones, or the first of your own that are held out.

    Returns:
      (name, text, PNG file) of each.
    """
    if pool.source:
        pairs = _held_out(pool, humans.SHOWN)
    else:
        drawn = (draw(index, humans.SPLIT, pool.config) for index in range(humans.SHOWN))
        pairs = [(text, png(image)) for text, image in drawn]
    names = humans.names_of(pool)
    return [(f"{names}{index}", *pair) for index, pair in enumerate(pairs)]


def _held_out(pool: Pool, count: int) -> list[tuple[str, bytes]]:
    """The first held-out captchas, as (text, PNG file)."""
    make_sets(pool)
    return list(itertools.islice(examples(read_manifest(VALIDATION, pool.config), pool.config), count))
