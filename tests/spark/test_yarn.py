"""spark-submit --master yarn on Hadoop's own YARN."""

import contextlib
import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE, STDOUT

import numpy as np
import pandas as pd
import pyspark
import pytest

from tests.conftest import ROOT, run_script
from tests.runners.test_runners import read_record
from tests.spark.resident.test_kills import (
    EXACT,
    arguments,
    losses,
    wait_for_an_epoch,
)
from xray.common.processes import scripts_first, stop
from xray.data.labels import FINDINGS
from xray.local.yarn import EXCLUDED, start_yarn
from xray.spark.resident.watch import TOLD_TO_GO

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

WORKERS = 4


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


def exact_config(bucket, folder):
    training = EXACT["training"] | {"epochs": 3}
    return bucket.write_config(folder / "run.yaml", **EXACT | {"training": training})


@pytest.fixture(scope="module")
def alone(bucket, tmp_path_factory):
    """The losses of four workers that are threads of one process."""
    folder = tmp_path_factory.mktemp("alone")
    local = arguments("elephas_spark", exact_config(bucket, folder), folder / "local")
    done = run_script(*local, "--set", f"runner.workers={WORKERS}")
    assert done.returncode == 0, done.stderr
    return losses(read_record(folder / "local").epochs)


def check(record, expected):
    assert (record.status, record.workers) == ("success", WORKERS)
    assert record.machine["spark_master"] == "yarn"
    assert record.retries == []
    assert losses(record.epochs) == pytest.approx(expected, rel=1e-5)


def test_it_trains_as_on_this_machine_alone(hadoop, bucket, tmp_path, alone):
    """In containers of two workers each, with the memory that they ask for."""
    config = exact_config(bucket, tmp_path)
    done = submit(hadoop, *arguments("elephas_spark", config, tmp_path / "yarn"))
    assert done.returncode == 0, done.stderr[-3000:]
    check(read_record(tmp_path / "yarn"), alone)


def test_a_driver_in_a_container_leaves_its_record_on_s3(
    hadoop, bucket, own_bucket, tmp_path, alone
):
    shutil.copytree(bucket.folder, own_bucket.folder, dirs_exist_ok=True)
    config = exact_config(own_bucket, tmp_path)
    done = submit(
        hadoop,
        *("--deploy-mode", "cluster", "--conf", "spark.driver.memoryOverhead=2g"),
        *("--conf", f"spark.yarn.appMasterEnv.PYSPARK_PYTHON={sys.executable}"),
        *arguments("elephas_spark", config, "s3://nih/results/"),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    check(read_record(own_bucket.folder / "results"), alone)


def test_it_stages_and_scores_as_on_this_machine_alone(
    hadoop, bucket, own_bucket, tmp_path
):
    shutil.copytree(bucket.folder, own_bucket.folder, dirs_exist_ok=True)
    config = exact_config(own_bucket, tmp_path)
    models = f"output.models={tmp_path / 'models'}"
    done = run_script(*arguments("sequential", config, tmp_path / "results", models))
    assert done.returncode == 0, done.stderr
    (model,) = (tmp_path / "models").glob("*_last.keras")
    staged = ("--config", config, "--set", "data.staged=s3://nih/staged/")
    done = submit(hadoop, "experiments/stage.py", *staged)
    assert done.returncode == 0, done.stdout[-3000:]
    assert f"{EXACT['data']['limit']} images" in done.stdout
    score = ("experiments/predict.py", "--model", model, *staged)
    done = submit(hadoop, *score, "--out", tmp_path / "yarn")
    assert done.returncode == 0, done.stdout[-3000:]
    done = run_script(*score, "--out", tmp_path / "alone")
    assert done.returncode == 0, done.stderr
    there, here = (
        pd.read_parquet(tmp_path / where / "predictions.parquet").sort_values("key")
        for where in ("yarn", "alone")
    )
    assert (there.status == "ok").all()
    assert there.key.tolist() == here.key.tolist()
    np.testing.assert_allclose(there[[*FINDINGS]], here[[*FINDINGS]], atol=1e-6)


REFRESH = ("RMAdminCLI", "-refreshNodes", "-g", "600", "-server")


def tell_yarn(found, *words):
    """What YARN answers a program of Hadoop's own."""
    program, *words = words
    jars = Path(pyspark.__file__).parent / "jars"
    java = [f"{found['JAVA_HOME']}/bin/java", "-cp"]
    java += [f"{found['HADOOP_CONF_DIR']}:{jars}/*"]
    told = subprocess.run(
        [*java, f"org.apache.hadoop.yarn.client.cli.{program}", *words],
        env=os.environ | found,
        stdout=PIPE,
        text=True,
        timeout=60,
    )
    assert told.returncode == 0
    return told.stdout


@contextlib.contextmanager
def training(hadoop, bucket, folder, *settings):
    """A program whose two executors train, in an epoch after the first; its YARN."""
    run = arguments(
        "elephas_spark",
        exact_config(bucket, folder),
        folder / "results",
        *("runner.workers=2", "training.epochs=150", *settings),
    )
    command = ["spark-submit", "--master", "yarn", "--num-executors", "2"]
    command += ["--executor-memory", "512m", *map(str, run)]
    with start_yarn(hadoop, nodes=2, memory_mb=2560) as found:
        environment = os.environ | found | scripts_first()
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=PIPE, stderr=STDOUT, text=True
        )
        try:
            wait_for_an_epoch(process, folder / "results")
            yield process, found
        finally:
            if process.poll() is None:  # it would wait for a YARN that is gone
                stop(process)


def test_an_application_that_yarn_ends_is_one_line(hadoop, bucket, tmp_path):
    with training(hadoop, bucket, tmp_path) as (process, found):
        listed = tell_yarn(found, "ApplicationCLI", "application", "-list")
        (application,) = re.findall(r"^ *(application_\w+)", listed, re.MULTILINE)
        tell_yarn(found, "ApplicationCLI", "application", "-kill", application)
        said = process.communicate(timeout=100)[0]
    assert process.returncode == 2, said[-3000:]
    (line,) = (line for line in said.splitlines() if line.startswith("error: "))
    assert f"yarn has ended the application {application}" in line
    assert "was killed by user" in line
    assert "--resume" in line
    record = read_record(tmp_path / "results")
    assert record.status == "failed"
    assert "was killed by user" in record.error


def test_a_node_that_is_told_to_go_finishes_its_round(hadoop, bucket, tmp_path):
    """As EMR has it when a cluster is made smaller: YARN awaits what runs there."""
    with training(hadoop, bucket, tmp_path, "runner.min_workers=1") as started:
        process, found = started
        Path(found["HADOOP_CONF_DIR"], EXCLUDED).write_text("127.0.0.3\n")
        tell_yarn(found, *REFRESH)
        said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said[-3000:]
    assert "An executor is told to go" in said
    assert "is gone" not in said
    record = read_record(tmp_path / "results")
    assert {epoch.images for epoch in record.epochs} == {record.images.train}
    workers = [len(epoch.worker_seconds) for epoch in record.epochs]
    assert [count for count, _ in itertools.groupby(workers)] == [2, 1]
    assert [retry.reason for retry in record.retries] == [TOLD_TO_GO]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--executor-cores", "5"], "YARN gives a container 4 core(s) at most"),
        (["--executor-memory", "9g"], "Required executor memory (9216 MB)"),
        (
            ["--num-executors", "9", "--executor-memory", "4g"],
            "Other applications may hold the queue",
        ),
    ],
)
def test_what_yarn_has_no_room_for_is_one_line(
    hadoop, bucket, tmp_path, options, expected
):
    config = exact_config(bucket, tmp_path)
    run = arguments("elephas_spark", config, tmp_path / "yarn")
    done = submit(hadoop, *options, *run, "--set", "runner.wait_for_workers=15")
    assert done.returncode == 2, done.stderr[-3000:]
    # spark-submit prints what Python writes, errors too, to its standard output.
    told = done.stdout.splitlines()
    (line,) = (line for line in told if line.startswith("error: "))
    assert expected in line
    assert "Traceback" not in done.stdout


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
