"""Files whose checksum is right, but whose content makes no sense: each is refused in one line."""

import re
from pathlib import Path

from captcha_cli import UserError
from captcha_runs import checkpoints
from captcha_sets.draw import png
from captcha_sets.files import read_checksummed, sha256, write_checksummed
from captcha_sets.manifest import VALIDATION, open_manifest, read_manifest
from captcha_sets.pixels import open_pixels
from captcha_strengths import cells

import pytest
import tensorflow as tf
from conftest import in_folder
from PIL import Image


def changed_first_record(config, change):
    """Change the first record of the validation split, with checksums that fit."""
    path, manifest_path = (
        Path(config.tfrecords_dir, name) for name in ("validation-00000-of-00001.tfrecord", "validation.json")
    )
    records = [tf.train.Example.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
    change(records[0].features.feature)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record.SerializeToString())
    manifest = read_checksummed(manifest_path)
    manifest["shards"][0] |= {"bytes": path.stat().st_size, "sha256": sha256(path)}
    write_checksummed(manifest_path, manifest)


def lose_the_image(feature):
    del feature["image/encoded"]


def damage_the_image(feature):
    feature["image/encoded"].bytes_list.value[0] = b"no picture"


def enlarge_the_image(feature):
    feature["image/encoded"].bytes_list.value[0] = png(Image.new("RGB", (50, 32)))


def damage_the_text(feature):
    feature["image/text"].bytes_list.value[0] = b"\xff\xfe"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lose_the_image,
            "validation: record 0 is not a captcha (it does not have one image and one text); make the set",
        ),
        (damage_the_image, "record 0: the image: is not a PNG, JPEG, GIF, WebP or BMP file"),
        (enlarge_the_image, "record 0 is an image of 50x32, not 48x32; make the set again"),
        (damage_the_text, "validation: record 0 is not a captcha ('utf-8' codec can't decode"),
    ],
)
def test_a_record_that_is_no_captcha_of_the_set_is_refused(config, change, message):
    changed_first_record(config, change)
    with pytest.raises(UserError, match=re.escape(message)):
        open_pixels(read_manifest(VALIDATION, config), config)


SHARD = {"name": "validation-00000-of-00001.tfrecord", "records": 37, "bytes": 10, "sha256": ""}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": "many"}, "'count' is not of type int"),
        ({"count": 36}, "its shards do not have as many captchas as it says"),
        ({"shards": []}, "its shards do not have as many captchas as it says"),
        ({"shards": [SHARD | {"name": "../save/a"}]}, "the names of its shards make no sense"),
        ({"length": 10**6}, "length: 1000000 is out of range; it must be from 1 to 32"),
        ({"typed": {"no field": 1}}, "it is another split's"),
        ({"split": "train"}, "it is another split's"),
        ({"repeatable": None}, "'repeatable' is not of type bool"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(config, values, message):
    path = Path(config.tfrecords_dir, "validation.json")
    write_checksummed(path, read_checksummed(path) | values)
    with pytest.raises(UserError) as error:
        open_manifest(VALIDATION, config)
    assert str(error.value).startswith(f"{path}: is not a complete manifest ({message}); make the set again: python ")


BEST = {"step": 12, "captcha_accuracy": 0.5, "temperature": 1.0}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"best": BEST | {"temperature": 0}},
            "is not what the trainer writes ('temperature' is not above 0); restore it",
        ),
        ({"best": {}}, "is not what the trainer writes ('best' has no 'step'); restore it"),
        ({"drawn_with": []}, "is not what the trainer writes ('drawn_with' is not a dict); restore it"),
        ({"config": {"length": 99}}, "length: 99 is out of range; it must be from 1 to 32"),
        ({"step": 3}, "has checkpoint files, but no complete checkpoint"),
        ({"files": {"../tfrecords/train.json": ""}}, "has checkpoint files, but no complete checkpoint"),
    ],
)
def test_metadata_that_makes_no_sense_is_refused(trained, values, message):
    path = next((trained / "save").glob("best-*.json"))
    write_checksummed(path, read_checksummed(path) | values)
    with pytest.raises(UserError, match=re.escape(message)):
        checkpoints.best(in_folder(trained), ())


@pytest.mark.parametrize(
    "values", ['"count": 0', '"correct": 51', '"labels": -1', '"seconds": NaN', '"setting": null', '"other": 1']
)
def test_a_measurement_that_makes_no_sense_is_refused(tmp_path, values):
    path = tmp_path / "cells.jsonl"
    fields = (
        '"key": "a", "setting": "b", "labels": 30, "start": "c", "seed": 1, "correct": 40, "count": 50, "seconds": 9'
    )
    path.write_text(f"{{{fields}}}\n{{{fields}, {values}}}\n")
    with pytest.raises(UserError, match=r"cells\.jsonl: line 2 is damaged; remove the line to measure it again"):
        cells.read(path)
