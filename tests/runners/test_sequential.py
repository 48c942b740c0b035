"""The local runner on one thread and on more."""

import os

import pytest

from tests.conftest import assert_one_line, run_script
from tests.runners.test_runners import read_record
from xray.report.comparison import compare
from xray.report.costs import PRICES, load_prices

pytestmark = pytest.mark.slow


@pytest.fixture
def run(bucket, tmp_path):
    config = bucket.write_config(tmp_path / "run.yaml", training={"epochs": 1})

    def run(threads):
        return run_script(
            *("experiments/sequential.py", "--config", config),
            *("--results", tmp_path / "results"),
            *("--set", f"runner.threads_per_worker={threads}"),
        )

    return run


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
def test_two_threads_are_another_configuration_and_no_baseline(run, tmp_path):
    done = run(2)
    assert done.returncode == 0, done.stderr
    record = read_record(tmp_path / "results")
    assert (record.runner, record.workers, record.threads_per_worker) == (
        "sequential",
        1,
        2,
    )
    (group,) = compare([record], [], load_prices(PRICES)).groups
    assert group.baseline is None
    assert group.configurations[0].label == "Keras on 2 threads"


def test_more_threads_than_cores_are_refused(run):
    done = run(10_000)
    assert done.returncode == 2
    assert_one_line(done.stderr, "runner.threads_per_worker must be at most the")
