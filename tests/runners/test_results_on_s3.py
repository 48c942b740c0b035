"""`--results s3://...`: record and checkpoint where another machine finds them."""

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from tests.conftest import ROOT, Bucket, run_script
from tests.factories import make_record
from tests.faulty_s3 import FaultyS3
from tests.runners.test_runners import read_record
from tests.spark.resident.test_kills import WAIT_SECONDS, arguments, kill, losses
from xray.records.predictions import find_predictions, predictions_of
from xray.records.record import RunRecord
from xray.runners.cli import main
from xray.training.resuming import keep_epoch

RESULTS = "s3://nih/results/"


@pytest.fixture
def finish(own_bucket, tmp_path, monkeypatch, capsys):
    """Run two epochs through an S3 that answers as `plan` says: code, errors, files."""
    monkeypatch.setenv("XRAY_S3_PATIENCE_SECONDS", "1")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()

    def work(config, journal):
        journal.predictions = predictions_of(
            ["a", "b"], [1, 2], np.eye(2), np.eye(2), ["Mass", "Hernia"]
        )
        journal.log.epochs = make_record().epochs
        keep_epoch(journal, [], journal.tries.file)
        return make_record(config=config.to_dict())

    def finish(plan=lambda request: None, *more):
        with FaultyS3(own_bucket.server.endpoint_url) as proxy:
            proxy.plan = plan
            server = dataclasses.replace(
                own_bucket.server, endpoint_url=proxy.endpoint_url
            )
            server.write_credentials(tmp_path / "faulty.yaml")
            faulty = Bucket(server, own_bucket.folder, tmp_path / "faulty.yaml")
            config = faulty.write_config(tmp_path / "run.yaml")
            options = ["--config", str(config), "--results", RESULTS, *more]
            with patch("xray.runners.sequential.run", work):
                code = main("sequential", "test", options)
        kept = own_bucket.folder / "results"
        return code, capsys.readouterr().err, sorted(kept.rglob("*.*"))

    return finish


def copies(tmp_path):
    return [path for path in (tmp_path / "tmp").rglob("*") if path.is_file()]


def test_record_and_probabilities_are_on_s3_alone(finish, own_bucket, tmp_path):
    code, error, (record, predictions) = finish()
    assert code == 0
    assert f"success record: {RESULTS}{record.name}" in error
    run_id = RunRecord.model_validate_json(record.read_bytes()).run_id
    assert find_predictions([record.parent]) == {run_id: predictions}
    assert [*(tmp_path / "tmp").iterdir()] == []
    done = run_script(
        *("experiments/report.py", RESULTS, "--out", tmp_path / "report"),
        *("--credentials", own_bucket.credentials),
    )
    assert done.returncode == 0, done.stderr
    assert run_id in (tmp_path / "report" / "report.csv").read_text()


def test_a_checkpoint_that_cannot_go_there_is_told(finish, caplog):
    def plan(request):
        return "denied" if request.method == "PUT" and ".npz" in request.path else None

    code, error, files = finish(plan)
    assert code == 2  # the probabilities are refused as well
    assert "Checkpoint " in caplog.text
    assert "cannot be written: S3 denies access to s3://nih/results/ch" in caplog.text


def test_a_record_that_s3_refuses_stays_here_and_says_so(finish, tmp_path):
    def plan(request):
        return "denied" if request.method == "PUT" and ".json" in request.path else None

    code, error, files = finish(plan)
    assert code == 2
    (kept,) = (path for path in copies(tmp_path) if path.suffix == ".json")
    assert RunRecord.model_validate_json(kept.read_bytes()).status == "success"
    (line,) = (line for line in error.splitlines() if line.startswith("error: "))
    assert f"The record is in {kept}: copy it to s3://nih/results" in line
    assert "--resume" in line
    assert "checkpoints" in [path.parent.name for path in files]


@pytest.mark.parametrize("place", ["s3://nowhere/r/", "s3://nih/denied/"])
def test_a_place_that_cannot_be_written_is_refused_before_the_run(
    finish, own_bucket, place
):
    def plan(request):
        return "denied" if "denied" in request.path else None

    code, error, files = finish(plan, "--results", place)
    assert (code, files) == (2, [])
    assert f"--results {place} cannot be written" in error


def test_an_earlier_runs_checkpoint_is_set_aside_there(finish, caplog):
    def stay(request):
        return "denied" if request.method == "DELETE" else None

    _, _, files = finish(stay)
    (first,) = (path for path in files if path.parent.name == "checkpoints")
    content = first.read_bytes()
    _, _, files = finish()
    (aside,) = (path for path in files if path.parent.name == "checkpoints")
    assert aside.read_bytes() == content
    assert f"move {RESULTS}checkpoints/{aside.name} to {first.name}" in caplog.text


@pytest.mark.cluster
def test_a_lost_machine_costs_at_most_an_epoch(bucket, own_bucket, tmp_path):
    """Another machine, which has none of the first one's files, goes on from S3."""
    shutil.copytree(bucket.folder, own_bucket.folder, dirs_exist_ok=True)
    config = own_bucket.write_config(tmp_path / "run.yaml", training={"epochs": 60})
    done = run_script(*arguments("sequential", config, tmp_path / "whole"))
    assert done.returncode == 0, done.stderr

    command = [sys.executable, *map(str, arguments("sequential", config, RESULTS))]
    results = own_bucket.folder / "results"
    first, second = (tmp_path / name for name in ("first", "second"))
    for folder in (first, second):
        folder.mkdir()
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"TMPDIR": str(first)}
    )
    deadline = time.monotonic() + WAIT_SECONDS
    while not [*results.glob("checkpoints/*.npz")]:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    kill(process)
    shutil.rmtree(first)

    done = subprocess.run(
        [*command, "--resume"],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(second)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    resumed, whole = read_record(results), read_record(tmp_path / "whole")
    assert resumed.resumed[0].epoch >= 1
    assert losses(resumed.epochs) == pytest.approx(losses(whole.epochs), rel=1e-5)
    assert resumed.scores.macro_auc.value == whole.scores.macro_auc.value
    assert not [*results.glob("checkpoints/*")]
    assert not [path for path in Path(second).rglob("*") if path.is_file()]
