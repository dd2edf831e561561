"""One device, all GPUs of a machine, or several machines: what the trainer need not know of them.

strategy = choose_strategy(config)      what there is; several machines are named in TF_CONFIG
machines(), is_chief()                  how many there are; whether this is the one that evaluates, writes and speaks
share(variables, strategy)              the chief's values, on all
any_of = agreement(strategy)            what is true on one machine, known to all
lost_workers_told()                     one line where another machine is gone
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator

from captcha_config import Config, UserError

import tensorflow as tf

TFConfigClusterResolver = tf.distribute.cluster_resolver.TFConfigClusterResolver


def choose_strategy(config: Config) -> tf.distribute.Strategy:
    """Several machines where TF_CONFIG names them, or all GPUs of the machine, or its one device.

    The batch is spread evenly over them. TF_CONFIG is as TensorFlow has it, on every machine with its own index:
    {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}. This waits for all of them.

    Raises:
      UserError: TF_CONFIG makes no sense, or the batch cannot be spread.
    """
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)  # leave room for others
    if "TF_CONFIG" in os.environ:
        try:
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
        except (ValueError, KeyError, TypeError, IndexError, tf.errors.OpError) as error:
            raise UserError(
                f"TF_CONFIG: {str(error).partition(chr(10))[0]}; it is {os.environ['TF_CONFIG']}"
            ) from error
    else:
        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        devices = [device.name for device in found]
        strategy = tf.distribute.MirroredStrategy(devices) if len(devices) > 1 else tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    if config.batch_size % replicas:
        raise UserError(f"batch_size: {config.batch_size} cannot be spread evenly over {replicas} devices")
    if config.xla and replicas > 1:
        raise UserError(f"xla: compiles for one device, and there are {replicas}; leave it out (--no-xla)")
    return strategy


def machines() -> int:
    """How many machines the job has."""
    jobs = TFConfigClusterResolver().cluster_spec().as_dict()
    return len(jobs.get("chief", [])) + len(jobs.get("worker", [])) or 1


def is_chief() -> bool:
    """Whether this is the machine named chief, or the first worker where none is, or the only one."""
    resolver = TFConfigClusterResolver()
    return resolver.task_type == "chief" or ("chief" not in resolver.cluster_spec().jobs and not resolver.task_id)


def share(variables: Iterable[tf.Variable], strategy: tf.distribute.Strategy) -> None:
    """Give variables the values that they have on the chief."""
    variables = list(variables)

    def from_chief() -> tf.Tensor:
        values = tf.concat([tf.reshape(tf.cast(variable, tf.float64), [-1]) for variable in variables], 0)  # exact
        return tf.where(tf.distribute.get_replica_context().replica_id_in_sync_group == 0, values, 0.0)

    values = strategy.reduce("SUM", strategy.run(from_chief), axis=None)
    for variable, value in zip(variables, tf.split(values, [v.shape.num_elements() for v in variables]), strict=True):
        variable.assign(tf.cast(tf.reshape(value, variable.shape), variable.dtype))


def agreement(strategy: tf.distribute.Strategy) -> Callable[[bool], bool]:
    """A function that is true on all machines where one of them calls it with True; all must call it."""

    @tf.function
    def count(yes: tf.Tensor) -> tf.Tensor:
        return strategy.reduce("SUM", strategy.run(lambda: tf.identity(yes)), axis=None)

    return (lambda yes: bool(count(tf.constant(int(yes))))) if machines() > 1 else bool


@contextlib.contextmanager
def lost_workers_told() -> Iterator[None]:
    """Raise UserError where what is done inside fails for want of another machine."""
    try:
        yield
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.InternalError,
    ) as error:
        if machines() == 1:
            raise
        raise UserError(
            "another worker of the job was lost; start all of them again, or those that there are: they go on from the"
            " last save"
        ) from error
