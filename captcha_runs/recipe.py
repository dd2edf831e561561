"""How to train on images of your own, chosen by their number.

config = for_own_images(config, count, typed)       the config with these choices
config = for_sets(config, typed)                    the same where the sets were imported
"""

import dataclasses
from collections.abc import Collection

from captcha_config import Config
from captcha_sets.draw import TRAIN
from captcha_sets.manifest import SPLITS, open_manifest, set_exists

# (labelled images up to this number, how to train on them): the fewer, the more they are varied.
FROM_SCRATCH = (
    (3_000, {"max_steps": 500, "shift": 6, "rotate": 10.0, "zoom": 0.1}),
    (30_000, {"max_steps": 1000, "shift": 4, "rotate": 5.0, "zoom": 0.05}),
)
# From a network that reads some of these captchas already: at a higher learning rate it forgets more than it learns.
FINE_TUNING = (
    (300, {"max_steps": 200, "learning_rate": 0.0005, "shift": 6, "rotate": 10.0, "zoom": 0.1}),
    (3_000, {"max_steps": 300, "learning_rate": 0.001, "shift": 6, "rotate": 10.0, "zoom": 0.1}),
    (30_000, {"max_steps": 1000, "learning_rate": 0.001, "shift": 4, "rotate": 5.0, "zoom": 0.05}),
)
CHOSEN = ("max_steps", "learning_rate", "shift", "rotate", "zoom")


def for_own_images(config: Config, count: int, typed: Collection[str]) -> Config:
    """The config with a recipe for `count` labelled images, those held out included.

    Args:
      typed: names of the fields that were typed; these stay as they are.
    """
    recipes = FINE_TUNING if config.init_from else FROM_SCRATCH
    for largest, values in recipes if config.automatic else ():
        if count <= largest:
            chosen = {name: value for name, value in values.items() if name not in typed}
            return dataclasses.replace(config, **chosen)
    return config


def for_sets(config: Config, typed: Collection[str]) -> Config:
    """The config with a recipe for the images of its sets, where they were imported; and say so."""
    manifests = [open_manifest(split, config) for split in SPLITS if set_exists(split, config)]
    imported = [manifest for manifest in manifests if manifest["source"] is not None]
    if config.on_the_fly or TRAIN not in [manifest["split"] for manifest in imported]:
        return config
    count = sum(manifest["count"] for manifest in imported)
    chosen = for_own_images(config, count, typed)
    names = [name for name in CHOSEN if getattr(chosen, name) != getattr(config, name)]
    if names:
        values = ", ".join(f"{name} {getattr(chosen, name)}" for name in names)
        print(f"chosen for {count} imported images: {values} (options override these)")
    return chosen
