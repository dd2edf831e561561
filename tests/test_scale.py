"""Two devices give what one gives: the same examples in the same order, and the same losses."""

import json
import subprocess
import sys
from dataclasses import asdict, replace

import captcha_data
import captcha_log
import captcha_train
from captcha_config import Config, UserError

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, SMALL

# A process whose CPU counts as several devices: that can be said only before TensorFlow has used it.
TRAIN = """
import json, sys
sys.path.insert(0, sys.argv[1])
import captcha_train
from captcha_config import Config
import tensorflow as tf
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(sys.argv[2]))
sys.exit(captcha_train.train(Config.from_dict(json.loads(sys.argv[3]))))
"""


def train(config: Config, devices: int) -> str:
    """Train on so many devices; returns what was said."""
    words = [sys.executable, "-c", TRAIN, str(ROOT), str(devices), json.dumps(asdict(config))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def losses(folder) -> list[float]:
    return [entry["loss"] for entry in captcha_log.read(folder)]


@pytest.mark.parametrize(("machines", "replicas"), [(1, 1), (1, 2), (2, 2), (2, 4), (4, 4)])
def test_the_parts_of_a_batch_are_together_the_batch_of_one_device(machines, replicas):
    config = replace(SMALL, rotate=10.0, zoom=0.1)
    rng = np.random.default_rng(1)
    images, labels = rng.integers(0, 256, (37, 32, 48, 1), np.uint8), rng.integers(0, 4, (37, 2)).astype("int32")
    whole = captcha_data.training_batches(images, labels, 3, config)
    parts = [tf.distribute.InputContext(machines, i, replicas) for i in range(machines)]
    here = [iter(captcha_data.training_batches(images, labels, 3, config, part)) for part in parts]
    for batch, _ in zip(whole, range(5), strict=False):
        pieces = [next(machine) for machine in here for _ in range(replicas // machines)]
        for one, several in zip(batch, zip(*pieces, strict=True), strict=True):
            assert np.array_equal(one, np.concatenate(several))


def test_two_devices_have_the_losses_of_one(config, folder):
    """As far as float32 goes, which adds up in another order. Without dropout: each device draws its own."""
    for devices in (1, 2):
        said = train(replace(config, dropout=0.0, save_dir=str(folder / f"{devices}")), devices)
        assert f"on {devices} CPU" in said
    assert len(losses(folder / "1")) == 6
    assert losses(folder / "2") == pytest.approx(losses(folder / "1"), rel=1e-5)


def test_a_run_goes_on_with_another_number_of_devices(config, folder):
    config = replace(config, dropout=0.0)
    for devices, max_steps in ((1, 4), (2, 8), (1, 12)):
        said = train(replace(config, max_steps=max_steps), devices)
    assert "going on from step 8" in said
    for max_steps in (4, 8, 12):
        captcha_train.train(replace(config, max_steps=max_steps, save_dir=str(folder / "undisturbed")))
    assert losses(folder / "save") == pytest.approx(losses(folder / "undisturbed"), rel=1e-4)


def test_a_batch_that_cannot_be_spread_evenly_is_refused(config, monkeypatch):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [tf.config.LogicalDevice("GPU:0", "GPU")] * 3)
    with pytest.raises(UserError, match="batch_size: 16 cannot be spread evenly over 3 devices"):
        captcha_train.train(config)
