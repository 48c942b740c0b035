"""Training on one CPU thread of this machine: the baseline of every speedup."""

import os

from xray.config.run import RunConfig
from xray.records.record import RunRecord
from xray.training.journal import Journal
from xray.training.loop import train_locally


def run(config: RunConfig, journal: Journal | None = None) -> RunRecord:
    """The record of training on one thread, pinned to one core.

    The process keeps these limits: give each run its own.

    Raises:
        RuntimeError: TensorFlow has already started its threads.
    """
    journal = journal or Journal("sequential", config)
    journal.workers = journal.threads_per_worker = 1
    with journal.timer.phase("startup"):
        use_one_thread()
    return train_locally(config, journal)


def use_one_thread() -> None:
    """Hold this process to one core, one TensorFlow and one BLAS thread."""
    from threadpoolctl import threadpool_limits

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # a GPU would not be sequential
    threadpool_limits(1)

    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
