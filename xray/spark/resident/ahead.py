"""What training imports, imported by the workers while the driver does so itself."""

from collections.abc import Iterator

from xray.spark.cluster import Cluster


def import_ahead(cluster: Cluster) -> None:
    """Have a Python process in each slot import the libraries, and wait for them.

    Spark keeps these processes for the training. Where it is told not to, or where a
    worker is lost, training imports what is missing.
    """
    context, workers = cluster.context, cluster.workers
    if context.getConf().get("spark.python.worker.reuse", "true") == "true":
        rdd = context.parallelize(range(workers), workers)
        rdd.barrier().mapPartitions(_import_libraries).collect()


def _import_libraries(_: Iterator[int]) -> Iterator[int]:
    import elephas.worker  # noqa: F401 - with TensorFlow

    import xray.spark.resident.worker  # noqa: F401

    return iter(())
