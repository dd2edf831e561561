"""The network that the try-out page uses: a checkpoint, which also gives position weights, or an exported model.

network = load(name, config)        named as --model takes it
network.read(image)                 text, confidence, positions, weights
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import captcha_model
import captcha_predict
from captcha_config import Config
from captcha_predict.decode import prediction_of
from captcha_predict.images import open_image, resized
from captcha_runs import attention, checkpoint_files, checkpoints
from captcha_runs.transfer import WEIGHTS

import numpy as np


@dataclass(frozen=True)
class Network:
    """A network that reads one image at a time."""

    file: str
    config: Config  # the one that it was trained with
    drawn_with: dict  # how its training images were drawn
    forward: Callable  # uint8 [1, height, width, 3] → (calibrated logits, position weights or None)

    def read(self, content: bytes) -> dict:
        """Read an image file.

        Returns:
          text; confidence, 0 to 1; positions, the probability of each character ("" is the end) for each position; and
          weights, the weight of each column, left to right, for each position, or None if the model has none.
        Raises:
          UserError: it is not an image, or too large.
        """
        image = resized(open_image(content), (self.config.width, self.config.height))
        logits, weights = self.forward(np.asarray(image)[None])
        prediction = prediction_of(logits[0], self.config)
        return {
            "text": prediction.text,
            "confidence": prediction.confidence,
            "positions": prediction.positions,
            "weights": None if weights is None else weights[0].tolist(),
        }


def load(name: str | None, config: Config) -> Network:
    """The network of that name: a folder that the trainer saved to, a shipped model, or a .tflite file.

    None is the best checkpoint in config.save_dir if there is one, and the shipped digits otherwise.

    Raises:
      UserError: there is no such network.
    """
    folders = (
        [Path(config.save_dir), WEIGHTS / captcha_predict.DEFAULT] if name is None else [Path(name), WEIGHTS / name]
    )
    for folder in folders:
        if checkpoint_files.newest(folder, checkpoint_files.BEST):
            return _of_checkpoint(folder, config)
    return _of_export(name)


def _of_checkpoint(folder: Path, config: Config) -> Network:
    metadata, trained = checkpoints.best(dataclasses.replace(config, save_dir=str(folder)), ())
    network = captcha_model.build(trained, channels=3)
    checkpoint_files.restore(metadata, network)
    looking, temperature = attention.with_weights(network), metadata["best"]["temperature"]

    def forward(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, weights = captcha_model.forward(looking, images)
        return np.asarray(logits) / np.float32(temperature), np.asarray(weights)

    return Network(str(metadata["path"].with_suffix("")), trained, metadata["drawn_with"], forward)


def _of_export(name: str | None) -> Network:
    reader = captcha_predict.load(name)
    path = captcha_predict.find(name)
    config = Config.from_file(reader.description["config"], path)
    drawn_with = reader.description["drawn_with"]
    return Network(str(path), config, drawn_with, lambda images: (reader.logits(images), None))
