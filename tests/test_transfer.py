"""--init_from: a new network with the convolutions of a trained one."""

import shutil
from dataclasses import replace
from pathlib import Path

import captcha_model
import captcha_train
from captcha_cli import UserError
from captcha_runs import checkpoint_files, checkpoints, transfer

import keras
import numpy as np
import pytest
from conftest import files, in_folder


@pytest.fixture
def teacher(trained_once):
    """A network trained on the characters 0123."""
    config = in_folder(trained_once)
    metadata, _ = checkpoints.best(config, ())
    model = captcha_model.build(config)
    checkpoint_files.restore(metadata, model)
    return model


def layers_of(model, kind):
    return [layer for layer in model.layers if isinstance(layer, kind)]


def test_training_starts_from_the_convolutions_of_another_run(config, trained_once, teacher):
    """Its features are the same; each kernel is as long as a new one, so that a step turns it as much."""
    model = captcha_model.build(config)
    lengths = [np.linalg.norm(layer.kernel) for layer in layers_of(model, keras.layers.Conv2D)]
    transfer.start_from(str(trained_once / "save"), model, config)
    convolutions = zip(*(layers_of(each, keras.layers.Conv2D) for each in (model, teacher)), lengths, strict=True)
    for ours, theirs, length in convolutions:
        assert np.linalg.norm(ours.kernel) == pytest.approx(length, rel=1e-5)
        assert np.allclose(ours.kernel / length, theirs.kernel / np.linalg.norm(theirs.kernel), atol=1e-6)
    normalizations = zip(*(layers_of(each, keras.layers.BatchNormalization) for each in (model, teacher)), strict=True)
    for ours, theirs in normalizations:
        assert np.array_equal(ours.gamma, theirs.gamma)
        assert np.array_equal(ours.beta, theirs.beta)


def test_the_other_run_may_have_other_characters_another_length_and_size(config, trained_once):
    config = replace(config, characters="3x1", length=3, width=80)
    model = captcha_model.build(config)
    classifier = model.get_layer("classifier").kernel.numpy()
    transfer.start_from(str(trained_once / "save"), model, config)
    assert np.array_equal(model.get_layer("classifier").kernel, classifier)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"init_from": "digit"},
            "init_from: digit is neither a folder that the .* nor one of capitals, digits, letters",
        ),
        ({"init_from": "teacher", "channels": (4, 4)}, "was trained with other channels; use the same: --channels 4 8"),
        ({"init_from": "teacher", "input_downsampling": False}, "of another scale; use the same: --input_downsampling"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(config, folder, trained_once, changed, said, monkeypatch):
    (folder / "teacher").symlink_to(trained_once / "save")
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match=said):
        captcha_train.train(replace(config, **changed))
    assert not list((folder / "save").glob("*.json"))


def test_a_shipped_model_is_named_as_it_is_for_reading(config):
    config = replace(config, channels=(16, 32, 64, 64, 64))
    by_name, by_folder = captcha_model.build(config), captcha_model.build(config)
    transfer.start_from("digits", by_name, config)
    transfer.start_from(str(transfer.WEIGHTS / "digits"), by_folder, config)
    gammas = [
        [layer.gamma for layer in layers_of(model, keras.layers.BatchNormalization)] for model in (by_name, by_folder)
    ]
    assert all(np.array_equal(*pair) and not np.all(pair[0] == 1) for pair in zip(*gammas, strict=True))


def test_the_run_says_what_it_started_from(config, trained_once, capsys):
    source = trained_once / "save"
    captcha_train.train(replace(config, init_from=str(source), max_steps=1))
    assert f", from the convolutions of {source}\nstarting at step 0" in capsys.readouterr().out


def test_a_run_that_started_from_other_weights_resumes_from_its_own(config, folder, trained_once):
    shutil.copytree(trained_once / "save", folder / "teacher")
    config = replace(config, init_from=str(folder / "teacher"))
    captcha_train.train(config)
    before = files(Path(config.save_dir))
    shutil.rmtree(folder / "teacher")
    assert captcha_train.train(config) == 0
    assert files(Path(config.save_dir)) == before
