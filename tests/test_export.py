"""Each export, run by its own runtime, reads as the checkpoint does."""

import json
import shutil
import sys
import zipfile
from dataclasses import replace

import captcha_data
import captcha_export
import captcha_model
import captcha_predict
import captcha_save
import captcha_train
from captcha_config import Config, UserError
from captcha_producer import produce

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL, files, own_lines, run

ABOUT = {"characters": "0123456789", "length": 4, "width": 128, "height": 64}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The checkpoint that ships as save/, 1,000 captchas that it never saw as validation split, and every export."""
    folder = tmp_path_factory.mktemp("shipped")
    config = Config(tfrecords_dir=str(folder / "tfrecords"), save_dir=str(folder / "save"), seed=5)
    shutil.copytree(captcha_predict.SHIPPED / "digits", folder / "save")
    (folder / "save" / "model.tflite").unlink()
    produce(1000, folder / "images" / "validation", config, images=False)
    paths = captcha_export.export(config, tuple(captcha_export.FORMATS))
    assert [path.name for path in paths] == ["model.tflite", "model.int8.tflite", "model.onnx", "saved_model"]
    return folder, config


@pytest.fixture(scope="module")
def expected(shipped):
    """(images, labels, logits of the checkpoint divided by its temperature)."""
    _, config = shipped
    commit, trained = captcha_save.best(config, ("tfrecords_dir",))
    model = captcha_model.build(trained, channels=3)
    captcha_save.restore(commit, model)
    images, labels = captcha_data.load("validation", trained, channels=3)
    return images, labels, model.predict(images, verbose=0) / commit["best"]["temperature"]


def litert(path, images):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))  # from the file, with the description behind it
    (pixels,), (logits,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(pixels["index"], [50, 64, 128, 3])
    interpreter.allocate_tensors()
    found = []
    for start in range(0, len(images), 50):
        interpreter.set_tensor(pixels["index"], images[start : start + 50])
        interpreter.invoke()
        found.append(interpreter.get_tensor(logits["index"]))
    return np.concatenate(found)


def onnx(path, images):
    import onnxruntime

    return onnxruntime.InferenceSession(path).run(None, {"pixels": images})[0]


def saved_model(path, images):
    network = tf.saved_model.load(str(path))
    return network.signatures["serving_default"](tf.constant(images))["output_0"].numpy()


@pytest.mark.parametrize(
    ("name", "runtime"), [("model.tflite", litert), ("model.onnx", onnx), ("saved_model", saved_model)]
)
def test_a_float_export_reads_1000_captchas_just_as_the_checkpoint(shipped, expected, name, runtime):
    images, _, logits = expected
    found = runtime(shipped[0] / "save" / name, images)
    assert found.shape == (1000, 4, 10)
    assert np.array_equal(found.argmax(axis=-1), logits.argmax(axis=-1))
    assert np.abs(found - logits).max() < 1e-2


def test_the_8_bit_export_loses_at_most_two_in_a_thousand(shipped, expected):
    images, labels, logits = expected
    found = litert(shipped[0] / "save" / "model.int8.tflite", images)
    right = [(read.argmax(axis=-1) == labels).all(axis=-1).sum() for read in (found, logits)]
    assert right[0] >= right[1] - 2
    assert (shipped[0] / "save" / "model.int8.tflite").stat().st_size < 0.4 * (
        shipped[0] / "save" / "model.tflite"
    ).stat().st_size


def test_normalization_and_pooling_change_places_where_that_changes_nothing():
    model = captcha_model.build(SMALL, channels=3)
    images = np.random.default_rng(1).integers(0, 256, (9, 32, 48, 3), np.uint8)
    for variable in model.weights:  # none is as it began
        variable.assign(variable + np.random.default_rng(2).uniform(0.1, 0.5, variable.shape))
    quick = captcha_export._quick(model, SMALL)
    assert [type(layer) for layer in quick.layers] != [type(layer) for layer in model.layers]
    assert np.allclose(quick(images), model(images), atol=1e-4)
    gamma = next(layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)).gamma
    gamma.assign(-gamma)  # the largest becomes the smallest
    assert captcha_export._quick(model, SMALL) is model


def test_each_file_says_of_itself_what_it_reads(shipped):
    import onnx

    save = shipped[0] / "save"
    (described,) = [prop.value for prop in onnx.load(save / "model.onnx").metadata_props if prop.key == "captcha.json"]
    texts = [described, (save / "saved_model" / "assets.extra" / "captcha.json").read_text()]
    texts += [zipfile.ZipFile(save / name).read("captcha.json") for name in ("model.tflite", "model.int8.tflite")]
    for text in texts:
        about = json.loads(text)
        assert {name: about[name] for name in ABOUT} == ABOUT


def test_the_weights_go_along_to_another_folder_and_training_can_start_from_them(config, folder):
    captcha_train.train(config)
    captcha_export.export(config, to=folder / "other")
    commit, trained = captcha_save.best(replace(config, save_dir=str(folder / "other")), ())
    assert "optimizer 0" not in commit["variables"]
    ours, theirs = (captcha_model.build(trained) for _ in range(2))
    captcha_save.restore(commit, ours)
    captcha_save.restore(captcha_save.best(config, ())[0], theirs)
    assert all(np.array_equal(a, b) for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True))


def test_an_export_that_reads_otherwise_is_not_kept(config, folder, monkeypatch):
    captcha_train.train(config)
    export = captcha_model.keras.Model.export

    def spoilt(model, *args, **kwargs):
        model.set_weights([np.roll(weights, 1, axis=-1) for weights in model.get_weights()])
        return export(model, *args, **kwargs)

    monkeypatch.setattr(captcha_model.keras.Model, "export", spoilt)
    before = files(folder)
    for name in ("litert", "saved_model"):
        with pytest.raises(
            UserError, match=rf"{name}: reads \d+ of 37 captchas otherwise than the checkpoint; not kept"
        ):
            captcha_export.export(config, (name,))
    assert files(folder) == before


def test_an_export_that_was_killed_leaves_nothing_that_the_next_one_keeps(config, folder):
    captcha_train.train(config)
    (folder / "save" / ".export").mkdir()
    (folder / "save" / ".export" / "model.tflite").write_text("half")
    captcha_export.export(config)
    assert not (folder / "save" / ".export").exists()
    assert captcha_predict.load(folder / "save").config.characters == "0123"


def test_the_trainer_leaves_a_model_that_can_be_read_with_straight_away(config, folder):
    from conftest import TRAINING, options

    done = run("captcha_train.py", *options(TRAINING), cwd=folder)
    assert done.stdout.splitlines()[-1] == "save/model.tflite: for captcha_predict.py", done.stderr
    done = run("captcha_predict.py", "images/validation", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 37


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--save_dir", "nowhere"), "there is no checkpoint; train one: python captcha_train.py"),
        (("--formats", "tensorrt"), "invalid choice: 'tensorrt'"),
        (("--tfrecords_dir", "nowhere"), "validation.json: there is no such set; produce it"),
    ],
)
def test_a_wrong_call_is_one_line_and_status_2(shipped, args, said):
    done = run("captcha_export.py", *args, cwd=shipped[0])
    assert said in done.stderr
    assert len(own_lines(done.stderr)) == 1
    assert done.returncode == 2


def test_a_missing_package_is_named(shipped, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match="onnx: the package onnxruntime is missing; pip install tf2onnx"):
        captcha_export.export(shipped[1], ("onnx",))


def test_the_exporter_is_told_of_another_one_at_work(shipped):
    import filelock

    with filelock.FileLock(shipped[0] / "save" / ".export.lock"):
        done = run("captcha_export.py", cwd=shipped[0])
    assert "another export is at work there" in own_lines(done.stderr)[0]
    assert done.returncode == 2


def test_a_tie_of_the_checkpoint_may_go_either_way_and_nothing_else():
    logits = np.zeros((10, 2, 4), np.float32)
    logits[..., 1], logits[..., 2] = 5.0, 5.0 - 1e-4
    other = logits[..., [0, 2, 1, 3]]
    captcha_export._compare("litert", other, logits, np.ones((10, 2), np.int32))
    logits[3, 1, 1] += 0.1
    with pytest.raises(UserError, match="litert: reads 1 of 10 captchas otherwise than the checkpoint; not kept"):
        captcha_export._compare("litert", other, logits, np.ones((10, 2), np.int32))
