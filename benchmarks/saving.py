"""What trust costs: the time of a checkpoint as a share of training, and the rate at which a set is checked.

    python benchmarks/saving.py

The sets must be there (make train, or the producer).
"""

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import captcha_data
import captcha_model
import captcha_optimizer
import captcha_save
import captcha_train
from captcha_config import Config, run

import tensorflow as tf

SAVES, STEPS = 20, 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tfrecords_dir", default="tfrecords")
    config = replace(Config(), tfrecords_dir=parser.parse_args().tfrecords_dir)

    manifest = captcha_data.read_manifest("train", config)
    megabytes = sum(shard["bytes"] for shard in manifest["shards"]) / 1e6
    memory = Path(config.tfrecords_dir) / ".train.checked"
    for what in ("checked for the first time", "checked before"):
        if what == "checked for the first time":
            memory.unlink(missing_ok=True)
        began = time.perf_counter()
        captcha_data.check_shards("train", manifest, config)
        seconds = time.perf_counter() - began
        print(f"{megabytes:.0f} MB {what}: {seconds:.4f} s, {megabytes / seconds:.0f} MB/s")

    model = captcha_model.build(config)
    optimizer = captcha_optimizer.build(model, config)
    step = captcha_train.build_train_step(model, optimizer, config)
    images = tf.zeros((config.batch_size, config.height, config.width, 1), tf.uint8)
    labels = tf.zeros((config.batch_size, config.length), tf.int32)
    step(images, labels)
    saves, steps = [], []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        for i in range(1, SAVES + 1):  # in turn, since the speed of a machine drifts
            began = time.perf_counter()
            for _ in range(STEPS // SAVES):
                float(step(images, labels)[0])
            steps.append((time.perf_counter() - began) / (STEPS // SAVES))
            began = time.perf_counter()
            captcha_save.write(Path(folder), captcha_save.LATEST, i, model, optimizer, {})
            captcha_save.keep(Path(folder), captcha_save.LATEST, i, config.keep_checkpoints)
            saves.append(time.perf_counter() - began)
    save, one = statistics.median(saves), statistics.median(steps)
    share = save / (config.save_every * one)
    print(f"a checkpoint: {save * 1000:.0f} ms; a step: {one * 1000:.0f} ms")
    print(
        f"saving every {config.save_every} steps takes {share:.2%} of training; {2 * share:.2%} when each is the best"
    )


if __name__ == "__main__":
    run(main)
