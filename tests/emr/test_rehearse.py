"""A sweep's steps on Hadoop's YARN, against a run without any of it."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from emr import launch, rehearse
from tests.conftest import ROOT, assert_one_line, run_script
from tests.runners.test_runners import read_record
from tests.spark.resident.test_kills import EXACT, arguments, losses
from xray.common.background import in_background
from xray.records.reading import read_records

SMALL_NODES = (  # a worker each
    *("core.instance_type=m5.large", "core.vcpus=2", "core.memory_mib=8192"),
    "s3_prefix=s3://nih/sweeps/",
)


def rehearsal(bucket, folder, hadoop, *executors):
    """The arguments of a rehearsal whose exact data are in the bucket."""
    training = EXACT["training"] | {"epochs": 3}
    config = bucket.write_config(folder / "run.yaml", **EXACT | {"training": training})
    return config, [
        *("rehearse", "--executors", *executors, "--config", str(config)),
        *("--hadoop", str(hadoop), "--credentials", str(bucket.credentials)),
        *("--results", str(folder / "results")),
        *(part for setting in SMALL_NODES for part in ("--cluster-set", setting)),
    ]


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_the_steps_of_a_sweep_train_on_yarn(hadoop, bucket, own_bucket, tmp_path):
    shutil.copytree(bucket.folder, own_bucket.folder, dirs_exist_ok=True)
    config, command = rehearsal(own_bucket, tmp_path, hadoop, "1", "2")
    done = subprocess.run(
        [sys.executable, "-m", "emr.launch", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    records, left_out = read_records(tmp_path / "results")
    assert ([record.workers for record in records], left_out) == ([1, 2], [])
    alone = run_script(*arguments("sequential", config, tmp_path / "alone"))
    assert alone.returncode == 0, alone.stderr
    expected = losses(read_record(tmp_path / "alone").epochs)
    assert losses(records[0].epochs) == pytest.approx(expected, rel=1e-5)
    assert {record.machine["spark_master"] for record in records} == {"yarn"}
    assert [record.emr["run"] for record in records] == [
        "elephas-e1-r1",
        "elephas-e2-r1",
    ]
    assert (tmp_path / "results" / "report" / "report.html").exists()
    secret = own_bucket.server.secret_key
    assert secret not in done.stdout + done.stderr
    kept = list((own_bucket.folder / "sweeps" / "rehearsal").rglob("runs/*/*.json"))
    assert len(kept) == 2, "where the real sweep does not look"


STEP = """
import pathlib, signal, sys, time

def end(*_):
    time.sleep(1)
    pathlib.Path(sys.argv[1], "record").touch()
    sys.exit(130)

signal.signal(signal.SIGTERM, end)
pathlib.Path(sys.argv[1], "begun").touch()
time.sleep(60)
"""


def test_a_step_that_is_broken_off_has_time_for_its_record(tmp_path, monkeypatch):
    command = [sys.executable, "-c", STEP, str(tmp_path)]
    monkeypatch.setattr(rehearse, "step_arguments", lambda *_: command)

    def interrupt():
        while not (tmp_path / "begun").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    interrupting = in_background(interrupt)
    with pytest.raises(KeyboardInterrupt):
        rehearse._run(None, None, "unused", os.environ)
    interrupting.result(10)
    assert (tmp_path / "record").exists()


def test_a_rehearsal_needs_hadoop_and_a_bucket_of_ones_own(
    own_bucket, tmp_path, capsys
):
    _, command = rehearsal(own_bucket, tmp_path, tmp_path, "1")
    assert launch.main(command) == 2
    assert_one_line(capsys.readouterr().err, str(tmp_path), "tests/yarn/pom.xml")
    assert launch.main([*command, "--cluster-set", "s3_prefix=s3://CHANGE-ME/"]) == 2
    assert_one_line(capsys.readouterr().err, "s3_prefix must name a bucket of yours")
