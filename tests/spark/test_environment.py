"""Workers that run something else than the driver are refused."""

import sys
from dataclasses import replace

import pytest

from tests.refusals import refused
from xray.records.machine import package_versions
from xray.spark.environment import (
    WorkerEnvironment,
    check_workers,
    describe_worker,
    import_on_workers,
)


def test_nodes_are_counted():
    here = describe_worker()
    there = replace(here, host="elsewhere")
    assert check_workers([here, here]) == 1
    assert check_workers([here, there, here]) == 2


def test_other_versions_on_an_executor_are_named():
    theirs = {**package_versions(), "keras": "3.0.0", "python": "3.9.1"}
    environment = WorkerEnvironment("host", "/usr/bin/python3", theirs)
    with refused("Python 3.9 instead of 3.*keras 3.0.0 instead of.*PYSPARK_PYTHON"):
        check_workers([describe_worker(), environment])


def test_a_package_missing_on_an_executor_is_named():
    theirs = {name: v for name, v in package_versions().items() if name != "elephas"}
    with refused("elephas missing"):
        check_workers([WorkerEnvironment("host", sys.executable, theirs)])


@pytest.mark.slow
def test_tensorflow_starts_on_every_worker(cluster):
    assert import_on_workers(cluster) == 1
