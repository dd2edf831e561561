"""A trained network, to read with: the best checkpoint of a run, or an exported model.

network = of_checkpoint(config)         the best checkpoint in config.save_dir
network = of_export(model, config)      a .tflite file, or a shipped model
config = drawn_like(network, values)    to draw captchas like those of its training
"""

import dataclasses
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import captcha_model
import captcha_predict
from captcha_config import Config
from captcha_runs import attention, checkpoint_files, checkpoints
from captcha_sets.manifest import CAPTCHA_FIELDS, DRAWING_FIELDS

import numpy as np

# How captchas are drawn, beyond what the network is made for.
DRAWN_FIELDS = tuple(name for name in DRAWING_FIELDS if name not in (*CAPTCHA_FIELDS, "seed", "oversample_characters"))


@dataclass(frozen=True)
class Trained:
    """A network that is ready to read."""

    name: str  # the path of its file
    config: Config  # of its training, except for the caller's own fields
    saved: dict  # the config of its training, as it was saved
    drawn_with: dict  # how its training images were drawn
    logits: Callable  # uint8 [batch, height, width, channels] → calibrated logits, float32 [batch, length, classes]
    look: Callable | None  # the same → (logits, position weights, see attention.with_weights); None for an export


def of_checkpoint(config: Config, own: Collection[str] = ()) -> Trained:
    """The best checkpoint in config.save_dir.

    Args:
      own: fields of the config that stay as they are; the others are those of the training.
    Raises:
      UserError: there is none, or it is damaged.
    """
    metadata, trained = checkpoints.best(config, own)
    network = captcha_model.build(trained, channels=3)
    checkpoint_files.restore(metadata, network)
    looking, temperature = attention.with_weights(network), np.float32(metadata["best"]["temperature"])

    def look(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found, weights = captcha_model.forward(looking, images)
        return np.asarray(found) / temperature, np.asarray(weights)

    name = str(metadata["path"].with_suffix(""))
    return Trained(name, trained, metadata["config"], metadata["drawn_with"], lambda images: look(images)[0], look)


def of_export(model: str | Path | None, config: Config, own: Collection[str] = ()) -> Trained:
    """An exported model, named as captcha_predict.find takes it.

    Args:
      own: as for of_checkpoint.
    Raises:
      UserError: there is no such model, or it is damaged.
    """
    reader, path = captcha_predict.load(model), captcha_predict.find(model)
    trained = Config.from_file(reader.description["config"], path)
    trained = dataclasses.replace(trained, **{name: getattr(config, name) for name in own})
    saved, drawn_with = (reader.description[name] for name in ("config", "drawn_with"))
    return Trained(str(path), trained, saved, drawn_with, reader.logits, None)


def drawn_like(network: Trained, values: dict) -> Config:
    """The config of captchas with the network's characters, lengths and size, drawn as DRAWN_FIELDS in `values` say.

    Raises:
      UserError: a value makes no sense.
    """
    drawing = {name: values[name] for name in DRAWN_FIELDS if name in values}
    return Config.from_dict(dataclasses.asdict(network.config) | drawing)
