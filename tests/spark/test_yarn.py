"""spark-submit --master yarn on Hadoop's own YARN."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT, require, run_script
from tests.runners.test_runners import read_record
from tests.spark.resident.test_kills import EXACT, arguments, losses

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

WORKERS = 4


@pytest.fixture(scope="module")
def hadoop(tmp_path_factory):
    """A folder with Hadoop's jars."""
    if not shutil.which("mvn"):
        require("yarn", "Maven, which fetches Hadoop, is not installed")
    folder = tmp_path_factory.mktemp("hadoop")
    fetched = subprocess.run(
        ["mvn", "-q", "-B", "-f", "tests/yarn/pom.xml", "-DincludeScope=runtime"]
        + ["dependency:copy-dependencies", f"-DoutputDirectory={folder}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if fetched.returncode:
        require("yarn", f"Maven cannot fetch Hadoop: {fetched.stdout[-300:]}")
    return folder


def submit(hadoop, *arguments):
    """spark-submit beside YARN on this machine, with two executors."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "xray.local_yarn", "--hadoop", str(hadoop)),
            *("--nodes", "2", "--memory-mb", "8192", "--"),
            *("spark-submit", "--master", "yarn", "--num-executors", "2"),
            *("--executor-cores", "2", "--executor-memory", "512m"),
            *("--driver-memory", "1G", *map(str, arguments)),
        ],
        cwd=ROOT,
        env=os.environ | {"PYSPARK_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=400,
    )


def test_it_trains_as_on_this_machine_alone(hadoop, bucket, tmp_path):
    """Containers of two workers each, and threads of one process, lose the same."""
    training = EXACT["training"] | {"epochs": 3}
    config = bucket.write_config(
        tmp_path / "run.yaml", **EXACT | {"training": training}
    )
    done = submit(
        hadoop,
        *("--conf", "spark.executor.memoryOverhead=3g"),
        *arguments("elephas_spark", config, tmp_path / "yarn"),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    record = read_record(tmp_path / "yarn")
    assert (record.status, record.workers) == ("success", WORKERS)
    assert record.machine["spark_master"] == "yarn"
    assert record.retries == []

    local = arguments("elephas_spark", config, tmp_path / "local")
    alone = run_script(*local, "--set", f"runner.workers={WORKERS}")
    assert alone.returncode == 0, alone.stderr
    expected = losses(read_record(tmp_path / "local").epochs)
    assert losses(record.epochs) == pytest.approx(expected, rel=1e-5)


GREEDY = """
import time
from pyspark import SparkContext

def take(_):
    taken = b"1" * 2**31
    time.sleep(60)
    return len(taken)

SparkContext().parallelize([0], 1).map(take).collect()
"""


def test_a_container_that_takes_more_than_it_asked_for_is_killed(hadoop, tmp_path):
    """As on EMR; what Python takes is outside the heap."""
    (tmp_path / "greedy.py").write_text(GREEDY)
    once = ("--conf", "spark.task.maxFailures=1")
    done = submit(hadoop, *once, tmp_path / "greedy.py")
    assert done.returncode == 1
    assert "killed by YARN for exceeding physical memory limits" in done.stderr
