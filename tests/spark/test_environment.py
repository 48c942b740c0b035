"""Workers that run something else than the driver are refused."""

import sys
from dataclasses import replace

import pytest

from tests.refusals import refused
from xray.records.machine import describe_hardware, package_versions
from xray.spark.environment import (
    Attendance,
    WorkerEnvironment,
    check_workers,
    describe_worker,
    import_on_workers,
)


def test_each_machine_tells_its_own_hardware_once_and_not_its_name():
    here = describe_worker()
    large = {"cpu_model": "Large", "cores": 36, "instance_type": "c5.9xlarge"}
    there = replace(here, host="elsewhere", hardware=large)
    found = check_workers([here, here])
    assert found == {"nodes": 1, "executors": [{**describe_hardware(), "workers": 2}]}
    found = check_workers([here, there, here])
    assert found["nodes"] == 2
    counts = {each["cpu_model"]: each["workers"] for each in found["executors"]}
    assert counts == {describe_hardware()["cpu_model"]: 2, "Large": 1}
    assert here.host not in str(found).split("'")


def test_a_driver_apart_from_the_workers_is_a_machine_too():
    there = replace(describe_worker(), host="elsewhere")
    found = check_workers([there, there])
    assert (found["nodes"], len(found["executors"])) == (2, 1)


def test_a_machine_is_present_while_it_has_workers():
    a, b, c = (replace(describe_worker(), host=f"host-{name}") for name in "abc")
    attendance = Attendance()
    for seconds, team in [(9, [a, b, b]), (30, [a]), (50, [a, c]), (70, [a, b, c])]:
        found = attendance.check(team, "float32", seconds)
    assert found["nodes"] == 4
    assert [each["present"] for each in found["executors"]] == [
        [[0.0, None]],
        [[0.0, 30], [70, None]],
        [[50, None]],
    ]
    assert [each["workers"] for each in found["executors"]] == [1, 1, 1]


def test_other_versions_on_an_executor_are_named():
    theirs = {**package_versions(), "keras": "3.0.0", "python": "3.9.1"}
    environment = WorkerEnvironment("host", "/usr/bin/python3", theirs, {})
    with refused("Python 3.9 instead of 3.*keras 3.0.0 instead of.*PYSPARK_PYTHON"):
        check_workers([describe_worker(), environment])


def test_a_package_missing_on_an_executor_is_named():
    theirs = {name: v for name, v in package_versions().items() if name != "elephas"}
    with refused("elephas missing"):
        check_workers([WorkerEnvironment("host", sys.executable, theirs, {})])


def test_a_worker_without_the_precision_is_named():
    here = describe_worker()
    able = replace(here, hardware={"cpu_model": "Able", "bfloat16": True})
    old = replace(here, host="other", hardware={"cpu_model": "Old"})
    assert check_workers([able, able], "mixed_bfloat16")["nodes"] == 1
    assert check_workers([able, old], "float32")["nodes"] == 2
    with refused("needs a CPU with AVX512_BF16.*without: a worker's Old"):
        check_workers([able, old], "mixed_bfloat16")


@pytest.mark.slow
def test_tensorflow_starts_on_every_worker(cluster):
    found = import_on_workers(cluster)
    assert (found["nodes"], found["executors"][0]["workers"]) == (1, 2)
