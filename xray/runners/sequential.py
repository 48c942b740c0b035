"""Training in one process on this machine's CPU, on one thread unless told otherwise.

One thread is the baseline of every speedup. With `runner.threads_per_worker` it is what
plain Keras makes of more cores: another configuration, under a name of its own.
"""

import os

from xray.common.errors import UserError
from xray.config.run import RunConfig
from xray.model.cpu_step import check_precision
from xray.model.keras_import import import_keras
from xray.records.record import RunRecord
from xray.training.journal import Journal
from xray.training.local import train_locally


def run(config: RunConfig, journal: Journal | None = None) -> RunRecord:
    """The record of training on so many threads, pinned to as many cores.

    The process keeps these limits: give each run its own.

    Raises:
        UserError: there are fewer cores than threads, or none for the precision.
        RuntimeError: TensorFlow has already started its threads.
    """
    journal = journal or Journal("sequential", config)
    threads = config.runner.threads_per_worker or 1
    check_precision(config.runner.precision)
    journal.workers, journal.threads_per_worker = 1, threads
    with journal.timer.phase("startup"):
        use_threads(threads)
    return train_locally(config, journal)


def check_threads(threads: int) -> list[int]:
    """The cores that this process may use, which are as many as `threads` at least.

    Raises:
        UserError: they are fewer.
    """
    cores = sorted(os.sched_getaffinity(0))
    if threads > len(cores):
        raise UserError(
            f"runner.threads_per_worker must be at most the {len(cores)} cores of this "
            f"machine. Got {threads}."
        )
    return cores


def use_threads(threads: int) -> None:
    """Hold this process to so many cores, TensorFlow and BLAS threads.

    Raises:
        UserError: it may use fewer cores.
    """
    from threadpoolctl import threadpool_limits

    cores = check_threads(threads)
    os.sched_setaffinity(0, cores[:threads])
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # a GPU would not be sequential
    threadpool_limits(threads)

    import_keras()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
