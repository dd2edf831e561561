"""Turn the best checkpoint into a file that others can run: LiteRT, LiteRT of 8 bits, ONNX, a SavedModel.

    python captcha_export.py --formats litert int8 onnx saved_model

Each takes raw pixels, uint8 [batch, height, width, 3], and gives calibrated logits, float32 [batch, length, classes]:
their softmax is the probability of each character at each place. Each says which characters, length and size it is for.
Each is compared with the checkpoint on captchas of the validation split before it is kept.
"""

import contextlib
import functools
import hashlib
import json
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import captcha_data
import captcha_log
import captcha_model
import captcha_save
from captcha_config import Config, UserError, parse_args, run
from captcha_predict import ABOUT, MODEL, Reader
from captcha_seal import aside, sync

import filelock
import keras
import numpy as np
import tensorflow as tf

FIELDS = ("tfrecords_dir", "save_dir", "memory_budget")
BATCH_SIZE = 250
COMPARED = 1000  # captchas
MOST_LOST = 0.002  # share of them that an 8-bit network may read wrong and the checkpoint does not
TIE = 1e-3  # logits that lie no further apart are equal: another order of adding float32 numbers may swap them
ONNX_PACKAGES = "tf2onnx==1.17.0 onnxruntime"
SAMPLES = 200  # captchas from which the 8-bit network learns the ranges of its numbers


def export(config: Config, formats: tuple[str, ...] = ("litert",), to: Path | None = None) -> list[Path]:
    """Export the best checkpoint in config.save_dir.

    Args:
      config: save_dir and tfrecords_dir. All else is taken from what was saved with the checkpoint.
      formats: names in FORMATS.
      to: another folder to write in than save_dir. It gets the checkpoint's weights and log too, so that training can
        start from it (--init_from). What is there of the same name is replaced.
    Returns:
      What was written, in order.
    Raises:
      UserError: there is no checkpoint; the validation split is not like those it was trained with; a package is
        missing; or an export does not read as the checkpoint does, and is not kept.
    """
    commit, trained = captcha_save.best(config, FIELDS)
    checkpoint = captcha_model.build(trained, channels=3)
    captcha_save.restore(commit, checkpoint)
    temperature = commit["best"]["temperature"]
    pixels = keras.Input((trained.height, trained.width, 3), dtype="uint8", name="pixels")
    model = keras.Model(pixels, _quick(checkpoint, trained)(pixels, training=False) / temperature)
    images, labels = (part[:COMPARED] for part in captcha_data.load("validation", trained, channels=3))
    batches = captcha_data.evaluation_batches(images, labels, BATCH_SIZE)
    logits, _ = captcha_model.read_all(functools.partial(captcha_model.forward, checkpoint), batches)
    logits /= temperature
    about = {name: getattr(trained, name) for name in ("characters", "length", "width", "height")}
    about |= {"drawn_with": commit["drawn_with"], **commit["best"], "config": commit["config"]}

    folder = Path(to or config.save_dir)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with _only_exporter(folder), aside(folder / ".export") as new:
        for name in formats:
            file, write, read_with = FORMATS[name]
            try:
                write(model, new / file, about, images)
                _compare(name, read_with(new / file, images), logits, labels)
            except ImportError as error:
                raise UserError(f"{name}: the package {error.name} is missing; pip install {ONNX_PACKAGES}") from error
            _replace(new / file, folder / file)
            written.append(folder / file)
        if folder.resolve() != Path(config.save_dir).resolve():
            captcha_save.write_weights(commit, checkpoint, folder)
            if (log := Path(config.save_dir, captcha_log.LINES)).exists():
                shutil.copy(log, folder)
    return written


def _quick(checkpoint: keras.Model, config: Config) -> keras.Model:
    """The same network with 7 % less to do, where it can be: normalized before pooling.

    The largest of some numbers is still the largest once all are normalized, but where gamma makes them change sign.
    """
    gammas = [layer.gamma for layer in checkpoint.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if any(np.min(gamma) < 0 for gamma in gammas):
        return checkpoint
    quick = captcha_model.build(config, channels=3, pool_first=False)
    quick.set_weights(checkpoint.get_weights())
    return quick


@contextlib.contextmanager
def _only_exporter(folder: Path) -> Iterator[None]:
    """Hold the folder's exports for this process."""
    try:
        with filelock.FileLock(folder / ".export.lock", timeout=0):
            yield
    except filelock.Timeout as error:
        raise UserError(f"{folder}: another export is at work there; wait for it or stop it") from error


def _compare(name: str, found: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> None:
    """Raise UserError unless it reads as the checkpoint does. 8 bits may cost a little, and nothing else may."""
    ours, theirs = logits.argmax(axis=-1), found.argmax(axis=-1)  # [count, length]
    if name == "int8":
        right, before = ((read == labels).all(axis=-1).mean() for read in (theirs, ours))
        if right < before - MOST_LOST:
            raise UserError(f"{name}: reads {right:.2%} right, the checkpoint {before:.2%} of {len(labels)}; not kept")
        return
    behind = np.subtract(*(np.take_along_axis(logits, read[..., None], axis=-1) for read in (ours, theirs)))
    if different := (behind > TIE).any(axis=(1, 2)).sum():
        raise UserError(f"{name}: reads {different} of {len(labels)} captchas otherwise than the checkpoint; not kept")


def _replace(new: Path, path: Path) -> None:
    """Put a new file or folder in the old one's place."""
    if new.is_file():
        sync(new)
        new.replace(path)
    else:
        if path.exists():
            path.rename(new.with_name("old"))
        new.rename(path)
    sync(path.parent)


def _write_litert(model: keras.Model, path: Path, about: dict, images: np.ndarray, bits: int = 32) -> None:
    """A .tflite file. As TensorFlow's own metadata tools do, the description is packed behind the network, as a zip."""
    with tempfile.TemporaryDirectory() as saved:
        model.export(saved, format="tf_saved_model", verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(saved)
        if bits == 8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([image[None]] for image in images[:SAMPLES])
        network = converter.convert()
    path.write_bytes(network)
    sealed = about | {"bytes": len(network), "sha256": hashlib.sha256(network).hexdigest()}
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr(zipfile.ZipInfo(ABOUT), json.dumps(sealed, ensure_ascii=False))


def _write_int8(model: keras.Model, path: Path, about: dict, images: np.ndarray) -> None:
    _write_litert(model, path, about, images, bits=8)


def _read_litert(path: Path, images: np.ndarray) -> np.ndarray:
    return Reader(path).logits(images)


def _write_onnx(model: keras.Model, path: Path, about: dict, images: np.ndarray) -> None:
    """An .onnx file; the description is in its metadata_props."""
    import onnx

    model(images[:1])  # Keras exports to ONNX only what was called before
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of NumPy, about the converter
        model.export(path, format="onnx", verbose=False)
    network = onnx.load(path)
    onnx.helper.set_model_props(network, {ABOUT: json.dumps(about, ensure_ascii=False)})
    onnx.save(network, path)


def _read_onnx(path: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    return onnxruntime.InferenceSession(path).run(None, {"pixels": images})[0]


def _write_saved_model(model: keras.Model, path: Path, about: dict, images: np.ndarray) -> None:
    """A SavedModel; the description is in assets.extra, the folder that the format keeps for such."""
    model.export(path, format="tf_saved_model", verbose=False)
    (path / "assets.extra").mkdir()
    (path / "assets.extra" / ABOUT).write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8")


def _read_saved_model(path: Path, images: np.ndarray) -> np.ndarray:
    network = tf.saved_model.load(str(path))  # it holds the variables, and so has to stay
    return network.serve(images).numpy()


# name: (the file, what writes it, what reads images with it through its own runtime)
FORMATS: dict[str, tuple[str, Callable, Callable]] = {
    "litert": (MODEL, _write_litert, _read_litert),
    "int8": ("model.int8.tflite", _write_int8, _read_litert),
    "onnx": ("model.onnx", _write_onnx, _read_onnx),
    "saved_model": ("saved_model", _write_saved_model, _read_saved_model),
}


def main() -> None:
    def extras(parser):
        parser.add_argument("--formats", nargs="+", choices=FORMATS, default=["litert"], help="default: litert")
        parser.add_argument("--to", type=Path, metavar="FOLDER", help="write there, with the weights for --init_from")

    config, args = parse_args(__doc__, FIELDS, extras)
    tf.get_logger().setLevel("ERROR")  # the converters' warnings are about things that models do not have
    for path in export(config, tuple(args.formats), args.to):
        size = sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())
        print(f"{path}: {size / 1000:.0f} kB, compared with the checkpoint")


if __name__ == "__main__":
    run(main)
