"""The program that each step of a cluster runs, as EMR runs and cancels it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from tests.conftest import ROOT
from tests.emr.account import BUCKET
from tests.spark.resident.test_kills import EXACT
from xray.common.java import find_java_home

pytest_plugins = ["tests.emr.account"]


PREFIX = "test/sweeps/s/runs/one/"


@pytest.fixture
def start(aws):
    """Starts a step with such a configuration, whose Spark is this machine's."""

    def start(settings):
        config = yaml.safe_dump(settings).encode()
        aws.put_object(Bucket=BUCKET, Key="test/sweeps/s/config.yaml", Body=config)
        options = ("--run", "one", "--sweep", f"s3://{BUCKET}/test/sweeps/s")
        scripts = str(Path(sys.executable).parent)
        path = {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
        java = {"JAVA_HOME": find_java_home(), "PYTHONUNBUFFERED": "1"}
        program = ROOT / "experiments" / "elephas_spark.py"
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "emr.step", *options, "--"),
                *("spark-submit", "--master", "local[1]", program),
            ],
            cwd=ROOT,
            env=os.environ | path | java,
            stderr=subprocess.PIPE,
        )

    return start


def names(aws):
    """Of what the run has left on S3."""
    found = aws.list_objects_v2(Bucket=BUCKET, Prefix=PREFIX).get("Contents", ())
    return [each["Key"].removeprefix(PREFIX) for each in found]


def record_of(aws):
    (name,) = [name for name in names(aws) if name.endswith(".json")]
    body = aws.get_object(Bucket=BUCKET, Key=PREFIX + name)["Body"]
    return json.loads(body.read())


@pytest.mark.cluster
def test_a_cancelled_step_still_brings_its_record(aws, bucket, start):
    """EMR tells the step; spark-submit is Java, and tells no Python program."""
    process = start(bucket.settings(training={"epochs": 10_000}, runner={"workers": 1}))
    read = b""
    while b"img/s]" not in read:  # it trains
        chunk = os.read(process.stderr.fileno(), 4096)
        assert chunk, read
        read += chunk
    process.terminate()
    _, rest = process.communicate(timeout=90)
    assert process.returncode in (130, 143), rest
    record = record_of(aws)
    assert (record["status"], record["emr"]["run"]) == ("aborted", "one")
    assert record["runner"] == "elephas"


@pytest.mark.cluster
def test_a_step_whose_processes_are_killed_goes_on_from_its_last_epoch(
    aws, bucket, start
):
    settings = bucket.settings(**EXACT, runner={"workers": 1})
    settings["training"]["epochs"] = 60  # longer than until it is killed
    process = start(settings)
    deadline = time.monotonic() + 120
    while not names(aws):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for each in psutil.Process(process.pid).children(recursive=True):
        each.kill()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGKILL, said
    (checkpoint,) = names(aws)
    assert checkpoint.startswith("checkpoints/elephas_")
    again = start(settings)
    _, said = again.communicate(timeout=200)
    assert again.returncode == 0, said
    record = record_of(aws)
    assert record["resumed"][0]["epoch"] >= 1
    assert [epoch["epoch"] for epoch in record["epochs"]] == list(range(1, 61))
    assert not [name for name in names(aws) if name.startswith("checkpoints")]
