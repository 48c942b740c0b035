"""A sweep's steps and the scripts on Hadoop's YARN, against a run without any of it."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import time
from pathlib import Path

import pytest

from emr import launch, rehearse
from tests.conftest import ROOT, assert_one_line, run_script
from tests.runners.test_runners import read_record
from tests.spark.resident.test_kills import arguments, losses
from tests.spark.test_yarn import exact_config
from xray.common.background import in_background
from xray.records.reading import read_records

SMALL_NODES = (  # a worker each
    *("core.instance_type=m5.large", "core.vcpus=2", "core.memory_mib=8192"),
    "s3_prefix=s3://nih/sweeps/",
)


@pytest.fixture(scope="module")
def alone(bucket, tmp_path_factory):
    """The losses of the sequential runner, which one worker has as well."""
    folder = tmp_path_factory.mktemp("alone")
    run = arguments("sequential", exact_config(bucket, folder), folder / "results")
    done = run_script(*run)
    assert done.returncode == 0, done.stderr
    return pytest.approx(losses(read_record(folder / "results").epochs), rel=1e-5)


def rehearsal(bucket, folder, hadoop, *executors):
    """The arguments of a rehearsal whose exact data are in the bucket."""
    config = exact_config(bucket, folder)
    return [
        *("rehearse", "--executors", *executors, "--config", str(config)),
        *("--hadoop", str(hadoop), "--credentials", str(bucket.credentials)),
        *("--results", str(folder / "results")),
        *(part for setting in SMALL_NODES for part in ("--cluster-set", setting)),
    ]


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_the_steps_of_a_sweep_train_on_yarn(
    hadoop, bucket, own_bucket, tmp_path, alone
):
    shutil.copytree(bucket.folder, own_bucket.folder, dirs_exist_ok=True)
    command = rehearsal(own_bucket, tmp_path, hadoop, "1", "2")
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
    assert losses(records[0].epochs) == alone
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


def pack_environment(archive):
    """Python in the form of `emr.launch pack`, whose packages are this one's."""
    packages = Path(sysconfig.get_path("purelib"))
    with tarfile.open(archive, "w:gz") as file:
        file.add(Path(sys.prefix, "pyvenv.cfg"), "pyvenv.cfg")
        for place, target in (
            ("bin/python", Path(sys.executable).resolve()),
            (packages.relative_to(sys.prefix), packages),
        ):
            link = tarfile.TarInfo(str(place))
            link.type, link.linkname = tarfile.SYMTYPE, str(target)
            file.addfile(link)


@pytest.mark.cluster
@pytest.mark.timeout(300)
def test_the_script_trains_with_a_python_that_yarn_unpacks(
    hadoop, bucket, tmp_path, alone
):
    pack_environment(tmp_path / "environment.tar.gz")
    run = arguments(
        "elephas_spark", exact_config(bucket, tmp_path), tmp_path / "results"
    )[1:]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "xray.local_yarn", "--hadoop", str(hadoop)),
            *("--nodes", "1", "--memory-mb", "6144", "--"),
            *("emr/run_training.sh", "1", str(tmp_path / "environment.tar.gz")),
            *map(str, run),
        ],
        cwd=ROOT,
        env=os.environ | {"EXECUTOR_CORES": "1", "EXECUTOR_MEMORY": "512m"},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    record = read_record(tmp_path / "results")
    assert (record.workers, record.machine["spark_master"]) == (1, "yarn")
    assert losses(record.epochs) == alone


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
    command = rehearsal(own_bucket, tmp_path, tmp_path, "1")
    assert launch.main(command) == 2
    assert_one_line(capsys.readouterr().err, str(tmp_path), "tests/yarn/pom.xml")
    assert launch.main([*command, "--cluster-set", "s3_prefix=s3://CHANGE-ME/"]) == 2
    assert_one_line(capsys.readouterr().err, "s3_prefix must name a bucket of yours")
