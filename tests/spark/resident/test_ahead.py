"""Workers have their libraries before training asks for them."""

import sys
from types import SimpleNamespace

import pytest

from xray.spark.resident.ahead import import_ahead

pytestmark = pytest.mark.slow  # a Spark cluster, and TensorFlow


@pytest.fixture
def fresh(cluster):
    """The cluster, whose next jobs get Python processes that have imported nothing."""
    cluster.context.environment["XRAY_FRESH"] = "1"
    yield cluster
    del cluster.context.environment["XRAY_FRESH"]


def imported(cluster):
    """Whether each slot's process has TensorFlow and the worker's own code."""
    names = {"tensorflow", "elephas.worker", "xray.spark.resident.worker"}
    rdd = cluster.context.parallelize(range(cluster.workers), cluster.workers)
    barrier = rdd.barrier().mapPartitions(lambda _: [names <= set(sys.modules)])
    return barrier.collect()


def test_every_slot_has_imported_what_training_needs(fresh):
    assert imported(fresh) == [False, False]
    import_ahead(fresh)
    assert imported(fresh) == [True, True]


def test_where_processes_are_not_kept_no_job_is_run():
    conf = {"spark.python.worker.reuse": "false"}
    import_ahead(
        SimpleNamespace(context=SimpleNamespace(getConf=lambda: conf), workers=2)
    )
