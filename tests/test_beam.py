"""A split drawn with Apache Beam, in this process and on a cluster: the files of one machine, byte for byte."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import captcha_sets.beam
from captcha_cli import UserError
from captcha_sets.beam import draw_split
from captcha_sets.drawing import produce
from captcha_sets.files import write_checksummed
from captcha_sets.manifest import fingerprint, read_manifest

import pytest
from conftest import DRAWING, ROOT, SMALL, command, errors, files, in_folder, options, run

pytest.importorskip("apache_beam")

SPLITS = replace(SMALL, train_count=190, images_per_shard=20)  # 10 shards, the last one not full
DASK = "apache_beam.runners.dask.dask_runner.DaskRunner"


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What captcha_producer.py writes to tfrecords/ for both splits."""
    folder = tmp_path_factory.mktemp("expected")
    config = in_folder(folder, SPLITS)
    for split in ("train", "validation"):
        produce(split, config, images=False)
    return files(folder / "tfrecords")


def test_it_writes_the_files_that_the_producer_writes(tmp_path, expected):
    done = run("captcha_sets.beam", *options(DRAWING, SPLITS), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["train: 190 captchas in tfrecords/", "validation: 37 captchas in tfrecords/"]
    assert files(tmp_path) == {f"tfrecords/{name}": content for name, content in expected.items()}


def test_a_shard_that_is_tried_again_has_the_same_bytes(tmp_path, expected):
    """As after a worker was lost: its unfinished file is replaced."""
    (tmp_path / "tfrecords").mkdir()
    (tmp_path / "tfrecords" / "train-00001-of-00010.tfrecord").write_bytes(b"unfinished")
    words = (*options(DRAWING, SPLITS), "--splits", "train")
    assert run("captcha_sets.beam", *words, cwd=tmp_path).returncode == 0
    train = {name: content for name, content in expected.items() if name.startswith("train")}
    assert files(tmp_path / "tfrecords") == train


def test_a_set_that_is_there_is_left_alone(folder, config):
    before = files(folder)
    with pytest.raises(
        UserError, match=r"train\.json: there is a set already; add --replace, or set another --tfrecor"
    ):
        draw_split("train", config, [])
    assert files(folder) == before


def test_a_set_is_replaced_where_that_is_asked_for(config):
    before, other = read_manifest("train", config), replace(config, seed=2)
    draw_split("train", other, [], replace=True)
    assert fingerprint(read_manifest("train", other)) != fingerprint(before)


def test_an_imported_set_is_not_replaced_by_drawn_captchas(folder, config):
    values = read_manifest("train", config) | {"source": "my_images", "splits": ["train"], "typed": {}}
    write_checksummed(folder / "tfrecords" / "train.json", values)
    before = files(folder)
    with pytest.raises(UserError, match="the train split was imported from my_images, and is not replaced by drawn"):
        draw_split("train", config, [], replace=True)
    assert files(folder) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--runner=NoSuchRunner"], "(Unexpected pipeline runner: NoSuchRunner. Valid values are DataflowRunner, "),
        (["--runner", "no.such.Runner"], "(No module named 'no')"),
        ([f"--runner={DASK}s"], "(module 'apache_beam.runners.dask.dask_runner' has no attribute 'DaskRunners')"),
    ],
    ids=["name", "path", "path in a module that exists"],
)
def test_an_unknown_runner_is_one_line_and_status_2(tmp_path, options, message):
    done = run("captcha_sets.beam", "--", *options, cwd=tmp_path)
    (line,) = errors(done.stderr)
    assert line.startswith(f"beam.py: error: {' '.join(options)}: Beam refuses it ") and message in line
    assert (done.returncode, done.stdout, files(tmp_path)) == (2, "", {})


def test_a_file_system_that_beam_does_not_know_is_one_line(tmp_path):
    done = run("captcha_sets.beam", "--tfrecords_dir", "nowhere://bucket/tfrecords", cwd=tmp_path)
    (line,) = errors(done.stderr)
    assert done.returncode == 2 and "Path specified: nowhere://bucket/tfrecords" in line


def test_characters_that_cannot_be_drawn_are_refused_before_anything_starts(tmp_path):
    done = run("captcha_sets.beam", "--characters", "0猫", cwd=tmp_path)
    (line,) = errors(done.stderr)
    assert done.returncode == 2 and "has no '猫'" in line and files(tmp_path) == {}


def test_without_beam_installed_it_says_what_to_install(config, monkeypatch):
    monkeypatch.setattr(captcha_sets.beam, "beam", None)
    with pytest.raises(UserError, match="Apache Beam is not installed; pip install apache-beam"):
        draw_split("train", config, [])


def test_a_worker_with_other_versions_of_the_libraries_is_refused():
    part = ("train-00000-of-00001.tfrecord", range(1))
    with pytest.raises(RuntimeError, match=r"this worker has .*, but .*0\.0.* is needed"):
        captcha_sets.beam._draw_shard(part, "train", SMALL, {"captcha": "0.0", "pillow": "0.0"})


def shell() -> dict[str, str]:
    """The environment of a user's shell, which does not know where the project is."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def written(process) -> int:
    """The bytes that a process has written so far."""
    return int(Path(f"/proc/{process.pid}/io").read_text().partition("wchar: ")[2].split()[0])


@pytest.fixture
def cluster(tmp_path):
    """A Dask scheduler and two workers, all started in the checkout; gives the scheduler's address and the workers."""
    pytest.importorskip("distributed")
    address, processes = tmp_path / "scheduler.json", []

    def dask(*words):
        words = [sys.executable, "-m", "dask", *map(str, words), "--host", "127.0.0.1", "--no-dashboard"]
        with open(tmp_path / f"log-{len(processes)}", "w") as log:
            processes.append(subprocess.Popen(words, cwd=ROOT, env=shell(), stdout=log, stderr=log))

    def wait_until(condition):
        while not condition():
            assert all(process.poll() is None for process in processes), logs()
            time.sleep(0.05)

    def logs():
        return "".join(path.read_text() for path in sorted(tmp_path.glob("log-*")))

    try:
        dask("scheduler", "--port", 0, "--scheduler-file", address)
        wait_until(address.exists)
        uri = json.loads(address.read_text())["address"]
        for _ in range(2):
            dask("worker", uri, "--nthreads", 1, "--no-nanny", "--local-directory", tmp_path)
        wait_until(lambda: logs().count("Registered to:") == 2)
        yield uri, processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.fixture
def drawing(cluster, tmp_path):
    """Starts drawing the training split of a config on the cluster."""
    started = []

    def start(config):
        words = (*options(DRAWING, config), "--splits", "train", "--tfrecords_dir", tmp_path / "tfrecords")
        beam = ("--", f"--runner={DASK}", f"--dask_client_address={cluster[0]}", "--dask_partition_size=1")
        words = command("captcha_sets.beam", *words, *beam)
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(words, cwd=ROOT, env=shell(), stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_on_a_dask_cluster_of_two_workers_it_writes_the_files_that_the_producer_writes(
    cluster, drawing, tmp_path, expected
):
    process = drawing(SPLITS)
    stdout, stderr = process.communicate(timeout=100)
    assert (process.returncode, stdout) == (0, f"train: 190 captchas in {tmp_path}/tfrecords/\n"), stderr
    train = {name: content for name, content in expected.items() if name.startswith("train")}
    assert files(tmp_path / "tfrecords") == train
    smallest = min(len(content) for name, content in train.items() if name.endswith(".tfrecord"))
    assert all(written(worker) > smallest for worker in cluster[1])  # both of them drew


def test_a_dask_worker_that_is_killed_in_the_middle_of_drawing_changes_no_byte(cluster, drawing, tmp_path):
    (_, workers), config = cluster, replace(SPLITS, train_count=2000)
    produce("train", in_folder(tmp_path / "undisturbed", config), images=False)
    expected = files(tmp_path / "undisturbed" / "tfrecords")
    process = drawing(config)
    shards = tmp_path / "tfrecords"
    deadline = time.monotonic() + 100
    while len(list(shards.glob("*"))) < 10:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    workers[1].kill()
    assert len(list(shards.glob("*"))) < 90  # of 100
    _, stderr = process.communicate(timeout=100)
    assert process.returncode == 0, stderr
    assert files(shards) == expected
