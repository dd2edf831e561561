"""What safety costs: the time of a checkpoint as a share of training, and the rate at which a split is checked.

    python benchmarks/saving.py

Needs the splits in tfrecords/ (captcha_producer.py).
"""

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from captcha_cli import quiet_import, run

with quiet_import(__name__):
    import captcha_train

import captcha_model
from captcha_config import Config
from captcha_runs import checkpoint_files, optimizer
from captcha_runs.checkpoint_files import LATEST
from captcha_sets.manifest import TRAIN, like_sets, read_manifest
from captcha_sets.shards import check_shards

import tensorflow as tf

SAVES, STEPS = 20, 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tfrecords_dir", default=Config.tfrecords_dir)
    config = like_sets(replace(Config(), tfrecords_dir=parser.parse_args().tfrecords_dir), ())
    measure_checks(config)
    measure_checkpoints(config)


def measure_checks(config: Config) -> None:
    """Print how fast the shards of the training split are checked: all their bytes, or only their sizes and times."""
    manifest = read_manifest(TRAIN, config)
    megabytes = sum(shard["bytes"] for shard in manifest["shards"]) / 1e6
    Path(config.tfrecords_dir, f".{TRAIN}.checked").unlink(missing_ok=True)
    for what in ("checked for the first time", "checked before"):
        began = time.perf_counter()
        check_shards(manifest, config)
        seconds = time.perf_counter() - began
        print(f"{megabytes:.0f} MB {what}: {seconds:.4f} s, {megabytes / seconds:.0f} MB/s")


def measure_checkpoints(config: Config) -> None:
    """Print what a checkpoint takes, and what share of training that is."""
    model, averaged = captcha_model.build(config), captcha_model.build(config)
    muon = optimizer.build(model, config)
    train_step = captcha_train.build_train_step(model, muon, config)
    images = tf.zeros((config.batch_size, config.height, config.width, 1), tf.uint8)
    labels = tf.zeros((config.batch_size, config.length), tf.int32)
    train_step(images, labels)  # traces
    saves, steps = [], []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        for i in range(1, SAVES + 1):  # in turns, since the speed of a machine drifts
            began = time.perf_counter()
            for _ in range(STEPS // SAVES):
                float(train_step(images, labels)[0])
            steps.append((time.perf_counter() - began) / (STEPS // SAVES))
            began = time.perf_counter()
            checkpoint_files.write(Path(folder), LATEST, i, averaged, [*model.variables, *muon.variables], {})
            checkpoint_files.keep(Path(folder), LATEST, i, config.keep_checkpoints)
            saves.append(time.perf_counter() - began)
    save, step = statistics.median(saves), statistics.median(steps)
    share = save / (config.save_every * step)
    print(f"a checkpoint: {save * 1000:.0f} ms; a step: {step * 1000:.0f} ms")
    print(
        f"saving every {config.save_every} steps takes {share:.2%} of training; {2 * share:.2%} when each is the best"
    )


if __name__ == "__main__":
    run(main)
