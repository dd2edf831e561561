"""Mixed precision and XLA: for a GPU to be faster, and for all else to stay the same."""

from dataclasses import replace
from pathlib import Path

import captcha_evaluate
import captcha_model
import captcha_train
from captcha_cli import UserError
from captcha_config import Config
from captcha_runs import checkpoint_files, checkpoints, log

import keras
import numpy as np
import pytest
from conftest import checkpoint_values


def losses(folder) -> np.ndarray:
    return np.array([entry["loss"] for entry in log.read(Path(folder))])


@pytest.fixture(scope="module")
def exact(trained_once):
    """The losses of training as it is."""
    return losses(trained_once / "save")


@pytest.mark.parametrize(("changed", "tolerance"), [({"xla": True}, 1e-4), ({"precision": "bfloat16"}, 3e-2),
                                                     ({"precision": "float16"}, 1e-2)])  # fmt: skip
def test_the_losses_are_those_of_float32_as_far_as_rounding_goes(config, exact, changed, tolerance):
    assert captcha_train.train(replace(config, **changed)) == 0
    assert losses(config.save_dir) == pytest.approx(exact, rel=tolerance)
    assert not np.array_equal(losses(config.save_dir), exact)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_layers_compute_in_it_and_weights_and_logits_are_float32(config, precision):
    before = keras.config.dtype_policy()
    model = captcha_model.build(replace(config, precision=precision))
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert {layer.compute_dtype for layer in convolutions} == {precision}
    assert {weights.dtype for weights in model.trainable_variables} == {"float32"}
    assert model.outputs[0].dtype == "float32"
    assert keras.config.dtype_policy() == before


@pytest.mark.parametrize("changed", [{"xla": True}, {"precision": "float16"}])
def test_a_resumed_run_has_the_weights_of_an_undisturbed_one(config, folder, changed):
    config = replace(config, **changed)
    captcha_train.train(config)
    undisturbed = checkpoint_values(folder / "save", "ckpt-12")
    for step in (12, 10):  # back to step 8
        for path in (folder / "save").glob(f"*-{step}.*"):
            path.unlink()
    captcha_train.train(config)
    assert checkpoint_values(folder / "save", "ckpt-12") == undisturbed


def test_a_network_trained_in_float16_reads_in_float32(config):
    captcha_train.train(replace(config, precision="float16"))
    metadata, trained = checkpoints.best(config, captcha_evaluate.FIELDS)
    assert metadata["config"]["precision"] == "float16" and trained.precision == "float32"
    model = captcha_model.build(trained)
    checkpoint_files.restore(metadata, model)
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}


def test_an_unknown_precision_is_refused():
    with pytest.raises(UserError, match="precision: 'float8' must be one of float32, bfloat16, float16"):
        Config(precision="float8")
