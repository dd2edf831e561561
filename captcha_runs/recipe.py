"""How to train on images of your own, chosen by their number.

config = for_own_images(config, count, typed)       the config with these choices
config = for_sets(config, typed)                    the same where the sets were imported
"""

import dataclasses
from collections.abc import Collection

from captcha_config import Config
from captcha_sets.draw import TRAIN
from captcha_sets.manifest import SPLITS, open_manifest, set_exists

# (labelled images up to this number, how to train on them): the fewer, the more they are varied
RECIPES = (
    (3_000, {"max_steps": 500, "shift": 6, "rotate": 10.0, "zoom": 0.1}),
    (30_000, {"max_steps": 1000, "shift": 4, "rotate": 5.0, "zoom": 0.05}),
)
CAREFUL = {"learning_rate": 0.004}  # where another network is started from, so that less of it is lost


def for_own_images(config: Config, count: int, typed: Collection[str]) -> Config:
    """The config with a recipe for `count` labelled images, those held out included.

    Args:
      typed: names of the fields that were typed; these stay as they are.
    """
    for largest, values in RECIPES if config.automatic else ():
        if count <= largest:
            values = values | CAREFUL if config.init_from else values
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
    names = [name for name in (*RECIPES[0][1], *CAREFUL) if getattr(chosen, name) != getattr(config, name)]
    if names:
        values = ", ".join(f"{name} {getattr(chosen, name)}" for name in names)
        print(f"chosen for {count} imported images: {values} (options override these)")
    return chosen
