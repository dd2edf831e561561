"""Each export, run by its own runtime, predicts what the checkpoint does."""

import hashlib
import json
import shutil
import signal
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import captcha_export
import captcha_model
import captcha_predict
from captcha_cli import UserError
from captcha_config import Config
from captcha_runs import checkpoint_files, checkpoints, log, transfer
from captcha_sets.draw import draw
from captcha_sets.drawing import produce
from captcha_sets.files import read_checksummed, write_checksummed
from captcha_sets.manifest import VALIDATION, read_manifest
from captcha_sets.pixels import arrays
from captcha_sets.shards import examples

import filelock
import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL, Process, errors, files, in_folder, run

ABOUT = {"characters": "0123456789", "length": 4, "min_length": 0, "width": 128, "height": 64}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The digits that ship as a save folder, 1,000 captchas that they never saw, and every export."""
    folder = tmp_path_factory.mktemp("shipped")
    config = replace(in_folder(folder, Config()), seed=5, validation_count=1000)
    shutil.copytree(transfer.WEIGHTS / "digits", config.save_dir)
    produce(VALIDATION, config, images=False)
    paths = captcha_export.export(config, tuple(captcha_export.FORMATS))
    assert [path.name for path in paths] == ["model.tflite", "model.int8.tflite", "model.onnx", "saved_model"]
    return folder, config


@pytest.fixture(scope="module")
def expected(shipped):
    """(images, labels, logits of the checkpoint divided by its temperature)."""
    _, config = shipped
    metadata, trained = checkpoints.best(config, captcha_export.FIELDS)
    model = captcha_model.build(trained, channels=3)
    checkpoint_files.restore(metadata, model)
    images, labels = next(arrays(examples(read_manifest(VALIDATION, config), trained), 1000, trained))
    return images, labels, model.predict(images, verbose=0) / metadata["best"]["temperature"]


def litert(path: Path, images: np.ndarray) -> np.ndarray:
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


def onnx(path: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    return onnxruntime.InferenceSession(path).run(None, {"pixels": images})[0]


def saved_model(path: Path, images: np.ndarray) -> np.ndarray:
    network = tf.saved_model.load(str(path))
    return network.signatures["serving_default"](tf.constant(images))["output_0"].numpy()


@pytest.mark.parametrize(
    ("name", "runtime"), [("model.tflite", litert), ("model.onnx", onnx), ("saved_model", saved_model)]
)
def test_a_float_export_predicts_for_1000_captchas_what_the_checkpoint_does(shipped, expected, name, runtime):
    images, _, logits = expected
    found = runtime(shipped[0] / "save" / name, images)
    assert found.shape == (1000, 4, 10)
    assert np.array_equal(found.argmax(axis=-1), logits.argmax(axis=-1))
    assert np.abs(found - logits).max() < 1e-2


def test_the_8_bit_export_loses_at_most_two_in_a_thousand(shipped, expected):
    images, labels, logits = expected
    ours, whole = (shipped[0] / "save" / name for name in ("model.int8.tflite", "model.tflite"))
    correct = [captcha_model.evaluation(each, labels, shipped[1])[0].sum() for each in (litert(ours, images), logits)]
    assert correct[0] >= correct[1] - 2
    assert ours.stat().st_size < 0.4 * whole.stat().st_size


def test_each_file_says_of_itself_what_it_reads(shipped):
    import onnx

    save = shipped[0] / "save"
    (described,) = [prop.value for prop in onnx.load(save / "model.onnx").metadata_props if prop.key == "captcha.json"]
    texts = [described, (save / "saved_model" / "assets.extra" / "captcha.json").read_text()]
    texts += [zipfile.ZipFile(save / name).read("captcha.json") for name in ("model.tflite", "model.int8.tflite")]
    for text in texts:
        about = json.loads(text)
        assert {name: about[name] for name in ABOUT} == ABOUT


def test_the_command_says_what_it_wrote(trained):
    done = run("captcha_export.py", cwd=trained)
    size = round((trained / "save" / "model.tflite").stat().st_size / 1000)
    assert done.stdout == f"save/model.tflite: {size} kB, compared with the checkpoint\n"
    assert (done.returncode, done.stderr) == (0, "")


def test_normalization_comes_before_pooling_where_that_changes_nothing():
    model = captcha_model.build(SMALL, channels=3)
    images = np.random.default_rng(1).integers(0, 256, (9, 32, 48, 3), np.uint8)
    for variable in model.weights:  # none is as it began
        variable.assign(variable + np.random.default_rng(2).uniform(0.1, 0.5, variable.shape))
    reordered = captcha_export._normalized_first(model, SMALL)
    assert [type(layer) for layer in reordered.layers] != [type(layer) for layer in model.layers]
    assert np.allclose(reordered(images), model(images), atol=1e-4)
    gamma = next(layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)).gamma
    gamma.assign(-gamma)  # the largest becomes the smallest
    assert captcha_export._normalized_first(model, SMALL) is model


def test_the_weights_go_along_to_another_folder_and_training_can_start_from_them(trained):
    config, other = in_folder(trained), trained / "other"
    captcha_export.export(config, to=other)
    metadata, described = checkpoints.best(replace(config, save_dir=str(other)), ())
    assert not any(name.startswith("training") for name in metadata["variables"])
    ours, theirs = (captcha_model.build(described) for _ in range(2))
    checkpoint_files.restore(metadata, ours)
    checkpoint_files.restore(checkpoints.best(config, ())[0], theirs)
    assert all(np.array_equal(a, b) for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True))
    model = captcha_model.build(config)
    before = model.get_weights()
    transfer.start_from(str(other), model, config)
    assert not all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))
    assert log.read(other) == log.read(trained / "save")


def test_what_a_killed_export_left_is_not_part_of_the_next_one(trained):
    config, other = in_folder(trained), trained / "other"
    (other / ".pending").mkdir(parents=True)
    (other / ".pending" / "best-1.index").write_bytes(b"left")
    captcha_export.export(config, to=other)
    metadata, _ = checkpoints.best(replace(config, save_dir=str(other)), ())
    assert metadata["step"] == checkpoints.best(config, ())[0]["step"]


def test_another_run_is_not_overwritten(trained):
    shutil.copytree(trained / "save", trained / "other")
    before = files(trained / "other")
    with pytest.raises(UserError, match="other: holds the checkpoints of another run; export to another folder"):
        captcha_export.export(in_folder(trained), to=trained / "other")
    assert files(trained / "other") == before


def test_the_confidence_is_right_for_the_labelled_images_that_are_named(trained):
    """Here three quarters of the labels are wrong, so that hardly a prediction is correct."""
    config, images = in_folder(trained), trained / "labelled"
    images.mkdir()
    for i in range(40):
        text, image = draw(i, "calibration", config)
        image.save(images / f"{i:02}_{text if i % 4 == 0 else text[::-1]}.png")
    (path,) = captcha_export.export(config)
    before = captcha_predict.load(path).description["temperature"]
    (path,) = captcha_export.export(config, to=trained / "other", calibrate_on=images)
    assert captcha_predict.load(path).description["temperature"] > before
    metadata, _ = checkpoints.best(replace(config, save_dir=str(trained / "other")), ())
    assert metadata["best"]["temperature"] == captcha_predict.load(path).description["temperature"]


def test_only_the_first_captchas_are_decoded(trained, monkeypatch):
    """A split may be of any size. Here all but the first 20 captchas could not be decoded."""
    path = trained / "tfrecords" / "validation-00000-of-00001.tfrecord"
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for i, record in enumerate(records):
            example = tf.train.Example.FromString(record)
            if i >= 20:
                example.features.feature["image/encoded"].bytes_list.value[0] = b"no image"
            writer.write(example.SerializeToString())
    manifest, content = read_checksummed(trained / "tfrecords" / "validation.json"), path.read_bytes()
    manifest["shards"][0] |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    write_checksummed(trained / "tfrecords" / "validation.json", manifest)
    config = in_folder(trained)
    with pytest.raises(UserError, match="record 20: the image: is not a PNG"):
        captcha_export.export(config)
    assert captcha_export.COMPARED == 1000
    monkeypatch.setattr(captcha_export, "COMPARED", 20)
    assert captcha_export.export(config)


def test_an_export_that_predicts_otherwise_is_not_kept(trained, monkeypatch):
    export = keras.Model.export

    def spoilt(model, *args, **kwargs):
        model.set_weights([np.roll(weights, 1, axis=-1) for weights in model.get_weights()])
        return export(model, *args, **kwargs)

    monkeypatch.setattr(keras.Model, "export", spoilt)
    before = files(trained)
    for name in ("litert", "saved_model"):
        message = rf"{name}: predicts differently from the checkpoint for \d+ of 37; not kept"
        with pytest.raises(UserError, match=message):
            captcha_export.export(in_folder(trained), (name,))
    assert files(trained) == before


def test_a_tie_of_the_checkpoint_may_go_either_way_and_nothing_else():
    logits = np.zeros((10, 2, 4), np.float32)
    logits[..., 1], logits[..., 2] = 5.0, 5.0 - 1e-4
    other = logits[..., [0, 2, 1, 3]]
    captcha_export._compare("litert", other, logits, np.ones((10, 2), np.int32), SMALL)
    logits[3, 1, 1] += 0.1
    with pytest.raises(UserError, match="litert: predicts differently from the checkpoint for 1 of 10; not kept"):
        captcha_export._compare("litert", other, logits, np.ones((10, 2), np.int32), SMALL)


def test_an_export_that_was_killed_leaves_nothing_that_the_next_one_keeps(trained):
    (trained / "save" / ".export").mkdir()
    (trained / "save" / ".export" / "model.tflite").write_text("half")
    captcha_export.export(in_folder(trained))
    assert not (trained / "save" / ".export").exists()
    assert captcha_predict.load(trained / "save").characters == "0123"


def export_killed_before(call: int, config: Config) -> None:
    """Export a SavedModel in the place of an earlier one; SIGKILL before the n-th rename."""
    rename, calls = Path.rename, []

    def counted(path: Path, target: Path) -> Path:
        calls.append(path)
        if len(calls) == call:
            signal.raise_signal(signal.SIGKILL)
        return rename(path, target)

    Path.rename = counted
    captcha_export.export(config, ("saved_model",))


@pytest.fixture(scope="module")
def with_saved_model(trained_once, tmp_path_factory):
    """A folder with a finished run, a SavedModel of it, and what that predicts for a few images."""
    folder = tmp_path_factory.mktemp("saved_model")
    shutil.copytree(trained_once, folder, dirs_exist_ok=True)
    (path,) = captcha_export.export(in_folder(folder), ("saved_model",))
    images = np.random.default_rng(1).integers(0, 256, (5, 32, 48, 3), np.uint8)
    return folder, images, saved_model(path, images)


@pytest.mark.parametrize(("call", "left"), [(1, "saved_model"), (2, "saved_model.old")])
def test_a_kill_between_the_renames_leaves_the_earlier_saved_model_complete(with_saved_model, tmp_path, call, left):
    folder, images, logits = with_saved_model
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    process = Process(export_killed_before, call, in_folder(tmp_path), cwd=tmp_path)
    assert process.wait() == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "save").glob("saved_model*")] == [left]
    assert np.array_equal(saved_model(tmp_path / "save" / left, images), logits)
    (path,) = captcha_export.export(in_folder(tmp_path), ("saved_model",))
    assert [path.name for path in (tmp_path / "save").glob("saved_model*")] == ["saved_model"]
    assert np.array_equal(saved_model(path, images), logits)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--save_dir", "nowhere"), "there is no checkpoint; train one: python captcha_train.py"),
        (("--formats", "tensorrt"), "invalid choice: 'tensorrt'"),
        (("--tfrecords_dir", "nowhere"), "validation.json: there is no such set; draw it"),
        (("--calibrate_on", "nowhere"), "nowhere: is neither a folder nor a CSV file"),
        (("--calibrate_on", "save"), "is not a PNG, JPEG, GIF, WebP or BMP file; convert it or leave it out"),
    ],
)
def test_a_wrong_call_is_one_line_and_status_2(trained, args, message):
    before = files(trained)
    done = run("captcha_export.py", *args, cwd=trained)
    (line,) = errors(done.stderr)
    assert message in line
    assert done.returncode == 2
    assert files(trained) == before


def test_a_csv_file_without_rows_is_nothing_to_calibrate_on(trained, tmp_path):
    (tmp_path / "labels.csv").write_text("file,label\n")
    with pytest.raises(UserError, match=r"labels\.csv names no image; add some"):
        captcha_export.export(in_folder(trained), calibrate_on=tmp_path / "labels.csv")


def test_a_missing_package_is_named(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match="onnx: the package onnxruntime is missing; pip install tf2onnx"):
        captcha_export.export(in_folder(trained), ("onnx",))


def test_an_export_beside_another_one_is_refused(trained):
    with filelock.FileLock(trained / "save" / ".export.lock"):
        done = run("captcha_export.py", cwd=trained)
    message = "save: another export is at work there; wait for it or stop it"
    assert errors(done.stderr) == [f"captcha_export.py: error: {message}"]
    assert done.returncode == 2


def test_checkpoints_of_a_run_that_goes_on_can_be_exported(trained):
    """The lock of a trainer is another one."""
    with filelock.FileLock(trained / "save" / ".train.lock"):
        assert captcha_export.export(in_folder(trained))
