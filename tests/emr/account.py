"""An AWS account behind moto's HTTP server (EMR, S3, IAM, EC2, STS), and a sweep in it.

A pytest plugin: test files that name it in `pytest_plugins` have its fixtures.
"""

import logging
import os
import subprocess
import sys
import time
import urllib.request

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

from emr import launch
from emr.packaging import environment_name
from tests.conftest import ROOT, assert_one_line
from tests.emr.service import REGION, clusters

BUCKET = "xray-sweeps"
SECRET = "moto/Secret+Value"


@pytest.fixture(scope="module")
def server():
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def aws(server, monkeypatch, tmp_path):
    """An S3 client, in an account with a bucket, roles and labels."""
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.chdir(ROOT)
    s3 = boto3.client("s3", region_name=REGION)
    _reset(s3)
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="labels.csv", Body=b"Image Index\n")
    iam = boto3.client("iam", region_name=REGION)
    iam.create_instance_profile(InstanceProfileName="EMR_EC2_DefaultRole")
    iam.create_role(RoleName="EMR_DefaultRole", AssumeRolePolicyDocument="{}")
    return s3


def _reset(client):
    url = f"{client.meta.endpoint_url}/moto-api/reset"
    urllib.request.urlopen(urllib.request.Request(url, method="POST")).close()


@pytest.fixture
def arguments(tmp_path):
    """Arguments of a sweep that builds no environment and looks often."""
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / environment_name()).write_bytes(b"not unpacked here")
    config = {
        "data": {
            "images": f"s3://{BUCKET}/images/",
            "labels": f"s3://{BUCKET}/labels.csv",
            "credentials": "credentials.yaml",
        }
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))

    def make(*executors, more=()):
        return [
            *("sweep", "--executors", *map(str, executors)),
            *("--config", str(tmp_path / "run.yaml")),
            *("--cluster-set", f"s3_prefix=s3://{BUCKET}/test/"),
            *("--results", str(tmp_path / "results")),
            *("--build", str(tmp_path / "build"), "--poll-seconds", "0.1", *more),
        ]

    return make


def assert_nothing_runs():
    assert {cluster.state for cluster in clusters()} <= {"TERMINATED"}


def refused(capsys, arguments, *parts):
    """The command ends with exit code 2 and one line that holds every part."""
    assert launch.main(arguments) == 2
    shown = capsys.readouterr()
    assert_one_line(shown.err, *parts)
    assert SECRET not in shown.err + shown.out


def start_process(arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "emr.launch", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def wait_for_cluster():
    deadline = time.monotonic() + 60
    while not clusters() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    assert clusters()
