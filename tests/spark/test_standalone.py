"""spark-submit against a real standalone cluster of processes on loopback."""

import subprocess
import sys
from pathlib import Path

import pyspark
import pytest
import yaml

from emr import launch
from tests.conftest import ROOT, assert_one_line
from tests.emr.account import BUCKET
from tests.emr.service import Machinery
from tests.runners.test_runners import read_record
from xray.common.java import find_java_home
from xray.local.cluster import start_workers
from xray.local_cluster import _environment, main

pytestmark = pytest.mark.slow
pytest_plugins = ["tests.emr.account"]


@pytest.fixture(scope="module")
def master():
    with start_workers(2, cores=1, memory="2g") as address:
        yield address


def submit(master, *arguments):
    """Plain spark-submit with the options that xray/spark/README.md gives."""
    environment = _environment(master)
    environment.pop("PYSPARK_PYTHON", None)
    return subprocess.run(
        [
            *("spark-submit", "--master", master, "--num-executors", "2"),
            *("--executor-cores", "1", "--driver-memory", "1G"),
            *("--conf", "spark.driver.host=127.0.0.1"),
            *("experiments/elephas_spark.py", *map(str, arguments)),
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )


@pytest.mark.cluster
def test_workers_follow_from_the_cluster(master, bucket, tmp_path):
    mode = "asynchronous"  # the synchronous one is what the next test trains
    config = bucket.write_config(
        tmp_path / "run.yaml", training={"epochs": 1}, runner={"mode": mode}
    )
    done = submit(master, "--config", config, "--results", tmp_path / "results")
    assert done.returncode == 0, done.stderr[-3000:]
    record = read_record(tmp_path / "results")
    assert (record.status, record.workers, record.mode) == ("success", 2, mode)
    assert record.machine["spark_master"] == master
    assert len(record.per_worker) == 2
    secret = yaml.safe_load(bucket.credentials.read_text())["aws_secret_key_id"]
    assert secret not in done.stdout + done.stderr


@pytest.mark.cluster
def test_a_sweep_on_emr_trains_for_real(
    master, aws, arguments, bucket, tmp_path, monkeypatch
):
    """Images from S3, the step's own spark-submit, this cluster in place of YARN."""
    for path in sorted((bucket.folder / "images").iterdir()):
        aws.upload_file(str(path), BUCKET, f"images/{path.name}")
    labels = bucket.folder / "Data_Entry_2017_v2020.csv"
    aws.upload_file(str(labels), BUCKET, "labels.csv")
    data = bucket.settings()["data"] | {
        "images": f"s3://{BUCKET}/images/",
        "labels": f"s3://{BUCKET}/labels.csv",
    }
    bucket.write_config(tmp_path / "run.yaml", data=data, training={"epochs": 1})
    one_core = ("--cluster-set", "spark.cores_for_system=3")
    config = ("--config", str(tmp_path / "run.yaml"))
    monkeypatch.setenv("JAVA_HOME", find_java_home())
    monkeypatch.setenv("SPARK_HOME", str(Path(pyspark.__file__).parent))
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    with Machinery(tmp_path, aws, master=master):
        assert launch.main(arguments(2, more=(*one_core, *config))) == 0
    record = read_record(tmp_path / "results")
    assert (record.status, record.workers, record.engine) == ("success", 2, "resident")
    assert record.machine["spark_master"] == master
    assert len(record.per_worker) == 2
    assert record.config["data"]["credentials"] is None
    assert record.scores.findings_scored > 0


def test_more_workers_than_slots_are_refused(master, bucket, tmp_path):
    config = bucket.write_config(tmp_path / "run.yaml")
    settings = ("--set", "runner.workers=3", "--set", "runner.wait_for_workers=5")
    done = submit(master, "--config", config, "--results", tmp_path, *settings)
    assert done.returncode == 2
    # spark-submit sends all that the program prints to standard output.
    assert_one_line(done.stdout, "3 worker(s)", "after 5 s", "Lower runner.workers")
    assert read_record(tmp_path).status == "failed"


def test_a_command_finds_the_cluster(capfd):
    code = "import os; print(os.environ['SPARK_MASTER'])"
    assert main(["--workers", "1", "--", sys.executable, "-c", code]) == 0
    assert capfd.readouterr().out.startswith("spark://127.0.0.1:")


def test_nothing_outlives_the_cluster():
    with start_workers(1) as address:
        port = address.rpartition(":")[2]
        assert f"--port {port}" in processes()
    assert f"--port {port}" not in processes()


def processes() -> str:
    """The command lines of every process."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it ended meanwhile
    return "\n".join(lines)
