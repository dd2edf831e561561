"""Batches: which images a step gets, how they are augmented, and that (seed, step) alone decide it."""

from dataclasses import replace

import captcha_data
from captcha_cli import UserError
from captcha_sets.draw import draw, png
from captcha_sets.drawing import produce
from captcha_sets.manifest import fingerprint, read_manifest
from captcha_sets.pixels import grey
from captcha_sets.replace import write_split

import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL, in_folder
from PIL import Image

COUNT = 50


def opened(images, config):
    """The records of a training split with these images: text → image."""
    items = ((text, png(image)) for text, image in images.items())
    write_split(items, len(images), "train", config, images=False)
    return captcha_data.open_pixels(read_manifest("train", config), config)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """The records of a split whose images and labels both say which they are."""
    config = in_folder(tmp_path_factory.mktemp("numbered"), replace(SMALL, characters="0123456789"))
    size = (config.width, config.height)
    return opened({f"{i:02}": Image.new("RGB", size, (i, i, i)) for i in range(COUNT)}, config)


def first(batches, count):
    return [tuple(part.numpy() for part in batch) for batch in batches.take(count)]


def numbers(batches):
    """Which images of the split are in the batches, by their labels."""
    return np.concatenate([labels[:, 0] * 10 + labels[:, 1] for _, labels in batches])


def test_images_and_labels_are_those_that_were_drawn(config):
    records = captcha_data.open_pixels(read_manifest("train", config), config)
    ((images, labels),) = captcha_data.evaluation_batches(records, 100)
    assert (images.shape, images.dtype) == ((100, 32, 48, 1), np.uint8)
    for index in range(100):
        text, image = draw(index, "train", config)
        assert "".join(config.characters[label] for label in labels[index]) == text
        assert np.array_equal(images[index, :, :, 0], np.round(np.asarray(image).mean(axis=2)))


def test_each_epoch_is_a_permutation(numbered):
    config = replace(SMALL, batch_size=15)
    epochs = numbers(first(captcha_data.training_batches(numbered, 0, config), 10)).reshape(3, COUNT)
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[0], np.arange(COUNT))


@pytest.mark.parametrize("step", [1, 3, 4, 40])
def test_the_batches_of_a_step_do_not_depend_on_where_one_began(numbered, step):
    config = replace(SMALL, rotate=5.0, zoom=0.1)
    through = first(captcha_data.training_batches(numbered, 0, config), step + 3)[step:]
    resumed = first(captcha_data.training_batches(numbered, step, config), 3)
    for one, other in zip(through, resumed, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_another_seed_gives_another_order(numbered):
    one, other = (first(captcha_data.training_batches(numbered, 0, replace(SMALL, seed=seed)), 1) for seed in (1, 2))
    assert not np.array_equal(numbers(one), numbers(other))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_neighbours_in_the_split_are_not_neighbours_in_training(seed):
    """TensorFlow's shuffle leaves runs of them as it comes, half of all for small seeds."""
    index = tf.range(1000, dtype=tf.int64)
    for epoch in range(4):
        for third in range(4):
            order = captcha_data.shuffled(index, tf.constant([seed, epoch, third], tf.int64), index[-1]).numpy()
            assert sorted(order) == list(range(1000))
            assert (np.abs(np.diff(order)) == 1).sum() < 12  # by chance it would be two


def test_an_image_stays_with_its_label(numbered):
    batches = first(captcha_data.training_batches(numbered, 0, SMALL), 4)
    assert np.array_equal(np.concatenate([images[:, 0, 0, 0] for images, _ in batches]), numbers(batches))


@pytest.mark.parametrize(("machines", "replicas"), [(1, 2), (2, 2), (2, 4)])
def test_the_parts_of_a_batch_are_together_the_batch_of_one_device(numbered, machines, replicas):
    config = replace(SMALL, rotate=10.0)
    parts = [tf.distribute.InputContext(machines, i, replicas) for i in range(machines)]
    here = [iter(captcha_data.training_batches(numbered, 15, config, part)) for part in parts]
    for batch in first(captcha_data.training_batches(numbered, 15, config), 4):
        pieces = [next(machine) for machine in here for _ in range(replicas // machines)]
        assert [len(labels) for _, labels in pieces] == [16 // replicas] * replicas
        for one, several in zip(batch, zip(*pieces, strict=True), strict=True):
            assert np.array_equal(one, np.concatenate(several))


def test_a_shift_moves_an_image_by_no_more_than_the_config_says(tmp_path):
    image = Image.new("RGB", (SMALL.width, SMALL.height))
    image.putpixel((24, 16), (255, 255, 255))
    config = in_folder(tmp_path, replace(SMALL, batch_size=200, shift=2))
    ((moved, _),) = first(captcha_data.training_batches(opened({"00": image}, config), 0, config), 1)
    where = np.argwhere(moved[..., 0] == 255)[:, 1:] - (16, 24)
    assert len(where) == 200
    assert (where.min(axis=0) == -2).all() and (where.max(axis=0) == 2).all()


def test_zoom_makes_an_image_smaller_and_larger_as_the_config_says(tmp_path):
    image = Image.new("RGB", (SMALL.width, SMALL.height))
    image.paste("white", (14, 6, 34, 26))  # a square of 20 pixels in the centre
    config = in_folder(tmp_path, replace(SMALL, batch_size=200, shift=0, zoom=0.2))
    ((zoomed, _),) = first(captcha_data.training_batches(opened({"00": image}, config), 0, config), 1)
    sides = (zoomed[:, 16, :, 0] > 127).sum(axis=1)
    assert 16 <= sides.min() <= 17 and 24 <= sides.max() <= 26  # 20 / 1.2 and 20 / 0.8


def test_rotation_turns_an_image_both_ways_around_its_centre(tmp_path):
    image = Image.new("RGB", (SMALL.width, SMALL.height))
    image.paste("white", (8, 15, 40, 17))  # a horizontal line through the centre
    config = in_folder(tmp_path, replace(SMALL, batch_size=200, shift=0, rotate=20.0))
    ((turned, _),) = first(captcha_data.training_batches(opened({"00": image}, config), 0, config), 1)
    assert (turned[:, 15:17, 23:25].min(axis=(1, 2, 3)) > 127).all()  # the centre stays
    heights = turned[:, :, 36, 0].argmax(axis=1) - 15.5  # 12.5 pixels from the centre
    assert heights.min() == pytest.approx(-4.5, abs=1) and heights.max() == pytest.approx(4.5, abs=1)


def test_an_evaluation_reads_every_image_once_in_order_with_the_last_partial_batch(numbered):
    batches = list(captcha_data.evaluation_batches(numbered, 16))
    assert [len(labels) for _, labels in batches] == [16, 16, 16, 2]
    assert np.array_equal(numbers(batches), np.arange(COUNT))
    assert np.array_equal(np.concatenate([images[:, 5, 5, 0] for images, _ in batches]), np.arange(COUNT))


@pytest.mark.parametrize("name", ["train.json", "train-00000-of-00003.tfrecord"])
def test_a_file_that_cannot_be_read_is_named(folder, config, name):
    (folder / "tfrecords" / name).unlink()
    (folder / "tfrecords" / name).mkdir()
    with pytest.raises(UserError, match=f"{name}: "):
        captcha_data.open_pixels(read_manifest("train", config), config)


def test_the_fingerprint_is_another_one_for_another_set(config):
    before = fingerprint(read_manifest("train", config))
    other = replace(config, seed=2)
    produce("train", other)
    assert fingerprint(read_manifest("train", other)) != before


def test_colour_goes_through_the_batches_and_is_shifted_as_grey_is(config):
    config = replace(config, input_color=True)
    records = captcha_data.open_pixels(read_manifest("train", config), config)
    ((images, _),) = first(captcha_data.training_batches(records, 0, config), 1)
    assert (images.shape, images.dtype) == ((16, 32, 48, 3), np.uint8)
    step = start = tf.constant(0, tf.int64)
    shifted = captcha_data.augmented(records["image"][:16], step, start, config)
    for channel in range(3):
        alone = captcha_data.augmented(records["image"][:16, ..., channel, None], step, start, config)
        assert np.array_equal(shifted[..., channel, None], alone)


def test_grey_is_the_same_before_and_after_it_was_stored():
    rgb = np.array([Image.effect_noise((64, 32), 80).convert("RGB")])
    rgb[..., 1] //= 2
    stored = tf.cast(grey(rgb), tf.uint8)
    assert np.array_equal(grey(stored).numpy(), grey(rgb).numpy())
    assert np.abs(grey(rgb).numpy()[..., 0] - rgb.mean(axis=-1)).max() <= 0.5
