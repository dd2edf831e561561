"""Start training from another network.

like_network(config, typed)             the config with that network's own settings
at_image_size(config, typed)            the config with the size of its images, for an import
start_from(config.init_from, ...)       a new network with what that network learnt
fingerprint(config)                     which network it is
"""

import dataclasses
import hashlib
import math
from collections.abc import Collection
from pathlib import Path

import captcha_model
from captcha_cli import UserError
from captcha_config import Config
from captcha_predict.decode import classes
from captcha_runs import checkpoint_files, checkpoints
from captcha_runs.checkpoint_files import BEST, LATEST

import keras
import numpy as np
import tensorflow as tf

WEIGHTS = Path(__file__).parent.parent / "weights"  # of the shipped models
NETWORK_FIELDS = ("channels", "input_downsampling", "input_color", "head_units")


def like_network(config: Config, typed: Collection[str]) -> Config:
    """The config with the network of config.init_from, so that it need not be typed again.

    A run resumes without that network, too. Where it is gone, the settings are those of the run in config.save_dir.

    Args:
      typed: names of the fields that were typed; these stay as they are.
    Raises:
      UserError: there is no such checkpoint.
    """
    if not config.init_from:
        return config
    try:
        _, theirs = _checkpoint(config.init_from, config)
        free = _counts_freely(theirs)
    except UserError:
        started = checkpoints.newest(Path(config.save_dir), LATEST, BEST)
        if not started:
            raise
        theirs = checkpoints.saved_config(started)
        free = theirs.count_freely
    taken = {name: getattr(theirs, name) for name in NETWORK_FIELDS} | {"count_freely": free}
    return dataclasses.replace(config, **{name: value for name, value in taken.items() if name not in typed})


def at_image_size(config: Config, typed: Collection[str]) -> tuple[Config, set[str]]:
    """The config with the image size of config.init_from's network, where one is named.

    At another size that network reads less before the first step, because its kernels are resampled and strokes look
    thinner or thicker to it.

    Args:
      typed: names of the fields that were typed; these stay as they are.
    Returns:
      The config, and the names of the fields that count as typed now.
    Raises:
      UserError: there is no such checkpoint.
    """
    if not config.init_from:
        return config, set(typed)
    _, theirs = _checkpoint(config.init_from, config)
    size = {name: getattr(theirs, name) for name in ("width", "height")}
    untyped = {name: pixels for name, pixels in size.items() if name not in typed}
    return dataclasses.replace(config, **untyped), {*typed, *size}


def _counts_freely(config: Config) -> bool:
    return config.count_freely or bool(config.min_length)


def start_from(name: str, model: keras.Model, config: Config) -> None:
    """Give a new network what a trained one learnt: its features, how it finds characters, the characters it knows.

    The other network may have been trained for captchas of another size or length, or other characters.

    Args:
      name: a folder that the trainer saved to, or the name of a shipped model.
    Raises:
      UserError: there is no such checkpoint, or its network has other settings.
    """
    metadata, theirs = _checkpoint(name, config)
    for field in NETWORK_FIELDS:
        if getattr(theirs, field) != getattr(config, field):
            raise UserError(
                f"init_from: {name} was trained with {field} {getattr(theirs, field)}; leave out --{field}, or train"
                " from scratch (without --init_from)"
            )
    trained = captcha_model.build(theirs)
    checkpoint_files.restore(metadata, trained)
    scale = 1.0  # of the last convolution's output
    for ours, other in zip(_with_weights(model), _with_weights(trained), strict=True):
        if isinstance(ours, keras.layers.Conv2D):
            scale = _take_over_convolution(ours, other)
        elif isinstance(ours, keras.layers.BatchNormalization):
            _take_over_normalization(ours, other, scale)
        else:
            _take_over_head(ours, other, config, theirs)


def _with_weights(network: keras.Model) -> list[keras.layers.Layer]:
    """The layers that two networks share: how an image is halved depends on its size."""
    return [layer for layer in network.layers if layer.weights]


def fingerprint(config: Config) -> str:
    """A short hash of the best checkpoint's files of the network in config.init_from; "" if none is named.

    Raises:
      UserError: there is no such network.
    """
    if not config.init_from:
        return ""
    metadata, _ = _checkpoint(config.init_from, config)
    return hashlib.sha256("".join(sorted(metadata["files"].values())).encode()).hexdigest()[:16]


def _checkpoint(name: str, config: Config) -> tuple[dict, Config]:
    """The metadata of the best checkpoint of a network, and the config that it was trained with."""
    shipped = WEIGHTS / name
    folder = shipped if shipped.is_dir() and not Path(name).is_dir() else Path(name)
    if not folder.is_dir():
        names = ", ".join(sorted(path.name for path in WEIGHTS.iterdir()))
        raise UserError(f"init_from: {name} is neither a folder that the trainer saved to nor one of {names}")
    return checkpoints.best(dataclasses.replace(config, save_dir=str(folder)), ())


def _take_over_head(ours: keras.layers.Layer, trained: keras.layers.Layer, config: Config, theirs: Config) -> None:
    if ours.name == "classifier":
        _take_over_classifier(ours, trained, classes(config), classes(theirs))
    elif ours.name == "amounts" and _counts_freely(config) and not _counts_freely(theirs):
        return  # the amounts of the other network are scaled: their sum means nothing
    else:
        kernel = trained.kernel.numpy()
        if ours.kernel.shape != kernel.shape:
            kernel = _for_other_rows(kernel, ours.kernel.shape[-2], config.channels[-1])
        ours.kernel.assign(kernel)
        ours.bias.assign(trained.bias)
    if ours.name == "amounts" and not _counts_freely(theirs):  # a column of a narrower image holds more
        ours.bias.assign_add([math.log(trained.output.shape[1] / ours.output.shape[1])])


def _take_over_convolution(ours: keras.layers.Layer, trained: keras.layers.Layer) -> float:
    """Take over a kernel, scaled to the norm of a new one.

    Training increases the norm of a kernel. Batch normalization hides that, but a step of the same size then rotates
    the kernel less (van Laarhoven 2017, https://arxiv.org/abs/1706.05350).

    Returns:
      The scale.
    """
    norm, trained_norm = (tf.norm(layer.kernel) for layer in (ours, trained))
    scale = float(norm / trained_norm)
    ours.kernel.assign(trained.kernel * scale)
    return scale


def _take_over_normalization(ours: keras.layers.Layer, trained: keras.layers.Layer, scale: float) -> None:
    """Take over a batch normalization of inputs that are `scale` times as large."""
    ours.gamma.assign(trained.gamma)
    ours.beta.assign(trained.beta)
    ours.moving_mean.assign(trained.moving_mean * scale)
    ours.moving_variance.assign(trained.moving_variance * scale**2)


def _take_over_classifier(
    ours: keras.layers.Layer, trained: keras.layers.Layer, known: tuple[str, ...], theirs: tuple[str, ...]
) -> None:
    """Take over the characters that both networks know. The others begin anew."""
    kernel, bias = ours.kernel.numpy(), ours.bias.numpy()
    for i, character in enumerate(known):
        if character in theirs:
            kernel[:, i] = trained.kernel[:, theirs.index(character)]
            bias[i] = trained.bias[theirs.index(character)]
    ours.kernel.assign(kernel)
    ours.bias.assign(bias)


def _for_other_rows(kernel: np.ndarray, inputs: int, filters: int) -> np.ndarray:
    """A kernel for columns of another number of rows. Each row gets its share of the rows in its place.

    The sum over the rows stays the same.

    Args:
      kernel: float32 [..., rows * filters, units].
      inputs: the new network's rows * filters.
    """
    *_, rows_and_filters, units = kernel.shape
    rows, new_rows = rows_and_filters // filters, inputs // filters
    by_row = kernel.reshape(-1, rows, filters * units)
    edges = np.arange(new_rows + 1) * rows / new_rows  # of the new rows, measured in rows
    top, bottom = edges[:-1, None], edges[1:, None]
    row = np.arange(rows)
    shares = np.maximum(0, np.minimum(bottom, row + 1) - np.maximum(top, row))  # [new_rows, rows]
    resampled = np.einsum("nr,bri->bni", shares, by_row)
    return resampled.reshape(*kernel.shape[:-2], inputs, units)
