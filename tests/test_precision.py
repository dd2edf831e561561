"""Mixed precision and XLA: for a GPU to be faster, and for all else to stay the same."""

from dataclasses import replace
from pathlib import Path

import captcha_evaluate
import captcha_log
import captcha_model
import captcha_save
import captcha_train
from captcha_config import Config, UserError

import keras
import numpy as np
import pytest
from conftest import checkpoint_values


def losses(folder) -> np.ndarray:
    return np.array([entry["loss"] for entry in captcha_log.read(Path(folder))])


@pytest.fixture(scope="module")
def exact(_drawn, tmp_path_factory):
    """The losses of training as it is."""
    from conftest import SMALL

    folder = tmp_path_factory.mktemp("exact")
    captcha_train.train(replace(SMALL, tfrecords_dir=str(_drawn / "tfrecords"), save_dir=str(folder)))
    return losses(folder)


@pytest.mark.parametrize(("changed", "tolerance"), [({"xla": True}, 1e-4), ({"precision": "bfloat16"}, 3e-2),
                                                     ({"precision": "float16"}, 1e-2)])  # fmt: skip
def test_the_losses_are_those_of_float32_as_far_as_the_numbers_go(config, exact, changed, tolerance):
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


@pytest.mark.parametrize("changed", [{"xla": True}, {"precision": "bfloat16"}, {"precision": "float16"}])
def test_a_resumed_run_has_the_weights_of_an_undisturbed_one(config, folder, changed):
    config = replace(config, **changed)
    captcha_train.train(replace(config, save_dir=str(folder / "through")))
    commit = captcha_save.newest(folder / "through", "ckpt")
    for step in (12, 10):  # gone back to step 8
        for path in (folder / "through").glob(f"*-{step}.*"):
            path.unlink()
    assert commit["step"] == 12
    captcha_train.train(replace(config, save_dir=str(folder / "other")))
    captcha_train.train(replace(config, save_dir=str(folder / "through")))
    assert checkpoint_values(folder / "through", "ckpt-12") == checkpoint_values(folder / "other", "ckpt-12")


def test_what_was_trained_in_float16_is_read_in_float32(config):
    captcha_train.train(replace(config, precision="float16"))
    commit, trained = captcha_save.best(config, captcha_evaluate.FIELDS)
    assert commit["config"]["precision"] == "float16" and trained.precision == "float32"
    model = captcha_model.build(trained)
    captcha_save.restore(commit, model)
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}


def test_a_precision_that_there_is_not_is_refused():
    with pytest.raises(UserError, match="precision: 'float8' must be one of float32, bfloat16, float16"):
        Config(precision="float8")
