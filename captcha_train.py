"""Train the network: read a batch, step, and once in a while evaluate, save and report.

    python captcha_train.py
    python captcha_train.py --set-aside     moves an earlier run that no longer fits to save/before-<n>/

Stop it at any moment and start it again: it resumes from the newest checkpoint and ends with the same weights.
"""

import argparse
import contextlib
import dataclasses
import functools
import signal
import weakref
from collections.abc import Callable, Iterator

from captcha_cli import UserError, parse_args, quiet_import, run, start_litert

with quiet_import(__name__):
    import keras
    import tensorflow as tf

import captcha_data
import captcha_export
import captcha_model
from captcha_config import Config
from captcha_runs import average, cluster, optimizer, recipe, transfer
from captcha_runs.checkpoints import Checkpoints
from captcha_runs.log import Log
from captcha_runs.messages import introduction, misread, summary
from captcha_runs.verdict import verdict
from captcha_sets.draw import TRAIN, check_trusted
from captcha_sets.manifest import SPLITS, VALIDATION, check_same_import, like_sets, read_manifest

import numpy as np

FIELDS = (
    "characters", "length", "min_length", "width", "height", "seed", "drawer", "workers", "images_dir", "tfrecords_dir",
    "on_the_fly", "shift", "rotate", "zoom", "channels", "input_downsampling", "input_color", "head_units",
    "count_freely", "one_alphabet", "label_smoothing", "automatic", "init_from", "batch_size", "max_steps",
    "learning_rate", "warmup_steps", "weight_decay", "precision", "xla", "eval_every", "save_every", "keep_checkpoints",
    "save_dir",
)  # fmt: skip
AUGMENTATION = {"shift", "rotate", "zoom"}


def train(config: Config, set_aside: bool = False) -> int:
    """Train up to config.max_steps, from the newest checkpoint in config.save_dir where there is one.

    Args:
      set_aside: whether to move a run that does not fit the config or the sets out of the way.
    Returns:
      The exit status: 0, or 128 + the number of the signal that stopped it.
    Raises:
      UserError: the sets or the checkpoint do not fit the config; the loss is not finite; another trainer is at work;
        the last step cannot be saved; another machine of the job is lost, or has another config.
    """
    strategy, chief = cluster.choose_strategy(config), cluster.is_chief()
    splits = (VALIDATION,) if config.on_the_fly else SPLITS
    manifests = {split: read_manifest(split, config) for split in splits}
    check_same_import([*manifests.values()], config)
    with cluster.failures_explained(), Checkpoints(config, manifests, chief, set_aside) as checkpoints:
        training, validation = open_sets(config, manifests)
        plan = [config.experiment(), checkpoints.data]
        step, cycle_start = cluster.from_chief([checkpoints.step, checkpoints.cycle_start], plan, strategy)

        model, averaged, muon = build_or_restore(config, checkpoints, strategy, step, cycle_start)
        with strategy.scope():
            train_step = build_train_step(model, muon, config)
        forward = functools.partial(captcha_model.forward, averaged)
        held_out = functools.partial(captcha_data.evaluation_batches, validation, config.batch_size)

        with (
            Log(config, step, len(validation), chief) as log,
            cluster.stop_signals(strategy) as stop_requested,
            contextlib.closing(captcha_data.iterate(strategy, functools.partial(training, step, config))) as batches,
        ):
            log.say(introduction(config, manifests, model, cluster.devices(strategy), step, cycle_start))
            if step >= config.max_steps:
                log.say(f"step {step} is reached; a larger --max_steps continues training")
                return 0
            if config.init_from and not step:
                captchas, _ = captcha_model.evaluation(*captcha_model.predict(forward, held_out()), config)
                log.say(f"before training: captcha accuracy {captchas.mean():.2%} on the validation split")
            timed_batches = log.timed(batches)
            stopped_by = 0
            while step < config.max_steps and not stopped_by:
                images, labels = next(timed_batches)
                log.add(*train_step(images, labels))
                step += 1
                average.update(averaged, model, tf.constant(step, "float32"))
                stopped_by = stop_requested()  # a signal to any machine stops all of them after this step
                at_end = stopped_by or step == config.max_steps
                evaluate_now = step % config.eval_every == 0 or step == config.max_steps
                save_now = step % config.save_every == 0 or at_end
                if not evaluate_now and not save_now:
                    continue

                # once in a while: how well does it read captchas that it has never seen?
                values = log.averages(step, float(muon.learning_rate))
                picture = None
                if evaluate_now:
                    logits, labels = captcha_model.predict(forward, held_out())
                    values |= checkpoints.judge(step, logits, labels)
                    picture = misread(validation, logits, config)

                # once in a while: make sure that a stop loses nothing, and say so
                saved = checkpoints.save(step, latest=save_now)
                log.report(step, values, saved, picture, averaged if evaluate_now else None)

            checkpoints.check_saved(step)
            if stopped_by:
                name = signal.Signals(stopped_by).name
                log.say(f"stopped by {name} after step {step}; run the same command to resume")
                return 128 + stopped_by
            if chief:
                log.say(summary(config, step, log.seconds, checkpoints.best, manifests[VALIDATION]))
                if not config.on_the_fly and manifests[TRAIN]["source"] is not None:
                    best = {"captcha_accuracy": checkpoints.best["captcha_accuracy"]}  # what is exported
                    log.say(verdict(forward, manifests, values | best, config))
            return 0


def open_sets(config: Config, manifests: dict[str, dict]) -> tuple[Callable, np.memmap]:
    """The training data, as a function (first_step, config, part, raised) → dataset, and the validation records."""
    if config.on_the_fly:
        captcha_data.check_drawable(manifests[VALIDATION], config)
        return captcha_data.on_the_fly_batches, captcha_data.open_pixels(manifests[VALIDATION], config)
    validation = captcha_data.open_pixels(manifests[VALIDATION], config)
    records = captcha_data.open_pixels(manifests[TRAIN], config)
    return functools.partial(captcha_data.training_batches, records), validation


def build_or_restore(
    config: Config, checkpoints: Checkpoints, strategy: tf.distribute.Strategy, step: int, cycle_start: int
) -> tuple[keras.Model, keras.Model, keras.Optimizer]:
    """The network that is trained, one with the average of its weights, and the optimizer, as they were at `step`.

    The averaged network is the one that is evaluated and kept.
    """
    keras.utils.set_random_seed(config.seed)
    with strategy.scope():
        model = captcha_model.build(config)
        averaged = captcha_model.build(dataclasses.replace(config, precision="float32"))  # as it is exported
        muon = optimizer.build(model, config, cycle_start)
    if config.init_from and cluster.is_chief() and not step:
        transfer.start_from(config.init_from, model, config)
    training_state = [*model.variables, *muon.variables]
    checkpoints.restore(averaged, training_state)
    if not step:
        averaged.set_weights(model.get_weights())
    cluster.broadcast([variable.value for variable in (*averaged.variables, *training_state)], strategy)
    return model, averaged, muon


def build_train_step(model: keras.Model, muon: keras.Optimizer, config: Config) -> Callable:
    """A function (images, labels) → (loss, norm of its gradient), float32 scalars. Each call is one step.

    Each replica has its part of the batch; losses and gradients are summed over all of them.
    """
    strategy = tf.distribute.get_strategy()

    def replica_step(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = model(images, training=True)  # [part of the batch, length, classes]
            loss = tf.reduce_sum(captcha_model.loss(logits, labels, config.label_smoothing)) / config.batch_size
            scaled, scale = muon.scale_loss(loss), muon.scale_loss(1.0)  # by 1, except for float16
        gradients = tape.gradient(scaled, model.trainable_variables)
        muon.apply_gradients(zip(gradients, model.trainable_variables, strict=True))  # Keras sums them over replicas
        loss, *gradients = tf.distribute.get_replica_context().all_reduce("SUM", [loss, *gradients])
        norm = tf.linalg.global_norm(gradients) / scale
        if config.precision == "float16":  # a step that overflows is skipped and the scale reduced, which is normal
            norm = tf.where(tf.math.is_finite(norm), norm, 0.0)
        return loss, norm

    @tf.function(autograph=False, jit_compile=config.xla)  # autograph would only make the first step slower
    def train_step(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        results = strategy.run(replica_step, args=(images, labels))
        return tuple(strategy.experimental_local_results(result)[0] for result in results)  # all replicas agree

    return train_step


def new_network(config: Config) -> keras.Model:
    """A network to train: new, or with what the network of config.init_from learnt."""
    keras.backend.clear_session()  # forgets earlier networks
    keras.utils.set_random_seed(config.seed)
    network = captcha_model.build(config)
    if config.init_from:
        transfer.start_from(config.init_from, network, config)
    return network


def train_on(network: keras.Model, records: np.ndarray, config: Config) -> Iterator[None]:
    """Train a new network on records in memory, and yield after each of config.max_steps steps."""
    train_step = build_train_step(network, optimizer.build(network, config), config)
    # TensorFlow keeps the pipeline's Python functions until the process ends. They must not keep the records in memory.
    batches = captcha_data.training_batches(weakref.proxy(records), 0, config)
    for batch in batches.take(config.max_steps):
        train_step(*batch)
        yield


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set-aside", action="store_true", help="move an earlier run that no longer fits to before-<n> in save_dir"
    )


def main() -> int:
    config, args = parse_args(__doc__, FIELDS, add_arguments)
    like = transfer.like_network(like_sets(config, vars(args)), vars(args))
    like = recipe.for_sets(like, vars(args))
    if like.on_the_fly:
        if augmentation := sorted(AUGMENTATION & vars(args).keys()):
            raise UserError(f"--{', --'.join(augmentation)}: images that are drawn on the fly are not augmented")
        check_trusted(like.drawer, config)
    start_litert()
    status = train(like, args.set_aside)
    if status == 0 and cluster.is_chief():
        (path,) = captcha_export.export(like, typed=vars(args))
        print(f"{path}: the exported model, for python -m captcha_predict")
    return status


if __name__ == "__main__":
    run(main)
