"""Convert the best checkpoint into a file for other programs: LiteRT, int8-quantized LiteRT, ONNX, a SavedModel.

    python captcha_export.py --formats litert int8 onnx saved_model
    python captcha_export.py --calibrate_on my_images       calibrate the confidence on these labelled images

Each takes raw pixels, uint8 [batch, height, width, 3], and gives calibrated logits, float32 [batch, length, classes]:
their softmax is the probability of each character at each position. Each holds a description of its captcha: the
characters, the length, the size. Each is compared with the checkpoint on validation captchas before it is kept.
"""

import argparse
import itertools
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from captcha_cli import UserError, parse_args, quiet_import, run, start_litert

with quiet_import(__name__):
    import keras
    import tensorflow as tf

import captcha_model
from captcha_config import Config
from captcha_predict import FORMAT
from captcha_runs import checkpoint_files, checkpoints, log, metrics
from captcha_runs.formats import FORMATS
from captcha_sets.files import lock, make_folder, reason, staging, sync
from captcha_sets.labelled import labelled_images, png_files
from captcha_sets.manifest import CAPTCHA_FIELDS, VALIDATION, manifest_for_model
from captcha_sets.pixels import arrays
from captcha_sets.shards import examples

import numpy as np

FOLDERS = ("tfrecords_dir", "save_dir")
CHANGEABLE = {"one_alphabet"}  # after the training
FIELDS = (*FOLDERS, *CHANGEABLE)
BATCH_SIZE = 250
COMPARED = 1000  # captchas
MIN_LOST = 2  # captchas that an 8-bit network may always misread besides: of few, one is a large share
MAX_LOST = 0.002  # how much lower the captcha accuracy of an 8-bit network may be
TIE = 1e-3  # logits closer than this count as equal: another order of adding float32 numbers may swap them
ONNX_PACKAGES = "tf2onnx==1.17.0 onnxruntime"


def export(
    config: Config,
    formats: tuple[str, ...] = ("litert",),
    to: Path | None = None,
    calibrate_on: Path | None = None,
    typed: Collection[str] = (),
) -> list[Path]:
    """Export the best checkpoint in config.save_dir.

    Args:
      config: save_dir and tfrecords_dir. Everything else is taken from what was saved with the checkpoint.
      formats: names in FORMATS.
      to: another folder than save_dir to write to. It gets the checkpoint's weights and log too, so that training can
        start from it (--init_from). Files of the same name are replaced.
      calibrate_on: labelled images, as the producer imports them, that decide the temperature of the confidence; None:
        it stays as the validation split decided.
      typed: names of the fields that were typed. If one_alphabet is one of them, the config's value counts.
    Returns:
      What was written, in order.
    Raises:
      UserError: there is no checkpoint; the validation split does not fit it; an image in calibrate_on cannot be used;
        `to` holds another run; a package is missing; a file cannot be written; or an export does not predict what the
        checkpoint predicts, and is not kept.
    """
    folder = Path(to or config.save_dir)
    elsewhere = folder.resolve() != Path(config.save_dir).resolve()
    if elsewhere:
        checkpoints.check_no_run(folder, "export to another folder (--to)")
    metadata, trained = checkpoints.best(config, [*FOLDERS, *CHANGEABLE.intersection(typed)])
    metadata["config"] |= {name: getattr(trained, name) for name in CHANGEABLE}
    checkpoint = captcha_model.build(trained, channels=3)
    checkpoint_files.restore(metadata, checkpoint)
    if calibrate_on:
        metadata["best"] |= {"temperature": _temperature(checkpoint, trained, calibrate_on)}
    model = _with_temperature(checkpoint, trained, metadata["best"]["temperature"])
    images, labels = _captchas(trained)
    logits = checkpoint.predict(images, batch_size=BATCH_SIZE, verbose=0) / metadata["best"]["temperature"]
    description = _describe(metadata, trained)

    make_folder(folder)
    busy = f"{folder}: another export is at work there; wait for it or stop it"
    with lock(folder, "export", busy), staging(folder / ".export") as new:
        for name in formats:
            file, write, predict = FORMATS[name]
            try:
                _write(write, model, new / file, description, images)
                _compare(name, predict(new / file, images), logits, labels, trained)
            except ImportError as error:
                raise UserError(f"{name}: the package {error.name} is missing; pip install {ONNX_PACKAGES}") from error
            _replace(new / file, folder / file)
        if elsewhere:
            checkpoints.write_weights(metadata, checkpoint, folder)
            lines = Path(config.save_dir, log.LINES)
            if lines.exists():
                shutil.copy(lines, folder)
    return [folder / FORMATS[name][0] for name in formats]


def _write(write: Callable, model: keras.Model, path: Path, *more: object) -> None:
    try:
        write(model, path, *more)
    except tf.errors.OpError as error:  # a full disk, say
        raise UserError(f"{path}: cannot be written ({reason(error)})") from error


def _temperature(checkpoint: keras.Model, config: Config, source: Path) -> float:
    """What to divide the logits by, so that the confidence is right for the labelled images of `source`."""
    good, problems = labelled_images(source, config, ("characters", "length"))
    if problems:
        raise UserError(f"calibrate_on: {problems[0]} ({len(problems)} of {source} cannot be used)")
    if not good:
        raise UserError(f"calibrate_on: {source} names no image; add some")
    images, labels = next(arrays(png_files(good, config), len(good), config))
    return metrics.temperature(checkpoint.predict(images, batch_size=BATCH_SIZE, verbose=0), labels, config)


def _captchas(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """The first COMPARED captchas of the validation split, in colour."""
    captchas = itertools.islice(examples(manifest_for_model(VALIDATION, config), config), COMPARED)
    return next(arrays(captchas, COMPARED, config))


def _describe(metadata: dict, config: Config) -> dict:
    captcha = {name: getattr(config, name) for name in CAPTCHA_FIELDS}
    trained = {"drawn_with": metadata["drawn_with"], **metadata["best"], "config": metadata["config"]}
    return {"format": FORMAT, **captcha, **trained}


def _with_temperature(checkpoint: keras.Model, config: Config, temperature: float) -> keras.Model:
    pixels = keras.Input((config.height, config.width, 3), dtype="uint8", name="pixels")
    return keras.Model(pixels, _normalized_first(checkpoint, config)(pixels, training=False) / temperature)


def _normalized_first(checkpoint: keras.Model, config: Config) -> keras.Model:
    """The same network, normalized before pooling where that changes nothing: 7 % less to compute.

    The largest of some numbers is still the largest once all are normalized, unless gamma is negative.
    """
    gammas = [layer.gamma for layer in checkpoint.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if any(np.min(gamma) < 0 for gamma in gammas):
        return checkpoint
    reordered = captcha_model.build(config, channels=3, pool_first=False)
    reordered.set_weights(checkpoint.get_weights())
    return reordered


def _compare(name: str, found: np.ndarray, logits: np.ndarray, labels: np.ndarray, config: Config) -> None:
    """Raise UserError unless the export predicts what the checkpoint does. 8 bits may cost a little accuracy.

    Args:
      found, logits: float32 [count, length, classes], the export's and the checkpoint's.
      labels: int32 [count, length].
    """
    if name == "int8":
        ours, theirs = (captcha_model.evaluation(each, labels, config)[0].sum() for each in (found, logits))
        if theirs - ours > max(MIN_LOST, MAX_LOST * len(labels)):
            raise UserError(
                f"{name}: reads {ours} of {len(labels)}, the checkpoint {theirs}; not kept, use another format"
            )
        return
    of_checkpoint, of_export = (
        np.take_along_axis(logits, each.argmax(axis=-1)[..., None], axis=-1) for each in (logits, found)
    )
    different = (of_checkpoint - of_export > TIE).any(axis=(1, 2)).sum()
    if different:
        raise UserError(
            f"{name}: predicts differently from the checkpoint for {different} of {len(labels)}; not kept, use another"
            " format"
        )


def _replace(new: Path, path: Path) -> None:
    """Put a new file or folder in the old one's place.

    A folder cannot be replaced in one go. A kill between the two renames leaves the earlier one as <name>.old, which
    the next export removes once its own is in place.
    """
    for written in (new, *new.rglob("*")):
        sync(written)
    if new.is_file():
        new.replace(path)
        sync(path.parent)
    else:
        old = path.with_name(f"{path.name}.old")
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
        new.rename(path)
        sync(path.parent)
        shutil.rmtree(old, ignore_errors=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=["litert"], help="default: litert")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="write there, with the weights for --init_from")
    parser.add_argument(
        "--calibrate_on", type=Path, metavar="SOURCE", help="labelled images to calibrate the confidence on"
    )


def main() -> None:
    config, args = parse_args(__doc__, FIELDS, add_arguments)
    start_litert()
    tf.get_logger().setLevel("ERROR")  # the converters' warnings do not apply to these models
    for path in export(config, tuple(args.formats), args.to, args.calibrate_on, vars(args)):
        size = sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())
        print(f"{path}: {size / 1000:.0f} kB, compared with the checkpoint")


if __name__ == "__main__":
    run(main)
