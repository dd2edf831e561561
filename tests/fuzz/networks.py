"""What is read of networks and their training: checkpoints, logs, exported models, TF_CONFIG, measurements."""

import dataclasses
import functools
import hashlib
import io
import json
import math
import os
import zipfile
from pathlib import Path

import captcha_evaluate
import captcha_model
import captcha_predict
from captcha_config import Config
from captcha_pages import network
from captcha_predict import DESCRIPTION
from captcha_runs import checkpoint_files, checkpoints, cluster, log, trained, transfer
from captcha_runs.checkpoints import Checkpoints
from captcha_runs.trained import Trained
from captcha_sets.files import sha256, with_checksum
from captcha_sets.manifest import SPLITS, fingerprint, read_manifest
from captcha_strengths import cells, humans, meaning
from captcha_strengths.settings import Pool
from captcha_strengths.summary import summary

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from mutations import Mutator, integer
from sets import CONFIG, kept, real_pictures

WEIGHTS = 64  # bytes; larger buffers of a network hold its weights
BEST = f"save/{next((transfer.WEIGHTS / 'digits').glob('best-*.json')).stem}"
BLANK = np.zeros((CONFIG.height, CONFIG.width), np.uint8)
MEASUREMENT = cells.Measurement("key", "the captcha", 100, "nothing", 1, 40, 50, 2.5)


def checkpoint_metadata(work: Path, mutator: Mutator) -> None:
    original, path = kept(work, f"{BEST}.json")
    values = json.loads(original)
    del values["checksum"]
    hostile = with_checksum(mutator.values(values)).encode(errors="replace")
    path.write_bytes(mutator.choice((hostile, mutator.json(json.loads(original)))))
    metadata, config = checkpoints.best(CONFIG, ("save_dir",))
    network = Trained("best", config, metadata["config"], metadata["drawn_with"], logits=None, look=None)
    captcha_evaluate._drawn_like(network, CONFIG, ())
    assert metadata["best"]["temperature"] > 0
    checkpoint_files.restore(metadata, _digits())


def another_run(work: Path, mutator: Mutator) -> None:
    """What a trainer finds in its folder."""
    original, path = kept(work, f"{BEST}.json")
    manifests = {split: read_manifest(split, CONFIG) for split in SPLITS}
    values = json.loads(original) | {"data": {split: fingerprint(found) for split, found in manifests.items()}}
    del values["checksum"]
    path.write_bytes(with_checksum(mutator.values(values)).encode(errors="replace"))
    (work / "save" / ".trainer").write_bytes(mutator.text("process 12"))
    config = dataclasses.replace(Config.from_dict(values["config"]), tfrecords_dir="tfrecords", save_dir="save")
    with Checkpoints(config, manifests) as found:
        assert found.step == values["step"]


def checkpoint_data(work: Path, mutator: Mutator) -> None:
    """A damaged data or index file; or one that the checksums fit."""
    names = (f"{BEST}.index", f"{BEST}.data-00000-of-00001")
    chosen = mutator.choice(names)
    for name in names:
        content, path = kept(work, name)
        path.write_bytes(mutator.file(content) if name == chosen else content)
    original, path = kept(work, f"{BEST}.json")
    values = json.loads(original)
    del values["checksum"]
    if fits := mutator.choice((False, True)):
        values["files"] = {Path(name).name: sha256(work / name) for name in names}
    path.write_text(with_checksum(values))
    metadata, _ = checkpoints.best(CONFIG, ("save_dir",))
    checkpoint_files.restore(metadata, _digits())
    assert fits or all(kept(work, name)[0] == (work / name).read_bytes() for name in names)


@functools.cache
def _digits():
    values = json.loads(Path(f"{BEST}.json").read_text())
    return captcha_model.build(Config.from_dict(values["config"]), channels=3)


def training_log(work: Path, mutator: Mutator) -> None:
    original, path = kept(work, "save/log.jsonl")
    lines = original.decode().splitlines()
    place = mutator.choice(range(len(lines)))
    lines[place] = mutator.json(json.loads(lines[place])).decode(errors="surrogateescape")
    path.write_bytes("\n".join(lines).encode(errors="surrogateescape"))
    entries = log.read(work / "save")
    steps = [entry["step"] for entry in entries]
    assert steps == sorted(set(steps))
    assert all(math.isfinite(value) for entry in entries for value in (entry["loss"], entry["seconds"]))
    log.Log(CONFIG, 10**6, 1)


def model_file(work: Path, mutator: Mutator) -> None:
    _read_model(work, mutator.file(_real_model(mutator).read_bytes()))


def model_description(work: Path, mutator: Mutator) -> None:
    description, content = _unpacked(_real_model(mutator))
    _read_model(work, _packed(mutator.json(description), content, mutator.choice((0, zipfile.ZIP_DEFLATED))))


def model_network(work: Path, mutator: Mutator) -> None:
    """A hostile graph, with a checksum that fits."""
    path = _real_model(mutator)
    description, content = _unpacked(path)
    changed = bytearray(content)
    for _ in range(mutator.choice((1, 1, 2, 4)) if mutator.rng else 0):
        integer(changed, mutator.rng, _structure(path))
    described = description | {"sha256": hashlib.sha256(changed).hexdigest()}
    _read_model(work, _packed(json.dumps(described).encode(), bytes(changed)))


def _real_model(mutator: Mutator) -> Path:
    return captcha_predict.MODELS / f"{mutator.choice(captcha_predict.shipped())}.tflite"


@functools.cache
def _unpacked(path: Path) -> tuple[dict, bytes]:
    return captcha_predict._unpack(path.read_bytes())


@functools.cache
def _structure(path: Path) -> list[int]:
    """The places in a model's file that do not hold weights."""
    _, content = _unpacked(path)
    model, is_weight = schema.Model.GetRootAs(content, 0), np.zeros(len(content), bool)
    for buffer in map(model.Buffers, range(model.BuffersLength())):
        if buffer.DataLength() > WEIGHTS:
            start = buffer._tab.Vector(buffer._tab.Offset(4))
            is_weight[start : start + buffer.DataLength()] = True
    return np.flatnonzero(~is_weight)[:-8].tolist()


def _packed(description: bytes, content: bytes, compression: int = 0) -> bytes:
    packed = io.BytesIO(content)
    with zipfile.ZipFile(packed, "a", compression) as archive:
        archive.writestr(DESCRIPTION, description)
    return packed.getvalue()


def _read_model(work: Path, content: bytes) -> None:
    path = work / "model.tflite"
    path.write_bytes(content)
    captcha_predict.Reader(path).read(BLANK)
    network.read(trained.of_export(path, CONFIG), real_pictures()[0])


def several_machines(work: Path, mutator: Mutator) -> None:
    values = {"cluster": {"worker": ["a:1", "b:2"], "chief": ["c:3"]}, "task": {"type": "worker", "index": 0}}
    os.environ["TF_CONFIG"] = mutator.json(values).replace(b"\0", b"").decode(errors="surrogateescape")
    cluster.check_tf_config()
    assert (
        cluster.machines() == len(json.loads(os.environ["TF_CONFIG"])["cluster"].get("worker", [])) + 1 or mutator.rng
    )
    cluster.is_chief()


def strength_cells(work: Path, mutator: Mutator) -> None:
    values = [dataclasses.asdict(dataclasses.replace(MEASUREMENT, labels=labels)) for labels in (10, 100, 1000)]
    lines = [json.dumps(values[0]).encode(), mutator.json(values[1]), json.dumps(values[2]).encode()]
    (work / "cells.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    measured = cells.read(work / "cells.jsonl")
    cells.drop_cut_line(work / "cells.jsonl")
    pool = Pool(MEASUREMENT.setting, CONFIG, "", 1000, 50, None)
    ours = [each for each in measured.values() if each.setting == pool.name and each.start == MEASUREMENT.start]
    if ours:
        json.dumps(summary(meaning.strengths(ours, [pool], {}), ours))


def human_readers(work: Path, mutator: Mutator) -> None:
    values = {"a": {"shown": 50, "correct": 48, "seconds": 210.5}, "b": {"shown": 50, "correct": 31}}
    (work / "human.json").write_bytes(mutator.json(values))
    found = humans.read(work / "human.json", ["a", "b"])
    assert all(0 <= each.accuracy <= 1 and len(each.interval) == 2 for each in found.values())


KINDS = (
    checkpoint_metadata, another_run, checkpoint_data, training_log, model_file, model_description, model_network,
    several_machines, strength_cells, human_readers,
)  # fmt: skip
