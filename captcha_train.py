"""Train the network: read a batch, step, and once in a while report, evaluate and save.

    python captcha_train.py

Stop it at any moment and start it again: it goes on from the newest checkpoint and ends with the same weights.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import captcha_data
import captcha_distribute
import captcha_endless
import captcha_export
import captcha_log
import captcha_model
import captcha_optimizer
import captcha_predict
import captcha_save
import captcha_show
import captcha_stream
from captcha_config import Config, UserError, parse_args, run

import keras
import tensorflow as tf
from rich.table import Table

FIELDS = (
    "characters", "length", "width", "height", "seed", "tfrecords_dir", "memory_budget", "endless", "workers", "shift",
    "rotate", "zoom", "channels", "full_size", "label_smoothing", "batch_size", "max_steps", "learning_rate",
    "warmup_steps", "weight_decay", "precision", "xla", "eval_every", "save_every", "keep_checkpoints", "save_dir",
    "init_from",
)  # fmt: skip


def train(config: Config) -> int:
    """Train up to config.max_steps, going on from the newest checkpoint in config.save_dir where there is one.

    Returns:
      The exit status: 0, or 128 + the number of the signal that stopped it.
    Raises:
      UserError: the sets or the checkpoint do not fit the config; the loss is not finite; another trainer is at work;
        the last step cannot be saved; another machine of the job is lost, or has another config.
    """
    strategy, chief = captcha_distribute.choose_strategy(config), captcha_distribute.is_chief()
    splits = ("validation",) if config.endless else ("train", "validation")
    manifests = {split: captcha_data.read_manifest(split, config) for split in splits}
    like = manifests[splits[0]]  # what the training images are like
    data = {split: captcha_data.fingerprint(manifest) for split, manifest in manifests.items()}
    data["order"] = captcha_endless.ORDER if config.endless else captcha_stream.order(like, config)
    folder = Path(config.save_dir)
    writing = captcha_save.only_trainer(folder) if chief else contextlib.nullcontext()
    with writing, captcha_distribute.lost_workers_told():
        about = {
            "config": dataclasses.asdict(config),
            "data": data,
            "drawn_with": {name: like[name] for name in ("fonts", "font_sizes", "source")},
        }
        commit = captcha_save.newest(folder, captcha_save.LATEST, captcha_save.BEST) if chief else None
        if commit:
            _check_fits(commit, config, data)
        if config.endless:
            source = functools.partial(captcha_endless.batches, like)
        elif captcha_data.fits(like, config):
            source = functools.partial(captcha_data.training_batches, *captcha_data.load("train", config))
        else:
            source = functools.partial(captcha_stream.batches, like)
        held_out = captcha_data.load("validation", config)
        validation = captcha_data.evaluation_batches(*held_out, config.batch_size)
        if any(captcha_data.read_manifest(split, config) != manifests[split] for split in manifests):
            raise UserError(f"{config.tfrecords_dir}: a set was replaced while it was read; run again")

        keras.utils.set_random_seed(config.seed)
        with strategy.scope():
            model = captcha_model.build(config)
            optimizer = captcha_optimizer.build(model, config)
        step, best = 0, {"step": 0, "captcha_accuracy": 0.0}
        if commit:
            captcha_save.restore(commit, model, optimizer)
            step, best = commit["step"], commit["best"]
            if commit["path"].stem != f"{captcha_save.LATEST}-{step}":  # the run was killed between the two saves
                captcha_save.write(folder, captcha_save.LATEST, step, model, optimizer, about | {"best": best})
            captcha_save.keep(folder, captcha_save.BEST, step, 1)
        taken = start_from(config.init_from, model, config) if config.init_from and chief and not commit else ""
        if captcha_distribute.machines() > 1:
            step = _begin_together(step, model, optimizer, strategy, [config.experiment(), config.max_steps, data])
        with strategy.scope():
            train_step = build_train_step(model, optimizer, config)
        forward = functools.partial(captcha_model.forward, model)
        batches = iter(strategy.distribute_datasets_from_function(functools.partial(source, step, config)))
        del source  # TensorFlow has its own copy of the images

        any_of = captcha_distribute.agreement(strategy)
        if not chief:
            return _follow(batches, train_step, any_of, step, config)

        with captcha_log.Log(folder, config, step) as log, _stop_signals() as caught:
            device = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
            replicas = strategy.num_replicas_in_sync
            images = f"{'endless' if config.endless else like['count']} images of {config.width}x{config.height}"
            log.say(f"{images}, {model.count_params()} weights, on {replicas} {device}{'s' * (replicas > 1)}")
            log.say(f"{'going on from' if step else 'starting at'} step {step}, up to step {config.max_steps}{taken}")
            first_step = reported = step
            loss = norm = waited = 0.0
            trained = log.entries[-1]["seconds"] if log.entries else 0.0
            stopping, began = False, time.perf_counter()
            while step < config.max_steps and not stopping:
                asked = time.perf_counter()
                batch = _next(batches, config)
                waited += time.perf_counter() - asked
                step_loss, step_norm = train_step(*batch)
                loss, norm = loss + step_loss, norm + step_norm
                step += 1
                log.advance()

                stopping = any_of(bool(caught))  # looked at once a step: a signal from here on ends the next one
                ends = stopping or step == config.max_steps
                evaluate_now = step == config.max_steps or step % config.eval_every == 0
                save_now = ends or step % config.save_every == 0
                if not evaluate_now and not save_now:
                    continue

                # once in a while: a NaN in any step since the last time shows in the sums
                steps = step - reported
                loss, norm = float(loss) / steps, float(norm) / steps
                if not math.isfinite(loss + norm):
                    raise UserError(
                        f"the loss or its gradient is not finite between steps {reported + 1} and {step}, which were"
                        f" not saved; start again with a lower --learning_rate (it is {config.learning_rate})"
                    )
                seconds = time.perf_counter() - began
                rate, trained = steps * config.batch_size / seconds, trained + seconds
                values = {"loss": loss, "gradient_norm": norm, "learning_rate": float(optimizer.learning_rate)}
                values |= {"images_per_second": rate, "waiting_for_data": waited / seconds, "seconds": trained}

                # once in a while: how well does it read captchas that it never saw?
                improved, before, told = False, best, f"step {step}/{config.max_steps}  loss {loss:.4f}"
                misread = None
                if evaluate_now:
                    logits, labels = captcha_model.read_all(forward, validation)
                    right, characters = (part.numpy() for part in captcha_model.evaluation(logits, labels))
                    accuracy = float(right.mean())
                    if improved := not best["step"] or accuracy >= best["captcha_accuracy"]:
                        best = {"step": step, "captcha_accuracy": accuracy}
                        best["temperature"] = captcha_model.temperature(logits, labels)
                    values |= {"captcha_accuracy": accuracy, "character_accuracy": float(characters.mean())}
                    misread = captcha_show.misread(*held_out, logits, config.characters)
                    told += f"  captcha {accuracy:.2%}  character {characters.mean():.2%} of {len(right)}"
                    minutes, left = divmod(round((config.max_steps - step) * config.batch_size / rate), 60)
                    told += f"  {rate:.0f} images/s  {minutes}:{left:02} left"
                told += log.report(step, values, misread, model if evaluate_now else None)

                # once in a while: make sure that a stop loses nothing; "saved" means that it is on the disk
                try:
                    if improved:
                        captcha_save.write(folder, captcha_save.BEST, step, model, optimizer, about | {"best": best})
                        before = best
                        captcha_save.keep(folder, captcha_save.BEST, step, 1)
                    if save_now:
                        captcha_save.write(folder, captcha_save.LATEST, step, model, optimizer, about | {"best": best})
                        captcha_save.keep(folder, captcha_save.LATEST, step, config.keep_checkpoints)
                        told += "  saved"
                except OSError as error:
                    told += f"  warning: not saved: {error.strerror}"
                    best = before  # what is recorded as the best is on the disk
                    if ends:
                        good = captcha_save.newest(folder, captcha_save.LATEST, captcha_save.BEST)
                        raise UserError(
                            f"{folder}: step {step} cannot be saved ({error.strerror}); the last saved is"
                            f" {good['path'].stem if good else 'none'}; make room, and run the same command again"
                        ) from error
                finally:
                    log.say(told)
                reported, began = step, time.perf_counter()
                loss = norm = waited = 0.0

            if stopping:
                number = caught[0] if caught else signal.SIGTERM  # that another worker got
                log.say(f"stopped by {signal.Signals(number).name} after step {step}; run the same command to go on")
                return 128 + number
            if step == first_step:
                log.say(f"step {step} is reached; --max_steps with a larger number trains on")
                return 0
            log.say(_summary(config, log.entries, best))
            return 0


def _next(batches: Iterator, config: Config) -> tuple:
    try:
        return next(batches)
    except tf.errors.DataLossError as error:  # only a set that is larger than memory is read while training
        what, where = error.message.partition("\n")[0][-200:], captcha_stream.folder("train", config)
        raise UserError(f"{where}: cannot be read ({what}); remove it and run again") from error
    except tf.errors.UnknownError as error:  # of what draws beside the step
        raise UserError(error.message.partition("UserError: ")[2].partition("\n")[0] or error.message) from error


def _begin_together(
    step: int, model: keras.Model, optimizer: keras.Optimizer, strategy: tf.distribute.Strategy, plan: list
) -> int:
    """Take over the chief's values and step. Raises UserError where this machine has another plan than the chief."""
    ours = int.from_bytes(hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).digest()[:4], "big")
    with strategy.scope():
        first_step, plans = (tf.Variable(number, dtype=tf.int64) for number in (step, ours))
    captcha_distribute.share([*_values(model), *_values(optimizer), first_step, plans], strategy)
    if int(plans.numpy()) != ours:
        raise UserError("this worker has another config, or other sets, than the first one; give all of them the same")
    return int(first_step.numpy())


def _values(of: keras.Model | keras.Optimizer) -> list[tf.Variable]:
    return [variable.value for variable in of.variables]


def _follow(batches: Iterator, train_step: Callable, any_of: Callable, step: int, config: Config) -> int:
    """The loop of a machine that is not the chief: the same steps, and no more."""
    print(f"at step {step}, up to step {config.max_steps}, with the first worker, which evaluates, saves and reports")
    with _stop_signals() as caught:
        while step < config.max_steps:
            train_step(*_next(batches, config))
            step += 1
            if any_of(bool(caught)):
                print(f"stopped after step {step}")
                return 128 + (caught[0] if caught else signal.SIGTERM)
    return 0


def _summary(config: Config, entries: list[dict], best: dict) -> Table:
    """What came of it all, and what one may want to do next."""
    seconds = entries[-1]["seconds"]
    table = Table.grid(padding=(0, 2))
    table.add_row("steps", f"{entries[-1]['step']}, in {seconds:.0f} s of training")
    table.add_row("best", f"{best['captcha_accuracy']:.2%} of the validation captchas, at step {best['step']}")
    table.add_row("saved", f"{config.save_dir}/{captcha_save.BEST}-{best['step']}")
    table.add_row("next", f"python captcha_evaluate.py --save_dir {config.save_dir} --fresh 20000")
    table.add_row("", f"python captcha_predict.py images/validation --model {config.save_dir}")
    table.add_row("", f"tensorboard --logdir {config.save_dir}")
    return table


def start_from(name: str, model: keras.Model, config: Config) -> str:
    """Give a new network the convolutions of a trained one; what says where to look, and what is there, begins anew.

    Training makes kernels longer, and the normalization after them hides it; but a step of the same length would turn
    them less (van Laarhoven 2017, https://arxiv.org/abs/1706.05350). So each is brought to the length of a new one.

    Args:
      name: a folder that the trainer saved to, or a model that ships.
    Returns:
      What was taken over, in words.
    Raises:
      UserError: there is no such checkpoint, or its network has other convolutions.
    """
    shipped = captcha_predict.SHIPPED / name
    folder = shipped if shipped.is_dir() and not Path(name).is_dir() else Path(name)
    commit, theirs = captcha_save.best(replace(config, save_dir=str(folder)), ())
    if theirs.channels != config.channels:
        given = " ".join(map(str, theirs.channels))
        raise UserError(f"{folder}: was trained with other channels; use the same: --channels {given}")
    if theirs.full_size != config.full_size:
        given = "--full_size" if theirs.full_size else "--no-full_size"
        raise UserError(f"{folder}: was trained on images of another scale; use the same: {given}")
    source = captcha_model.build(theirs)
    captcha_save.restore(commit, source)
    for ours, trained in zip(model.layers, source.layers, strict=True):
        if isinstance(ours, keras.layers.Conv2D):
            length, trained_length = (tf.norm(layer.kernel) for layer in (ours, trained))
            ours.kernel.assign(trained.kernel * (length / trained_length))
        elif isinstance(ours, keras.layers.BatchNormalization):
            ours.gamma.assign(trained.gamma)
            ours.beta.assign(trained.beta)
    return f", with the {len(config.channels)} convolutions of {folder}"


def build_train_step(model: keras.Model, optimizer: keras.Optimizer, config: Config) -> Callable:
    """A function (images, labels) → (loss, norm of its gradient), float32 scalars; each call is one step.

    Each replica has its part of the batch; losses and gradients are added up over all of them.
    """
    strategy = tf.distribute.get_strategy()

    def replica_step(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = model(images, training=True)  # [part of the batch, length, classes]
            loss = tf.reduce_sum(captcha_model.loss(logits, labels, config.label_smoothing)) / config.batch_size
            scaled, scale = optimizer.scale_loss(loss), optimizer.scale_loss(1.0)  # by 1, but for float16
        gradients = tape.gradient(scaled, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))  # Keras adds them up
        loss, *gradients = tf.distribute.get_replica_context().all_reduce("SUM", [loss, *gradients])
        norm = tf.linalg.global_norm(gradients) / scale
        if config.precision == "float16":  # a step that overflows is left out, and the scale made smaller: all is well
            norm = tf.where(tf.math.is_finite(norm), norm, 0.0)
        return loss, norm

    @tf.function(jit_compile=config.xla)
    def train_step(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        same = strategy.run(replica_step, args=(images, labels))  # on every replica
        return tuple(strategy.experimental_local_results(value)[0] for value in same)

    return train_step


def _check_fits(commit: dict, config: Config, data: dict[str, str]) -> None:
    """Going on with another experiment than was begun would give the results of neither."""
    different = config.differences(captcha_save.saved_config(commit))
    saved = commit["data"]
    different += [
        f"the {split} set is another one" for split in ("train", "validation") if data.get(split) != saved.get(split)
    ]
    before = saved.get("order", "as an earlier version shuffled them")
    if data["order"] != before:
        different.append(f"the images come {data['order']}, came {before} (memory_budget)")
    if different:
        raise UserError(
            f"{commit['path'].with_suffix('')}: cannot be gone on from: {'; '.join(different)}; set that back, or start"
            " fresh in another folder (--save_dir)"
        )


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """A list that SIGINT or SIGTERM adds its number to, so that the step under way can be finished and saved."""
    caught: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda number, _: caught.append(number))
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main() -> int:
    config, _ = parse_args(__doc__, FIELDS)
    status = train(config)
    if status == 0 and captcha_distribute.is_chief():
        (path,) = captcha_export.export(config)
        print(f"{path}: for captcha_predict.py")
    return status


if __name__ == "__main__":
    run(main)
