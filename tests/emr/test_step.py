"""The program that each step of a cluster runs, as EMR runs and cancels it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.emr.account import BUCKET
from xray.common.java import find_java_home

pytest_plugins = ["tests.emr.account"]


@pytest.mark.cluster
def test_a_cancelled_step_still_brings_its_record(aws, bucket):
    """EMR tells the step; spark-submit is Java, and tells no Python program."""
    settings = bucket.settings(training={"epochs": 10_000}, runner={"workers": 1})
    config = yaml.safe_dump(settings).encode()
    aws.put_object(Bucket=BUCKET, Key="test/sweeps/s/config.yaml", Body=config)
    options = ("--run", "one", "--sweep", f"s3://{BUCKET}/test/sweeps/s")
    scripts = str(Path(sys.executable).parent)
    path = {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    java = {"JAVA_HOME": find_java_home(), "PYTHONUNBUFFERED": "1"}
    program = ROOT / "experiments" / "elephas_spark.py"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "emr.step", *options, "--"),
            *("spark-submit", "--master", "local[1]", program),
        ],
        cwd=ROOT,
        env=os.environ | path | java,
        stderr=subprocess.PIPE,
    )
    read = b""
    while b"img/s]" not in read:  # it trains
        chunk = os.read(process.stderr.fileno(), 4096)
        assert chunk, read
        read += chunk
    process.terminate()
    _, rest = process.communicate(timeout=90)
    assert process.returncode in (130, 143), rest
    prefix = "test/sweeps/s/runs/one/"
    (found,) = aws.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]
    record = json.loads(aws.get_object(Bucket=BUCKET, Key=found["Key"])["Body"].read())
    assert (record["status"], record["emr"]["run"]) == ("aborted", "one")
    assert record["runner"] == "elephas"
