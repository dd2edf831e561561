"""Distribution: one device, all GPUs of a machine, or several machines.

strategy = choose_strategy(config)              what there is; TF_CONFIG names several machines
is_chief()                                      whether this is the machine that saves and reports
numbers = from_chief(numbers, plan, strategy)   the chief's numbers; refuses machines with another plan
broadcast(variables, strategy)                  the chief's values, on all machines
with failures_explained():                      one line where memory is short, or another machine is gone
with stop_signals(strategy) as stop_requested:  whether any machine was told to stop
"""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from captcha_cli import UserError
from captcha_config import Config
from captcha_predict.form import misfit
from captcha_sets.files import checksum, reason

import tensorflow as tf

SIGNALS = (signal.SIGTERM, signal.SIGINT)
TFConfigClusterResolver = tf.distribute.cluster_resolver.TFConfigClusterResolver

TF_CONFIG = {"cluster": {str: [str]}, "task": {"type": str, "index": int}}  # its form
NVIDIA = Path("/proc/driver/nvidia/gpus")  # one folder for each GPU that the driver finds
LOST = (  # what TensorFlow raises where another machine ends, stops answering, or restarts
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
)


def choose_strategy(config: Config) -> tf.distribute.Strategy:
    """Several machines where TF_CONFIG names them, or all GPUs of the machine, or its one device.

    The batch is spread evenly over them. TF_CONFIG is TensorFlow's own, on every machine with its own index:
    {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}. This waits for all of them.

    Raises:
      UserError: TF_CONFIG makes no sense; the batch cannot be spread; or a setting is for one device only.
    """
    _warn_of_unused_gpu()
    if "TF_CONFIG" in os.environ:
        check_tf_config()
        strategy = _several_machines()
    else:
        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        devices = [device.name for device in found]
        strategy = tf.distribute.MirroredStrategy(devices) if len(devices) > 1 else tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    if config.batch_size % replicas:
        raise UserError(f"batch_size: {config.batch_size} cannot be spread evenly over {replicas} devices")
    if config.xla and replicas > 1:
        raise UserError(f"xla: compiles for one device, and there are {replicas}; leave it out (--no-xla)")
    if config.precision == "float16" and replicas > 1:  # Keras takes one device's word on whether a step overflowed
        raise UserError(f"precision: float16 is for one device, and there are {replicas}; use bfloat16")
    return strategy


def check_tf_config() -> None:
    """Raise UserError where TF_CONFIG makes no sense. TensorFlow raises all kinds of errors then, or none."""
    text = os.environ["TF_CONFIG"]
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"TF_CONFIG: is not JSON; it is {text}") from error
    if problem := misfit(values, TF_CONFIG):
        raise UserError(f"TF_CONFIG: {problem}; it is {text}")
    kind, index = values["task"]["type"], values["task"]["index"]
    if not 0 <= index < len(values["cluster"].get(kind, [])):
        raise UserError(f"TF_CONFIG: its cluster has no {kind} {index}; it is {text}")


def _several_machines() -> tf.distribute.Strategy:
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (ValueError, KeyError, TypeError, IndexError, tf.errors.OpError) as error:
        why = str(error).partition("\n")[0]
        raise UserError(f"TF_CONFIG: {why}; it is {os.environ['TF_CONFIG']}") from error


def _warn_of_unused_gpu() -> None:
    if NVIDIA.is_dir() and any(NVIDIA.iterdir()) and not tf.config.list_physical_devices("GPU"):
        print(
            "warning: this machine has an NVIDIA GPU, but TensorFlow does not find the libraries to use it; install"
            f" them: pip install 'tensorflow[and-cuda]=={tf.__version__}'",
            file=sys.stderr,
        )


def devices(strategy: tf.distribute.Strategy) -> str:
    """The strategy's devices, in words."""
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    replicas = strategy.num_replicas_in_sync
    return f"{replicas} {kind}{'s' if replicas > 1 else ''}"


def machines() -> int:
    """How many machines the job has."""
    jobs = TFConfigClusterResolver().cluster_spec().as_dict()
    return len(jobs.get("chief", [])) + len(jobs.get("worker", [])) or 1


def is_chief() -> bool:
    """Whether this is the machine named chief, or the first worker where none is, or the only machine."""
    resolver = TFConfigClusterResolver()
    return resolver.task_type == "chief" or ("chief" not in resolver.cluster_spec().jobs and not resolver.task_id)


def broadcast(variables: Iterable[tf.Variable], strategy: tf.distribute.Strategy) -> None:
    """Give the variables the values that they have on the chief. Machines need not share a save folder."""
    if machines() == 1:
        return
    variables = list(variables)

    def chief_values() -> tf.Tensor:
        values = tf.concat([tf.reshape(tf.cast(variable, tf.float64), [-1]) for variable in variables], 0)  # exact
        return tf.where(tf.distribute.get_replica_context().replica_id_in_sync_group == 0, values, 0.0)

    @tf.function  # outside of a function TensorFlow warns that this is slow
    def all_reduce() -> tf.Tensor:
        return strategy.reduce("SUM", strategy.run(chief_values), axis=None)

    values = all_reduce()
    for variable, value in zip(variables, tf.split(values, [v.shape.num_elements() for v in variables]), strict=True):
        variable.assign(tf.cast(tf.reshape(value, variable.shape), variable.dtype))


def from_chief(numbers: list[int], plan: Any, strategy: tf.distribute.Strategy) -> list[int]:
    """The numbers that the chief calls this with.

    Args:
      plan: plain values that must be the same on all machines, such as the config.
    Raises:
      UserError: one of the machines has another plan than the chief. It is raised on all of them.
    """
    if machines() == 1:
        return numbers
    ours = int(checksum(plan)[:8], 16)
    with strategy.scope():
        variables = [tf.Variable(number, dtype=tf.int64) for number in (*numbers, ours)]
    broadcast(variables, strategy)
    *numbers, theirs = (int(variable.numpy()) for variable in variables)
    add_up = _adder(strategy)
    if add_up(tf.constant(int(theirs != ours))):
        with contextlib.suppress(*LOST):  # wait until the others know it, too: they would report this one as lost
            add_up(tf.constant(0))
        raise UserError("the workers of this job differ in their config, or in their sets; give all of them the same")
    return numbers


def _adder(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function that adds up a tensor over all replicas."""

    @tf.function
    def add_up(values: tf.Tensor) -> tf.Tensor:
        return strategy.reduce("SUM", strategy.run(lambda: tf.identity(values)), axis=None)

    return add_up


@contextlib.contextmanager
def stop_signals(strategy: tf.distribute.Strategy) -> Iterator[Callable[[], int]]:
    """Catch SIGINT and SIGTERM, so that the step in progress can be finished and saved.

    Yields:
      A function that returns the number of the signal that any machine has caught, or 0. All machines must call it
      after the same step.
    """
    caught: set[int] = set()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, lambda number, _: caught.add(number))

    add_up = _adder(strategy)

    def stop_requested() -> int:
        flags = [int(number in caught) for number in SIGNALS]
        if machines() > 1:
            flags = add_up(tf.constant(flags)).numpy()
        return next((number for number, flag in zip(SIGNALS, flags, strict=True) if flag), 0)

    try:
        yield stop_requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def failures_explained() -> Iterator[None]:
    """Raise UserError where what is done inside fails because of too little memory or a machine that has gone."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        if "OOM" not in error.message:  # a full disk is of the same kind
            raise
        raise UserError(f"out of memory ({reason(error)}); use a smaller --batch_size") from error
    except LOST as error:
        if machines() == 1:
            raise
        raise UserError(
            "another worker of the job was lost; start all of them again, or as many as you have: they resume from the"
            " last checkpoint"
        ) from error
