"""Processes really killed in the middle of an epoch, and what is left of the run."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import psutil
import pytest

from tests.conftest import (
    ROOT,
    assert_becomes_empty,
    assert_one_line,
    run_script,
    scratch_environment,
)
from tests.runners.test_runners import read_record
from xray.runners.cli import main
from xray.training.checkpoint import Progress
from xray.training.local import train_locally

pytestmark = pytest.mark.cluster

EPOCHS, IMAGES = 24, 80
WAIT_SECONDS = 300
# Nothing is drawn and no optimizer state is lost: any two runs end with equal losses,
# if each image was counted once.
EXACT = {
    "data": {"limit": IMAGES},
    "training": {"epochs": EPOCHS, "optimizer": "sgd", "learning_rate": 0.05},
    "model": {"dropout": 0},
}


def arguments(script, config, results, *settings):
    overrides = [part for setting in settings for part in ("--set", setting)]
    return [f"experiments/{script}.py", "--config", config, "--results", results,
            *overrides]  # fmt: skip


def start_and_wait_for_an_epoch(*command, stderr=None):
    """The process, in the middle of an epoch after the first."""
    results = Path(command[command.index("--results") + 1])
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=os.environ | scratch_environment(results.parent / "scratch"),
        stderr=stderr,
        text=True,
    )
    wait_for_an_epoch(process, results)
    return process


def wait_for_an_epoch(process, results):
    """Wait until one has been kept."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not list(results.glob("checkpoints/*.npz")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill(process):
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def kept(results: Path) -> Progress:
    (path,) = results.glob("checkpoints/*.npz")
    with np.load(path) as file:
        return Progress.model_validate_json(file["progress"].tobytes())


def losses(epochs):
    return [epoch.loss for epoch in epochs]


def assert_resumed(record, before, results):
    assert record.status == "success"
    epochs = record.config["training"]["epochs"]
    assert [epoch.epoch for epoch in record.epochs] == [*range(1, epochs + 1)]
    assert losses(record.epochs)[: len(before.epochs)] == losses(before.epochs)
    assert 0 < len(before.epochs) < epochs
    (resume,) = record.resumed
    assert resume.epoch == len(before.epochs)
    assert resume.earlier_seconds == before.total_seconds < record.phases.total
    assert record.images_trained == epochs * record.images.train
    assert not (results / "checkpoints").exists()
    phases = record.phases.model_dump()
    total = phases.pop("total")
    assert 0.8 * total < sum(phases.values()) <= total


def test_sequential_run_goes_on_exactly(bucket, own_bucket, tmp_path, capsys):
    (own_bucket.folder / "images").mkdir()
    (image, *_) = copied = sorted(bucket.folder.glob("images/*.png"))[:IMAGES]
    for path in (*copied, *bucket.folder.glob("*.csv")):
        shutil.copy(path, own_bucket.folder / path.relative_to(bucket.folder))
    # Dropout and Adam: their state must come back as well.
    config = own_bucket.write_config(tmp_path / "run.yaml", training={"epochs": 60})
    whole, results = tmp_path / "whole", tmp_path / "resumed"
    done = run_script(*arguments("sequential", config, whole))
    assert done.returncode == 0, done.stderr
    command = arguments("sequential", config, results)
    kill(start_and_wait_for_an_epoch(*command))
    before = kept(results)

    changed = own_bucket.folder / "images" / image.name
    changed.write_bytes(image.read_bytes() + b"more")
    again = [*map(str, command[1:]), "--resume"]
    with patch("xray.runners.sequential.run", train_locally):  # this process has begun
        assert main("sequential", "The same, in this process.", again) == 2
    error = capsys.readouterr().err
    assert_one_line(error, "needs the data of the first try", "_content")
    for path in results.glob("*.json"):
        path.unlink()
    changed.write_bytes(image.read_bytes())

    done = run_script(*command, "--resume")
    assert done.returncode == 0, done.stderr
    resumed, undisturbed = read_record(results), read_record(whole)
    assert_resumed(resumed, before, results)
    assert losses(resumed.epochs) == pytest.approx(losses(undisturbed.epochs), rel=1e-5)
    assert resumed.scores.macro_auc.value == undisturbed.scores.macro_auc.value
    assert undisturbed.resumed == []


@pytest.fixture(scope="module")
def config(bucket, tmp_path_factory):
    runner = {"workers": 2, "outer_momentum": 0.5}  # it is to be resumed as well
    return bucket.write_config(
        tmp_path_factory.mktemp("kills") / "run.yaml", runner=runner, **EXACT
    )


@pytest.fixture(scope="module")
def driver_killed(config, tmp_path_factory):
    """What was kept of a resident run whose driver was killed, and its second try."""
    results = tmp_path_factory.mktemp("driver") / "results"
    command = arguments("elephas_spark", config, results)
    kill(start_and_wait_for_an_epoch(*command))
    assert_becomes_empty(results.parent / "scratch")
    before = kept(results)
    done = run_script(*command, "--resume")
    assert done.returncode == 0, done.stderr
    record = read_record(results)
    assert_resumed(record, before, results)
    return record


@pytest.fixture(scope="module")
def executor_killed(config, tmp_path_factory):
    """A resident run that lost an executor's Java process, Python workers and all."""
    results = tmp_path_factory.mktemp("executor") / "results"
    process = start_and_wait_for_an_epoch(
        *arguments("elephas_spark", config, results),
        *("--set", "runner.master=local-cluster[2,1,1024]"),
        *("--set", "runner.executor_memory=1g"),
    )
    executors(process)[0].kill()
    assert process.wait(WAIT_SECONDS) == 0
    return read_record(results)


def executors(process: subprocess.Popen) -> list[psutil.Process]:
    """Java processes of the executors that `process` started."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended
            if any("CoarseGrainedExecutorBackend" in part for part in child.cmdline()):
                found.append(child)
    return found


def test_a_killed_driver_goes_on_after_its_last_epoch(driver_killed):
    assert driver_killed.exchange["rounds"] == EPOCHS
    assert driver_killed.exchange["attempts"] == 2  # one a try
    assert driver_killed.retries == []
    assert driver_killed.epochs[0].sync_gap_seconds is None
    assert driver_killed.epochs[driver_killed.resumed[0].epoch].sync_gap_seconds is None


def test_a_killed_executor_is_named_and_the_job_finishes(executor_killed):
    assert executor_killed.status == "success"
    assert len(executor_killed.epochs) == executor_killed.exchange["rounds"] == EPOCHS
    assert executor_killed.exchange["attempts"] == 2
    (retry,) = executor_killed.retries
    assert 1 < retry.epoch <= EPOCHS
    assert retry.rounds == retry.epoch - 1
    assert retry.worker in (0, 1)
    # Spark names the lost executor, or the other task that it stopped for it.
    assert "finished unsuccessfully" in retry.reason
    assert executor_killed.resumed == []


@pytest.fixture(scope="module")
def undisturbed(config, tmp_path_factory):
    results = tmp_path_factory.mktemp("undisturbed")
    done = run_script(*arguments("elephas_spark", config, results))
    assert done.returncode == 0, done.stderr
    return read_record(results)


def test_every_image_counts_once_whoever_is_killed(
    driver_killed, executor_killed, undisturbed
):
    once = np.array(losses(undisturbed.epochs))
    # Were an epoch trained twice, those after it would have the losses of their next.
    assert (np.abs(np.diff(once)) / once[1:]).min() > 1e-4
    for record in (driver_killed, executor_killed):
        assert sum(w.images for w in record.per_worker) == record.images.train
        assert losses(record.epochs) == pytest.approx(once, rel=1e-5)


def test_an_elastic_run_goes_on_with_fewer_workers_than_at_first(bucket, tmp_path):
    config = bucket.write_config(tmp_path / "run.yaml", **EXACT)
    results = tmp_path / "results"
    elastic = ("runner.master=local[2]", "runner.min_workers=1")
    command = arguments("elephas_spark", config, results, *elastic)
    kill(start_and_wait_for_an_epoch(*command, "--set", "runner.workers=2"))
    before = kept(results)
    done = run_script(*command, "--set", "runner.workers=1", "--resume")
    assert done.returncode == 0, done.stderr
    record = read_record(results)
    assert_resumed(record, before, results)
    workers = [len(epoch.worker_seconds) for epoch in record.epochs]
    first = len(before.epochs)
    assert workers == [2] * first + [1] * (EPOCHS - first)
    assert {epoch.images for epoch in record.epochs} == {record.images.train}


def test_an_elastic_run_starts_with_as_many_as_there_is_room_for(bucket, tmp_path):
    config = bucket.write_config(tmp_path / "run.yaml", **EXACT)
    settings = ("runner.master=local[2]", "runner.workers=3", "runner.min_workers=2")
    command = arguments("elephas_spark", config, tmp_path / "results", *settings)
    done = run_script(*command, "--set", "training.epochs=2")
    assert done.returncode == 0, done.stderr
    record = read_record(tmp_path / "results")
    assert record.workers == 3
    assert [len(epoch.worker_seconds) for epoch in record.epochs] == [2, 2]
    assert {epoch.images for epoch in record.epochs} == {record.images.train}


def test_a_killed_java_is_named(bucket, tmp_path):
    config = bucket.write_config(tmp_path / "run.yaml", **EXACT)
    command = arguments("elephas_spark", config, tmp_path / "results")
    process = start_and_wait_for_an_epoch(*command, stderr=subprocess.PIPE)
    children = psutil.Process(process.pid).children()
    (java,) = [child for child in children if child.name() == "java"]
    java.kill()
    error = process.communicate(timeout=WAIT_SECONDS)[1]
    assert process.returncode == 2
    assert "Traceback" not in error
    assert "Java process ended unasked (code -9)" in error
    record = read_record(tmp_path / "results")
    assert record.status == "failed"
    assert 0 < len(record.epochs) < EPOCHS
