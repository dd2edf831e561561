"""The network that the try-out page uses: a checkpoint, which also gives position weights, or an exported model.

network = load(name, config)        named as --model takes it
read(network, content)              text, confidence, positions, weights of an image file
"""

import dataclasses
from pathlib import Path

import captcha_predict
from captcha_config import Config
from captcha_predict.decode import prediction_of
from captcha_predict.images import open_image, resized
from captcha_runs import checkpoint_files, trained
from captcha_runs.trained import Trained
from captcha_runs.transfer import WEIGHTS

import numpy as np


def load(name: str | None, config: Config) -> Trained:
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
            return trained.of_checkpoint(dataclasses.replace(config, save_dir=str(folder)))
    return trained.of_export(name, config)


def read(network: Trained, content: bytes) -> dict:
    """Read an image file.

    Returns:
      text; confidence, 0 to 1; positions, the probability of each character ("" is the end) for each position; and
      weights, the weight of each column, left to right, for each position, or None if the model has none.
    Raises:
      UserError: it is not an image, or too large.
    """
    image = np.asarray(resized(open_image(content), (network.config.width, network.config.height)))
    logits, weights = network.look(image[None]) if network.look else (network.logits(image[None]), None)
    prediction = prediction_of(logits[0], network.config)
    return {
        "text": prediction.text,
        "confidence": prediction.confidence,
        "positions": prediction.positions,
        "weights": None if weights is None else weights[0].tolist(),
    }
