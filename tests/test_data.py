from dataclasses import replace

import captcha_data
import captcha_draw
from captcha_config import UserError

import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL
from PIL import Image


def first(batches, count):
    return [tuple(part.numpy() for part in batch) for batch in batches.take(count)]


def numbered(count):
    """A set whose images tell which they are."""
    images = (
        np.zeros((count, SMALL.height, SMALL.width, 1), np.uint8)
        + np.arange(count, dtype=np.uint8)[:, None, None, None]
    )
    return images, np.stack([np.arange(count), np.arange(count)], axis=1).astype(np.int32)


def test_images_and_labels_are_those_that_were_drawn(config):
    images, labels = captcha_data.load("train", config)
    assert (images.shape, images.dtype) == ((100, 32, 48, 1), np.uint8)
    for index in range(100):
        text, image = captcha_draw.draw(index, "train", config)
        assert "".join(config.characters[label] for label in labels[index]) == text
        grey = np.round(np.asarray(image).mean(axis=2))
        assert np.array_equal(images[index, :, :, 0], grey)


def test_each_epoch_is_a_permutation():
    images, labels = numbered(50)
    config = replace(SMALL, batch_size=15)
    seen = np.concatenate(
        [batch[1][:, 0] for batch in first(captcha_data.training_batches(images, labels, 0, config), 10)]
    )
    epochs = seen.reshape(3, 50)
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[0], np.arange(50))


def test_the_batches_of_a_step_do_not_depend_on_where_one_began():
    images, labels = numbered(50)
    through = first(captcha_data.training_batches(images, labels, 0, SMALL), 9)
    resumed = first(captcha_data.training_batches(images, labels, 5, SMALL), 4)
    for (images_a, labels_a), (images_b, labels_b) in zip(through[5:], resumed, strict=True):
        assert np.array_equal(images_a, images_b)
        assert np.array_equal(labels_a, labels_b)


def test_another_seed_gives_another_order():
    images, labels = numbered(50)
    one, two = (
        first(captcha_data.training_batches(images, labels, 0, replace(SMALL, seed=seed)), 1)[0][1] for seed in (1, 2)
    )
    assert not np.array_equal(one, two)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_neighbours_in_the_set_are_no_neighbours_in_training(seed):
    """TensorFlow's shuffle leaves runs of them as it comes, half of all for small seeds."""
    index = tf.range(1000, dtype=tf.int64)
    for epoch in range(4):
        for what in range(4):
            order = captcha_data.shuffled(index, tf.constant([seed, epoch, what], tf.int64), index[-1]).numpy()
            assert sorted(order) == list(range(1000))
            assert (np.abs(np.diff(order)) == 1).sum() < 12  # by chance it would be two


def test_an_image_stays_with_its_label():
    images, labels = numbered(50)
    for batch_images, batch_labels in first(captcha_data.training_batches(images, labels, 0, SMALL), 4):
        assert np.array_equal(batch_images[:, 0, 0, 0], batch_labels[:, 0])


def test_a_shift_moves_the_image_by_no_more_than_the_config_says():
    image = np.zeros((1, SMALL.height, SMALL.width, 1), np.uint8)
    image[0, 16, 24] = 255
    config = replace(SMALL, batch_size=200, shift=2)
    moved = first(captcha_data.training_batches(image, np.zeros((1, 2), np.int32), 0, config), 1)[0][0]
    where = np.argwhere(moved[..., 0] == 255)[:, 1:] - (16, 24)
    assert len(where) == 200
    assert (where.min(axis=0) == -2).all() and (where.max(axis=0) == 2).all()


def test_evaluation_passes_once_over_everything_with_the_last_partial_batch():
    images, labels = numbered(50)
    batches = first(captcha_data.evaluation_batches(images, labels, 16), 99)
    assert [len(batch[1]) for batch in batches] == [16, 16, 16, 2]
    assert np.array_equal(np.concatenate([batch[1] for batch in batches]), labels)


def test_a_set_over_the_memory_budget_is_refused_with_the_number_it_needs(tmp_path):
    from captcha_producer import produce

    config = replace(
        SMALL, width=512, height=512, font_sizes=(100,), memory_budget=1, tfrecords_dir=str(tmp_path / "tfrecords")
    )
    produce(8, tmp_path / "images" / "train", config)
    with pytest.raises(UserError, match="8 decoded images take 3 MiB, more than memory_budget 1 MiB"):
        captcha_data.load("train", config)


@pytest.mark.parametrize("name", ["train.json", "train-00000-of-00003.tfrecord"])
def test_what_cannot_be_read_is_named(folder, config, name):
    (folder / "tfrecords" / name).unlink()
    (folder / "tfrecords" / name).mkdir()
    with pytest.raises(UserError, match=f"{name}: "):
        captcha_data.load("train", config)


def test_the_fingerprint_is_another_one_for_another_set(folder, config):
    from captcha_producer import produce

    before = captcha_data.fingerprint(captcha_data.read_manifest("train", config))
    produce(100, folder / "images" / "train", replace(config, seed=2))
    assert captcha_data.fingerprint(captcha_data.read_manifest("train", config)) != before


def test_grey_is_the_same_before_and_after_it_was_stored():
    from captcha_model import grey

    rgb = np.array([Image.effect_noise((64, 32), 80).convert("RGB")])
    rgb[..., 1] //= 2
    stored = tf.cast(grey(rgb), tf.uint8)
    assert np.array_equal(grey(stored).numpy(), grey(rgb).numpy())
