"""Mixed precision and XLA: for a GPU to be faster, and for all else to stay the same."""

import shutil
from dataclasses import replace
from pathlib import Path

import captcha_evaluate
import captcha_model
import captcha_train
from captcha_runs import checkpoint_files, checkpoints, log

import keras
import numpy as np
import pytest
from conftest import checkpoint_values, in_folder

CHANGES = [{"xla": True}, {"precision": "bfloat16"}, {"precision": "float16"}]


def losses(folder: Path) -> np.ndarray:
    return np.array([entry["loss"] for entry in log.read(folder)])


@pytest.fixture(scope="module", params=CHANGES, ids=str)
def changed(request, drawn, tmp_path_factory):
    """The config of a finished run with XLA, or in a precision that is lower than float32."""
    folder = tmp_path_factory.mktemp("changed")
    config = replace(in_folder(folder), tfrecords_dir=str(drawn / "tfrecords"), **request.param)
    assert captcha_train.train(config) == 0
    return config


def test_the_losses_are_those_of_float32_as_far_as_rounding_goes(changed, trained_once):
    tolerance = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 1e-2}[changed.precision]
    found, exact = losses(Path(changed.save_dir)), losses(trained_once / "save")
    assert found == pytest.approx(exact, rel=tolerance)
    assert not np.array_equal(found, exact)


def test_a_resumed_run_has_the_weights_of_an_undisturbed_one(changed, tmp_path):
    shutil.copytree(changed.save_dir, tmp_path, dirs_exist_ok=True)
    for step in (12, 10):  # back to step 8
        for path in tmp_path.glob(f"*-{step}.*"):
            path.unlink()
    captcha_train.train(replace(changed, save_dir=str(tmp_path)))
    assert checkpoint_values(tmp_path, "ckpt-12") == checkpoint_values(Path(changed.save_dir), "ckpt-12")


def test_the_network_reads_in_float32(changed):
    metadata, trained = checkpoints.best(changed, captcha_evaluate.FIELDS)
    assert metadata["config"]["precision"] == changed.precision and trained.precision == "float32"
    model = captcha_model.build(trained)
    checkpoint_files.restore(metadata, model)
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_layers_compute_in_it_and_weights_and_logits_are_float32(config, precision):
    before = keras.config.dtype_policy()
    model = captcha_model.build(replace(config, precision=precision))
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert {layer.compute_dtype for layer in convolutions} == {precision}
    assert {weights.dtype for weights in model.trainable_variables} == {"float32"}
    assert model.outputs[0].dtype == "float32"
    assert keras.config.dtype_policy() == before
