"""Start training from the convolutions of another network."""

from dataclasses import replace
from pathlib import Path

import captcha_model
from captcha_cli import UserError
from captcha_config import Config
from captcha_runs import checkpoint_files, checkpoints

import keras
import tensorflow as tf

WEIGHTS = Path(__file__).parent.parent / "weights"  # of the shipped models


def start_from(name: str, model: keras.Model, config: Config) -> None:
    """Give a new network the convolutions of a trained one. Attention and classifier begin anew.

    Training increases the norm of a kernel. Batch normalization hides that, but a step of the same size then rotates
    the kernel less (van Laarhoven 2017, https://arxiv.org/abs/1706.05350). So each is scaled to the norm of a new one.

    Args:
      name: a folder that the trainer saved to, or the name of a shipped model.
    Raises:
      UserError: there is no such checkpoint, or its network has other convolutions.
    """
    shipped = WEIGHTS / name
    folder = shipped if shipped.is_dir() and not Path(name).is_dir() else Path(name)
    if not folder.is_dir():
        names = ", ".join(sorted(path.name for path in WEIGHTS.iterdir()))
        raise UserError(f"init_from: {name} is neither a folder that the trainer saved to nor one of {names}")
    metadata, theirs = checkpoints.best(replace(config, save_dir=str(folder)), ())
    if theirs.channels != config.channels:
        given = " ".join(map(str, theirs.channels))
        raise UserError(f"{folder}: was trained with other channels; use the same: --channels {given}")
    if theirs.input_downsampling != config.input_downsampling:
        given = "--input_downsampling" if theirs.input_downsampling else "--no-input_downsampling"
        raise UserError(f"{folder}: was trained on images of another scale; use the same: {given}")
    trained = captcha_model.build(theirs)
    checkpoint_files.restore(metadata, trained)
    for ours, other in zip(model.layers, trained.layers, strict=True):
        _take_over(ours, other)


def _take_over(ours: keras.layers.Layer, trained: keras.layers.Layer) -> None:
    if isinstance(ours, keras.layers.Conv2D):
        length, trained_length = (tf.norm(layer.kernel) for layer in (ours, trained))
        ours.kernel.assign(trained.kernel * (length / trained_length))
    elif isinstance(ours, keras.layers.BatchNormalization):
        ours.gamma.assign(trained.gamma)
        ours.beta.assign(trained.beta)
