"""The training batches of a set that is larger than memory: read from its shards again in every epoch.

batches(manifest, first_step, config)       as captcha_data.training_batches, for any number of images
order(manifest, config)                     in what order they come, in words

In each epoch the shards are shuffled and then read in windows: as many of them at a time as the memory budget allows.
Within a window all records are shuffled. So every image comes once an epoch, (seed, step) decide which images a step
gets, and to go on after a stop takes no more than reading one window. A window is small where the whole set is
large: its shards, though, are others in every epoch.
"""

import itertools
from collections.abc import Iterator

import captcha_data
from captcha_config import Config, UserError

import tensorflow as tf

WINDOWS = 4  # in memory at a time: one is used, one waits, one is being read, one is being shuffled


def order(manifest: dict, config: Config) -> str:
    """What else but the seed decides the order. A run cannot go on in another."""
    if captcha_data.fits(manifest, config):
        return "all shuffled together"
    return f"shuffled in windows of {config.memory_budget / WINDOWS:g} MiB"


def batches(
    manifest: dict, first_step: int, config: Config, part: tf.distribute.InputContext | None = None
) -> tf.data.Dataset:
    """Batches for the steps first_step, first_step + 1, … without end, for a set of any size.

    Args, yields: as captcha_data.training_batches. Each machine reads all records, and decodes those of its part.
    Raises:
      UserError: a shard is missing or damaged, or takes more than a window.
      tf.errors.InvalidArgumentError: while iterating: a label is not of the config's characters.
    """
    part = part or tf.distribute.InputContext()
    replicas = part.num_replicas_in_sync // part.num_input_pipelines  # of this machine
    size = config.batch_size // part.num_replicas_in_sync
    seed = tf.constant(config.seed, tf.int64)
    paths = captcha_data.check_shards(manifest["split"], manifest, config)
    most = max(shard["bytes"] for shard in manifest["shards"])
    if most * WINDOWS > config.memory_budget * captcha_data.MIB:
        raise UserError(
            f"{manifest['split']}: a shard of {most // captcha_data.MIB + 1} MiB is more than a {WINDOWS}th of"
            f" memory_budget {config.memory_budget} MiB; raise it, or produce the set with fewer --images_per_shard"
        )
    parse = captcha_data.parser(config)

    def permutation(count: tf.Tensor, epoch: tf.Tensor, what: tf.Tensor) -> tf.Tensor:
        return captcha_data.shuffled(tf.range(count), tf.stack([seed, epoch, what]), count - 1)

    def windows() -> Iterator[tuple[list[str], int, int, int]]:
        """Paths of a window's shards, its epoch and number, and how many of its images were used before."""
        first, skip = divmod(first_step * config.batch_size, manifest["count"])
        for epoch in itertools.count(first):
            shards = permutation(*(tf.constant(number, tf.int64) for number in (len(paths), epoch, 1))).numpy()
            for number, window in enumerate(_windows(shards, manifest["shards"], config)):
                records = sum(manifest["shards"][i]["records"] for i in window)
                if skip < records:
                    yield [paths[i] for i in window], epoch, number, skip
                skip = max(0, skip - records)

    def read(files: tf.Tensor, epoch: tf.Tensor, number: tf.Tensor, skip: tf.Tensor) -> tf.Tensor:
        """The window's records in their order."""
        records = tf.data.TFRecordDataset(files).batch(manifest["count"]).get_single_element()
        return tf.gather(records, permutation(tf.size(records, tf.int64), epoch, number + 2)[skip:])

    def parts(step: tf.Tensor, records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """A batch's parts that are this machine's."""
        mine = part.input_pipeline_id * replicas + tf.range(replicas, dtype=tf.int64)
        return tf.repeat(step, replicas), mine * size, tf.gather(tf.reshape(records, [-1, size]), mine)

    def batch_of(step: tf.Tensor, start: tf.Tensor, records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels, texts = parse(records)
        tf.debugging.Assert(tf.reduce_all(labels >= 0), ["a label is not of the characters; among", texts])
        return captcha_data.augmented(images, step, start, config), labels

    number = tf.TensorSpec([], tf.int64)
    signature = (tf.TensorSpec([None], tf.string), number, number, number)
    records = tf.data.Dataset.from_generator(windows, output_signature=signature).map(read).prefetch(1)
    records = records.rebatch(config.batch_size, drop_remainder=True)
    turns = tf.data.Dataset.zip(tf.data.Dataset.counter(first_step), records).map(parts).unbatch()
    return turns.map(batch_of, tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def _windows(order: list[int], shards: list[dict], config: Config) -> Iterator[list[int]]:
    """Cut an order of shards where the next one would take a window over its part of the memory budget."""
    most = config.memory_budget * captcha_data.MIB / WINDOWS
    window, taken = [], 0
    for i in order:
        if taken + shards[i]["bytes"] > most:
            yield window
            window, taken = [], 0
        window.append(i)
        taken += shards[i]["bytes"]
    yield window
