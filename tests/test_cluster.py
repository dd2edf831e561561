"""Two devices, or two machines, give what one gives: the same batches in the same order, and the same losses."""

import functools
import gc
import hashlib
import json
import re
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path

import captcha_data
import captcha_model
import captcha_train
from captcha_cli import UserError
from captcha_cli import run as run_main
from captcha_config import Config
from captcha_runs import checkpoint_files, cluster, log
from captcha_runs.checkpoint_files import LATEST
from captcha_sets.manifest import read_manifest

import pytest
import tensorflow as tf
from conftest import TRAINING, Process, checkpoint_values, errors, in_folder, options, run, start, wait_for

LOST = "another worker of the job was lost; start all of them again, or as many as you have: they resume from the last"


def losses(folder: Path) -> list[float]:
    return [entry["loss"] for entry in log.read(folder)]


# Several devices


def use_devices(count: int) -> None:
    """Let the CPU count as several devices: that can be said only before TensorFlow has used it."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)


def train_on(devices: int, config: Config) -> None:
    use_devices(devices)
    run_main(lambda: captcha_train.train(config))


def printed_by_training_on(devices: int, config: Config) -> str:
    process = Process(train_on, devices, config, cwd=Path(config.save_dir).parent)
    printed, stderr = process.communicate()
    assert process.returncode == 0, stderr
    return printed


def test_two_devices_have_the_losses_of_one(config, trained_once):
    """As far as float32 goes, which adds up in another order."""
    assert "on 2 CPUs" in printed_by_training_on(2, config)
    assert len(losses(trained_once / "save")) == 6
    assert losses(Path(config.save_dir)) == pytest.approx(losses(trained_once / "save"), rel=1e-5)


def test_a_run_resumes_with_another_number_of_devices(trained, trained_once):
    """As after a kill in the save of step 12, of a job that now gets two devices."""
    for path in (trained / "save").glob("*-12.*"):
        path.unlink()
    assert "on 2 CPUs\nresuming from step 10" in printed_by_training_on(2, in_folder(trained))
    assert losses(trained / "save") == pytest.approx(losses(trained_once / "save"), rel=1e-5)


def test_a_batch_that_cannot_be_spread_evenly_is_refused(config):
    process = Process(train_on, 3, config, cwd=Path(config.tfrecords_dir))
    _, stderr = process.communicate()
    assert "error: batch_size: 16 cannot be spread evenly over 3 devices" in stderr
    assert process.returncode == 2


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"xla": True}, "xla: compiles for one device, and there are 2; leave it out (--no-xla)"),
        ({"precision": "float16"}, "precision: float16 is for one device, and there are 2; use bfloat16"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_some_settings_are_for_one_device(config, setting, message):
    process = Process(train_on, 2, replace(config, **setting), cwd=Path(config.tfrecords_dir))
    _, stderr = process.communicate()
    assert f"error: {message}" in stderr
    assert process.returncode == 2


def count_iterators(config: Config) -> None:
    """Print how many iterators there are while the pipeline runs, after it was closed, and after it has failed."""
    use_devices(2)
    strategy = cluster.choose_strategy(config)
    records = captcha_data.open_pixels(read_manifest("train", config), config)
    dataset_of = functools.partial(captcha_data.training_batches, records, 0, config)

    def count() -> None:
        print(sum(type(thing).__name__ == "OwnedMultiDeviceIterator" for thing in gc.get_objects()))

    batches = captcha_data.iterate(strategy, dataset_of)
    next(batches)
    count()
    batches.close()
    count()
    captcha_data.verified_records = None  # calling it is an error
    try:
        next(captcha_data.iterate(strategy, dataset_of))
    except TypeError:
        count()


def test_a_pipeline_that_was_closed_or_has_failed_leaves_no_iterator(config, folder):
    """One that is left when Python ends waits for threads that wait for Python: the process would never end."""
    process = Process(count_iterators, config, cwd=folder)
    printed, stderr = process.communicate()
    assert printed.split() == ["1", "0", "0"], stderr


def test_a_gpu_that_tensorflow_cannot_use_is_one_line_that_says_what_to_install(config, tmp_path, monkeypatch, capsys):
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    monkeypatch.setattr(cluster, "NVIDIA", tmp_path / "gpus")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])
    cluster.choose_strategy(config)
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith("warning: this machine has an NVIDIA GPU, but TensorFlow does not find the libraries")
    assert line.endswith(f"install them: pip install 'tensorflow[and-cuda]=={tf.__version__}'")
    assert said.out == ""


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir])
def test_without_a_gpu_nothing_is_said_of_it(config, tmp_path, monkeypatch, capsys, make):
    make(tmp_path / "gpus")
    monkeypatch.setattr(cluster, "NVIDIA", tmp_path / "gpus")
    cluster.choose_strategy(config)
    assert capsys.readouterr().err == ""


# Several machines


def tasks(count: int) -> list[dict[str, str]]:
    """TF_CONFIG for each of the workers of a job on this machine."""
    ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{port.getsockname()[1]}" for port in ports]
    for port in ports:
        port.close()
    task = {"cluster": {"worker": addresses}}
    return [{"TF_CONFIG": json.dumps(task | {"task": {"type": "worker", "index": i}})} for i in range(count)]


def job(config: Config, workers: int, *, second: tuple = ()) -> list[Process]:
    """Start the trainer as so many workers of a job; the second one with other options."""
    words = options((*TRAINING, "tfrecords_dir", "save_dir"), config)
    folder = Path(config.tfrecords_dir).parent
    return [
        start("captcha_train.py", *words, *(second if index else ()), cwd=folder, env=task)
        for index, task in enumerate(tasks(workers))
    ]


def ended(processes: list[Process]) -> list[tuple[int, str, list[str]]]:
    """(exit status, standard output, lines on standard error) of each."""
    told = [process.communicate() for process in processes]
    return [(process.returncode, out, errors(err)) for process, (out, err) in zip(processes, told, strict=True)]


def train_observed(words: list[str]) -> None:
    """Train, and print how many steps and evaluations were made, and a hash of the weights at the end."""
    counts, models = {"steps": 0, "evaluations": 0}, []
    build, build_train_step, predict = captcha_model.build, captcha_train.build_train_step, captcha_model.predict

    def counted(name, function):
        def call(*args):
            counts[name] += 1
            return function(*args)

        return call

    def kept(*args, **kwargs):
        models.append(build(*args, **kwargs))
        return models[-1]

    captcha_model.build = kept
    captcha_model.predict = counted("evaluations", predict)
    captcha_train.build_train_step = lambda *args: counted("steps", build_train_step(*args))
    sys.argv = ["captcha_train.py", *words]
    assert captcha_train.main() == 0
    weights = b"".join(weights.tobytes() for model in models[:2] for weights in model.get_weights())  # and the average
    print("observed", *counts.values(), hashlib.sha256(weights).hexdigest())


@pytest.fixture(scope="module")
def undisturbed(drawn, tmp_path_factory):
    """The folder of two workers that nobody disturbed, the second with a save folder of its own; and what they said."""
    folder = tmp_path_factory.mktemp("undisturbed")
    words = [*options(TRAINING), "--tfrecords_dir", str(drawn / "tfrecords"), "--save_dir"]
    processes = [
        Process(train_observed, [*words, name], cwd=folder, env=task)
        for name, task in zip(("save", "second"), tasks(2), strict=True)
    ]
    said = ended(processes)
    assert [status for status, _, _ in said] == [0, 0], said
    return folder, said


def test_two_machines_have_the_losses_of_one(undisturbed, trained_once):
    folder, said = undisturbed
    assert "on 2 CPUs" in said[0][1]
    assert losses(folder / "save") == pytest.approx(losses(trained_once / "save"), rel=1e-5)


def test_all_machines_run_the_same_loop(undisturbed):
    _, said = undisturbed
    observed = [re.search(r"observed (\d+) (\d+) (\w+)", printed).groups() for _, printed, _ in said]
    assert observed[0] == observed[1]
    assert observed[0][:2] == ("12", "3")


def test_every_machine_says_from_where_it_trains_and_only_the_first_reports(undisturbed):
    _, ((_, first, _), (_, second, _)) = undisturbed
    assert "starting at step 0, up to step 12" in first and "starting at step 0, up to step 12" in second
    assert "step 12/12" in first and "step 12/12" not in second


def test_nothing_of_tensorflows_own_is_printed(undisturbed):
    _, said = undisturbed
    assert [lines for _, _, lines in said] == [[], []]


def test_only_the_first_machine_writes(undisturbed):
    folder, _ = undisturbed
    assert (folder / "save" / "model.tflite").exists()
    assert not (folder / "second").exists()


def test_where_the_first_machine_is_lost_the_other_says_so_and_all_resume(config, undisturbed):
    processes = job(config, 2)
    wait_for(processes[0], "step 4/")
    processes[0].kill()
    _, (status, _, (line,)) = ended(processes)
    assert status == 2 and line.startswith(f"captcha_train.py: error: {LOST}")
    said = ended(job(config, 2))
    assert [status for status, _, _ in said] == [0, 0]
    assert "resuming from step" in said[0][1] and "resuming from step" in said[1][1]
    assert checkpoint_values(Path(config.save_dir), "ckpt-12") == checkpoint_values(undisturbed[0] / "save", "ckpt-12")


def test_where_another_machine_is_lost_the_first_says_so(config):
    processes = job(replace(config, max_steps=100_000), 2)
    wait_for(processes[0], "step 6/")
    processes[1].kill()
    (status, _, (line,)), _ = ended(processes)
    assert status == 2 and line.startswith(f"captcha_train.py: error: {LOST}")


@pytest.mark.slow
@pytest.mark.parametrize("silent", [0, 1])
def test_a_machine_that_no_longer_answers_is_reported_and_the_last_checkpoint_is_whole(config, silent, undisturbed):
    """It keeps its connections, as one whose cable was pulled: TensorFlow's heartbeat misses it after 10 seconds."""
    processes = job(replace(config, save_every=1), 2)
    wait_for(processes[0], "step 1/")
    processes[silent].send_signal(signal.SIGSTOP)
    _, stderr = processes[1 - silent].communicate()
    processes[silent].kill()
    (line,) = errors(stderr)
    assert processes[1 - silent].returncode == 2 and line.startswith(f"captcha_train.py: error: {LOST}")
    said = ended(job(config, 2))
    assert [status for status, _, _ in said] == [0, 0] and "resuming from step" in said[0][1]
    assert checkpoint_values(Path(config.save_dir), "ckpt-12") == checkpoint_values(undisturbed[0] / "save", "ckpt-12")


def train_failing(error: Exception, config: Config) -> None:
    """Train with a data pipeline that raises the error."""

    def failing(*_):
        raise error

    captcha_data.verified_records = failing
    run_main(lambda: captcha_train.train(config))


def test_an_error_in_the_data_pipeline_of_a_job_is_raised_as_it_was(config, folder):
    raised = (UserError("the set was damaged"), KeyError("a bug"))
    processes = [
        Process(train_failing, error, config, cwd=folder, env=task)
        for error, task in zip(raised, tasks(2), strict=True)
    ]
    (first, _, (line,)), (second, _, lines) = ended(processes)
    assert first == 2 and line.endswith(": error: the set was damaged")
    assert second == 1 and "Traceback (most recent call last):" in lines and lines[-1] == "KeyError: 'a bug'"


@pytest.mark.parametrize("error", [KeyError("a bug"), UserError("the set was damaged")])
def test_an_error_in_the_data_pipeline_of_one_machine_is_raised_as_it_was(config, monkeypatch, error):
    def failing(*_):
        raise error

    monkeypatch.setattr(captcha_data, "verified_records", failing)
    with pytest.raises(type(error)) as caught:
        captcha_train.train(config)
    assert caught.value is error


@pytest.mark.parametrize(
    ("error", "is_loss"),
    [
        (tf.errors.UnavailableError(None, None, "Collective ops is aborted by: Socket closed"), True),
        (tf.errors.AbortedError(None, None, "UNAVAILABLE: Task /job:worker/replica:0/task:0 heartbeat timeout"), True),
        (tf.errors.DeadlineExceededError(None, None, "Deadline Exceeded\nRPC: /CoordinationService/Heartbeat"), True),
        (tf.errors.InternalError(None, None, "Error received from peer: Failed to create a kernel"), False),
        (tf.errors.InvalidArgumentError(None, None, "the heartbeat of the peer: Connection reset"), False),
    ],
)
def test_a_lost_machine_is_told_from_a_bug_by_the_kind_of_error(error, is_loss, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tasks(2)[0]["TF_CONFIG"])
    with pytest.raises(UserError if is_loss else type(error)), cluster.failures_explained():
        raise error


def test_a_batch_that_does_not_fit_into_memory_is_one_line():
    error = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[65536,64,128,16]")
    with pytest.raises(UserError, match=r"^out of memory \(OOM when .*\); use a smaller"), cluster.failures_explained():
        raise error


def test_a_single_machine_has_no_other_to_lose():
    error = tf.errors.UnavailableError(None, None, "Socket closed")
    with pytest.raises(tf.errors.UnavailableError), cluster.failures_explained():
        raise error


def test_a_signal_to_any_machine_stops_all_after_the_same_step(config):
    processes = job(replace(config, max_steps=100_000), 2)
    wait_for(processes[0], "step 4/")
    processes[1].send_signal(signal.SIGTERM)
    (first, printed, _), (second, its, _) = ended(processes)
    assert (first, second) == (143, 143)
    step = checkpoint_files.newest(Path(config.save_dir), LATEST)["step"]
    assert f"stopped by SIGTERM after step {step};" in printed and f"stopped by SIGTERM after step {step};" in its


def test_machines_with_different_configs_are_refused(config):
    message = "the workers of this job differ in their config, or in their sets; give all of them the same"
    for status, _, lines in ended(job(config, 2, second=("--learning_rate", 0.001))):
        assert (status, lines) == (2, [f"captcha_train.py: error: {message}"])


@pytest.mark.slow
def test_a_run_continues_with_another_number_of_machines(config, folder):
    for workers, max_steps in ((1, 4), (2, 8), (1, 12)):
        said = ended(job(replace(config, max_steps=max_steps), workers))
        assert [status for status, _, _ in said] == [0] * workers, said
    for max_steps in (4, 8, 12):
        captcha_train.train(replace(config, max_steps=max_steps, save_dir=str(folder / "undisturbed")))
    assert losses(folder / "save") == pytest.approx(losses(folder / "undisturbed"), rel=1e-4)


@pytest.mark.parametrize(
    "text", ["{", '{"cluster": {"worker": ["127.0.0.1:1"]}, "task": {"type": "worker", "index": 3}}']
)
def test_a_tf_config_that_makes_no_sense_is_one_line(folder, text):
    done = run("captcha_train.py", *options(TRAINING), cwd=folder, env={"TF_CONFIG": text})
    (line,) = errors(done.stderr)
    assert done.returncode == 2
    assert line.startswith("captcha_train.py: error: TF_CONFIG: ") and line.endswith(f"; it is {text}")
