"""Workers have their libraries before training asks for them."""

import logging
import sys
import threading
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.spark.stock.test_elephas_models import small_model
from xray.common.background import in_background
from xray.data.dataset import find_dataset
from xray.spark.resident import driver
from xray.spark.resident.ahead import await_imports, import_ahead
from xray.storage.credentials import load_access
from xray.storage.s3 import Storage
from xray.training.journal import Journal

pytestmark = pytest.mark.slow  # a Spark cluster, and TensorFlow


@pytest.fixture
def fresh(cluster, request):
    """The cluster, whose next jobs get Python processes that have imported nothing."""
    cluster.context.environment["XRAY_FRESH"] = request.node.name
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


def test_with_slots_to_spare_nothing_is_imported_where_training_may_not_come(fresh):
    assert imported(fresh) == [False, False]
    import_ahead(replace(fresh, workers=1))
    assert imported(fresh) == [False, False]


def test_where_processes_are_not_kept_no_job_is_run():
    conf = {"spark.python.worker.reuse": "false"}
    import_ahead(
        SimpleNamespace(context=SimpleNamespace(getConf=lambda: conf), workers=2)
    )


def test_imports_are_awaited_so_long_and_a_word_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        await_imports(Future(), Future(), 0.2)
    (record,) = caplog.records
    assert "not imported TensorFlow within 0.2 s" in record.getMessage()


@pytest.mark.timeout(60)
def test_nothing_is_awaited_without_images(caplog):
    refused = Future()
    refused.set_exception(ValueError())
    await_imports(Future(), refused, threading.TIMEOUT_MAX)
    assert not caplog.records


@pytest.mark.timeout(60)
def test_imports_that_fail_are_left_to_training(caplog):
    lost = Future()
    lost.set_exception(RuntimeError())
    await_imports(lost, Future(), threading.TIMEOUT_MAX)
    assert not caplog.records


def test_no_worker_is_missed_while_the_imports_hold_its_slot(
    bucket, cluster, monkeypatch
):
    """Else slow imports would end a run that lacks nothing."""
    imports, server = Future(), driver.WeightServer

    def start_clock(*arguments):
        assert imports.done()
        return server(*arguments)

    monkeypatch.setattr(driver, "WeightServer", start_clock)
    config = bucket.config(training={"epochs": 1}, runner={"workers": 2})
    access = load_access(config.data.credentials, config.data.endpoint_url)
    journal = Journal("elephas", config, workers=2)
    dataset = in_background(find_dataset, config.data, Storage(access))
    model = small_model()
    threading.Timer(2, imports.set_result, [None]).start()
    driver.train_resident(journal, cluster, model, access, dataset, imports)
    assert len(journal.log.epochs) == 1
