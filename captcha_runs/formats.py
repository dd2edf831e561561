"""The formats that a network is exported to: LiteRT, int8-quantized LiteRT, ONNX, a SavedModel.

file, write, run = FORMATS[name]
write(model, path, description, images)     a network with its description; images: to quantize by
run(path, images)                           its logits, through the format's own runtime
"""

import functools
import hashlib
import json
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

from captcha_predict import DESCRIPTION, MODEL, Reader
from captcha_runs import checkpoint_files

import keras
import numpy as np
import tensorflow as tf

SAMPLES = 200  # captchas from which the 8-bit network learns the ranges of its numbers


def _write_litert(model: keras.Model, path: Path, description: dict, images: np.ndarray, bits: int = 32) -> None:
    """A .tflite file. As TensorFlow's own metadata tools do, the description is packed behind the network, as a zip."""
    with tempfile.TemporaryDirectory() as saved:
        model.export(saved, format="tf_saved_model", verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(saved)
        if bits == 8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([image[None]] for image in images[:SAMPLES])
        network = converter.convert()
    path.write_bytes(network)
    described = description | {"bytes": len(network), "sha256": hashlib.sha256(network).hexdigest()}
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr(zipfile.ZipInfo(DESCRIPTION), json.dumps(described, ensure_ascii=False))


def _run_litert(path: Path, images: np.ndarray) -> np.ndarray:
    return Reader(path).logits(images)


def _write_onnx(model: keras.Model, path: Path, description: dict, images: np.ndarray) -> None:
    """An .onnx file; the description is in its metadata_props."""
    import onnx

    model(images[:1])  # Keras exports to ONNX only what was called before
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of NumPy, about the converter
        model.export(path, format="onnx", verbose=False)
    network = onnx.load(path)
    onnx.helper.set_model_props(network, {DESCRIPTION: json.dumps(description, ensure_ascii=False)})
    onnx.save(network, path)


def _run_onnx(path: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    return onnxruntime.InferenceSession(path).run(None, {"pixels": images})[0]


def _write_saved_model(model: keras.Model, path: Path, description: dict, images: np.ndarray) -> None:
    """A SavedModel; the description is in assets.extra, the folder that the format reserves for such files."""
    model.export(path, format="tf_saved_model", verbose=False)
    (path / "assets.extra").mkdir()
    (path / "assets.extra" / DESCRIPTION).write_text(json.dumps(description, ensure_ascii=False), encoding="utf-8")


def _run_saved_model(path: Path, images: np.ndarray) -> np.ndarray:
    network = tf.saved_model.load(str(path))  # it holds the variables, and so has to stay
    return network.serve(images).numpy()


# name: (the file, what writes it, what reads images with it through its own runtime)
FORMATS: dict[str, tuple[str, Callable, Callable]] = {
    "litert": (MODEL, _write_litert, _run_litert),
    "int8": ("model.int8.tflite", functools.partial(_write_litert, bits=8), _run_litert),
    "onnx": ("model.onnx", _write_onnx, _run_onnx),
    "saved_model": (checkpoint_files.SAVED_MODEL, _write_saved_model, _run_saved_model),
}
