"""What training imports, imported by the workers while the driver does so itself."""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import Future

from xray.model.keras_import import import_keras
from xray.spark.cluster import Cluster

logger = logging.getLogger(__name__)


def import_ahead(cluster: Cluster) -> None:
    """Have a Python process in each slot import the libraries, and wait for them.

    Spark keeps these processes for the training. Where it is told not to, or where a
    worker is lost, training imports what is missing; likewise with slots to spare, of
    which it might be given others.
    """
    context, workers = cluster.context, cluster.workers
    kept = context.getConf().get("spark.python.worker.reuse", "true") == "true"
    if kept and cluster.slots() == workers:
        rdd = context.parallelize(range(workers), workers)
        rdd.barrier().mapPartitions(_import_libraries).collect()


def await_imports(imports: Future, shares: Future, wait_seconds: float) -> None:
    """Wait for `import_ahead`: its tasks hold the slots that training asks for.

    No longer than `wait_seconds`, and not when there is nothing to train on.

    Args:
        imports: done when `import_ahead` is, however that ended.
        shares: what the workers are to do, or why they cannot.
        wait_seconds: after which training takes its turn behind the imports.
    """
    over = threading.Event()
    imports.add_done_callback(lambda _: over.set())
    shares.add_done_callback(lambda done: done.exception() and over.set())
    if not over.wait(wait_seconds):
        logger.warning(
            "The workers have not imported TensorFlow within %g s; waiting as long "
            "again (runner.wait_for_workers) for them to join.",
            wait_seconds,
        )


def _import_libraries(_: Iterator[int]) -> Iterator[int]:
    import_keras()
    import elephas.worker  # noqa: F401

    import xray.spark.resident.worker  # noqa: F401

    return iter(())
