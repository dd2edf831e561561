"""Two devices, or two machines, give what one gives: the same examples in the same order, and the same losses."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import captcha_data
import captcha_log
import captcha_save
import captcha_train
from captcha_config import Config

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, SMALL, TRAINING, checkpoint_values, command, options, own_lines

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
    """As far as float32 goes, which adds up in another order."""
    for devices in (1, 2):
        said = train(replace(config, save_dir=str(folder / f"{devices}")), devices)
        assert f"on {devices} CPU" in said
    assert len(losses(folder / "1")) == 6
    assert losses(folder / "2") == pytest.approx(losses(folder / "1"), rel=1e-5)


def test_a_run_goes_on_with_another_number_of_devices(config, folder):
    for devices, max_steps in ((1, 4), (2, 8), (1, 12)):
        said = train(replace(config, max_steps=max_steps), devices)
    assert "going on from step 8" in said
    for max_steps in (4, 8, 12):
        captcha_train.train(replace(config, max_steps=max_steps, save_dir=str(folder / "undisturbed")))
    assert losses(folder / "save") == pytest.approx(losses(folder / "undisturbed"), rel=1e-4)


def test_a_batch_that_cannot_be_spread_evenly_is_refused(config):
    words = [sys.executable, "-c", TRAIN, str(ROOT), "3", json.dumps(asdict(config))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert "batch_size: 16 cannot be spread evenly over 3 devices" in done.stderr


def job(config: Config, workers: int, *, both: tuple = (), second: tuple = ()) -> list[subprocess.Popen]:
    """Start the trainer as so many workers of a job, on this machine; the second one with other options."""
    ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(workers)]
    addresses = [f"127.0.0.1:{port.getsockname()[1]}" for port in ports]
    for port in ports:
        port.close()
    processes = []
    for index in range(workers):
        words = options((*TRAINING, "tfrecords_dir", "save_dir"), config)
        words += map(str, (*both, *(second if index else ())))
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        processes.append(
            subprocess.Popen(
                command("captcha_train.py", *words),
                env=os.environ | {"TF_CONFIG": json.dumps(task)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


def ended(processes: list[subprocess.Popen]) -> list[tuple[int, str, list[str]]]:
    """(exit status, what was said, own lines on standard error) of each."""
    told = [process.communicate(timeout=120) for process in processes]
    return [(process.returncode, out, own_lines(err)) for process, (out, err) in zip(processes, told, strict=True)]


@pytest.fixture(scope="module")
def undisturbed(_drawn, tmp_path_factory):
    """What two workers save that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    config = replace(SMALL, tfrecords_dir=str(_drawn / "tfrecords"), save_dir=str(folder / "save"))
    said = ended(job(config, 2))
    assert [status for status, _, _ in said] == [0, 0], said
    assert "on 2 CPUs" in said[0][1] and "with the first worker" in said[1][1]
    return folder / "save"


def test_two_machines_have_the_losses_of_one(config, undisturbed):
    captcha_train.train(config)
    assert losses(undisturbed) == pytest.approx(losses(Path(config.save_dir)), rel=1e-5)


def test_only_the_first_machine_writes(config, folder):
    processes = job(replace(config, max_steps=2), 2, second=("--save_dir", folder / "second"))
    assert [status for status, _, _ in ended(processes)] == [0, 0]
    assert Path(config.save_dir, "model.tflite").exists()
    assert not (folder / "second").exists()


@pytest.mark.parametrize("lost", [0, 1])
def test_where_a_machine_is_lost_the_other_says_so_and_all_go_on_from_the_last_save(config, undisturbed, lost):
    processes = job(config, 2)
    for line in processes[0].stdout:
        if line.startswith("step 6/"):
            processes[lost].kill()
            break
    status, _, (line,) = ended(processes)[1 - lost]
    assert status == 2 and "another worker of the job was lost; start all of them again" in line
    said = ended(job(config, 2))
    assert [status for status, _, _ in said] == [0, 0] and "going on from step" in said[0][1]
    assert checkpoint_values(Path(config.save_dir), "ckpt-12") == checkpoint_values(undisturbed, "ckpt-12")


def test_a_signal_to_any_machine_stops_all_after_the_same_step(config):
    processes = job(replace(config, max_steps=5000), 2)
    next(line for line in processes[0].stdout if line.startswith("step 4/"))
    processes[1].send_signal(signal.SIGTERM)
    (first, said, _), (second, its, _) = ended(processes)
    assert (first, second) == (143, 143)
    step = captcha_save.newest(Path(config.save_dir), captcha_save.LATEST)["step"]
    assert f"stopped by SIGTERM after step {step};" in said and f"stopped after step {step}" in its


def test_a_machine_with_another_config_is_refused(config):
    said = ended(job(config, 2, second=("--seed", 2)))
    assert [status for status, _, _ in said] == [2, 2]
    assert "this worker has another config, or other sets, than the first one" in said[1][2][0]


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_machines(config, folder):
    for workers, max_steps in ((1, 4), (2, 8), (1, 12)):
        said = ended(job(replace(config, max_steps=max_steps), workers))
        assert [status for status, _, _ in said] == [0] * workers, said
    for max_steps in (4, 8, 12):
        captcha_train.train(replace(config, max_steps=max_steps, save_dir=str(folder / "undisturbed")))
    assert losses(folder / "save") == pytest.approx(losses(folder / "undisturbed"), rel=1e-4)


def test_a_tf_config_that_makes_no_sense_is_one_line(config):
    words = options((*TRAINING, "tfrecords_dir"), config)
    for text in ("{", '{"cluster": {"worker": ["127.0.0.1:1"]}, "task": {"type": "worker", "index": 3}}'):
        env = os.environ | {"TF_CONFIG": text}
        done = subprocess.run(command("captcha_train.py", *words), env=env, capture_output=True, text=True, timeout=120)
        (line,) = own_lines(done.stderr)
        assert done.returncode == 2 and "TF_CONFIG: " in line
