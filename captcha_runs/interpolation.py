"""Average the weights of two trained networks, one of which was trained on from the other.

    python -m captcha_runs.interpolation save/first save/second --share 0.6 --save_dir save/both

The network between the two often keeps what the first one could read, and reads what the second one learnt (Wortsman et
al. 2022, https://arxiv.org/abs/2109.01903). The kernels of the second one's convolutions are first scaled to the norms
of the first one's. Batch normalization cancels a kernel's norm, but in a plain average the larger kernel dominates, and
fine-tuning starts from kernels that were scaled down. The statistics of batch normalization are computed anew from the
training split, since those of an averaged network are not the average (Izmailov et al. 2018,
https://arxiv.org/abs/1803.05407).
"""

import argparse
import dataclasses
import functools
from collections.abc import Iterable
from pathlib import Path

from captcha_cli import UserError, parse_args, quiet_import, run, track

with quiet_import(__name__):
    import captcha_data
    import captcha_model

from captcha_config import Config
from captcha_runs import checkpoint_files, checkpoints, metrics, transfer
from captcha_sets.manifest import TRAIN, VALIDATION, manifest_for_model

import keras
import tensorflow as tf

FIELDS = ("tfrecords_dir", "save_dir")
BATCHES = 60  # of the training split, for the statistics of batch normalization


def interpolate(first: Path, second: Path, share: float, config: Config) -> float:
    """Write the network between two best checkpoints as the best checkpoint of config.save_dir.

    Args:
      first, second: folders that the trainer saved to.
      share: of the second network's weights, 0 to 1; the others are the first one's.
      config: save_dir and tfrecords_dir.
    Returns:
      The captcha accuracy on the validation split.
    Raises:
      UserError: config.save_dir holds another run; a checkpoint or a split is missing or damaged; or the networks
        differ in their layers, or in what their classes are.
    """
    folder = Path(config.save_dir)
    checkpoints.check_no_run(folder, "write to another one (--save_dir)")
    (other, before), (metadata, trained) = (
        checkpoints.best(dataclasses.replace(config, save_dir=str(each)), FIELDS) for each in (first, second)
    )
    ours, theirs = (_classes_and_layers(each) for each in (before, trained))
    for field in ours:
        if ours[field] != theirs[field]:
            raise UserError(f"{first} and {second} differ in {field}; name two networks that do not")
    network = _between(other, metadata, share, trained)
    training, validation = (
        captcha_data.open_pixels(manifest_for_model(split, trained), trained) for split in (TRAIN, VALIDATION)
    )
    batches = captcha_data.training_batches(training, 0, trained).take(BATCHES)
    renew_statistics(network, (images for images, _ in track(batches, BATCHES, "batch normalization", "batches")))

    forward = functools.partial(captcha_model.forward, network)
    logits, labels = captcha_model.predict(forward, captcha_data.evaluation_batches(validation, trained.batch_size))
    accuracy = float(captcha_model.evaluation(logits, labels, trained)[0].mean())
    temperature = metrics.temperature(logits, labels, trained)
    best = {"step": metadata["step"], "captcha_accuracy": accuracy, "temperature": temperature}
    checkpoints.write_weights(metadata | {"best": best}, network, folder)
    return accuracy


def _classes_and_layers(config: Config) -> dict:
    """What two networks must have in common, by the field of the config that decides it."""
    varying = config.min_length > 0
    network = {name: getattr(config, name) for name in ("characters", *transfer.NETWORK_FIELDS)}
    return network | {"min_length": varying, "count_freely": varying or config.count_freely}


def _between(first: dict, second: dict, share: float, config: Config) -> keras.Model:
    """The network with `share` of the second checkpoint's weights, and the rest of the first one's."""
    networks = [captcha_model.build(config) for _ in range(2)]
    for metadata, network in zip((first, second), networks, strict=True):
        checkpoint_files.restore(metadata, network)
    ours, theirs = networks
    for layer, other in zip(ours.layers, theirs.layers, strict=True):
        if isinstance(layer, keras.layers.Conv2D):
            other.kernel.assign(other.kernel * (tf.norm(layer.kernel) / tf.norm(other.kernel)))
    pairs = zip(ours.get_weights(), theirs.get_weights(), strict=True)
    ours.set_weights([a + share * (b - a) for a, b in pairs])
    return ours


def renew_statistics(network: keras.Model, batches: Iterable[tf.Tensor]) -> None:
    """Set the moving statistics of batch normalization to their means over these batches of images."""
    layers = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for done, images in enumerate(batches):
        for layer in layers:
            layer.momentum = done / (done + 1)  # the share of the batches before
        network(images, training=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", type=Path, help="folder that the trainer saved to")
    parser.add_argument("second", type=Path, help="another one, trained on from the first")
    parser.add_argument("--share", type=float, default=0.5, help="of the second network's weights; default: 0.5")


def main() -> None:
    config, args = parse_args(__doc__, FIELDS, add_arguments)
    if not 0 <= args.share <= 1:
        raise UserError(f"--share {args.share} is out of range; it must be from 0 to 1")
    accuracy = interpolate(args.first, args.second, args.share, config)
    print(f"{config.save_dir}: captcha accuracy {accuracy:.2%} on the validation split")


if __name__ == "__main__":
    run(main)
