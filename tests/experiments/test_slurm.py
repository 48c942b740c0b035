"""The jobs for Slurm, on a real one."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.runners.test_runners import read_record
from tests.slurm import Job, slurm
from tests.spark.resident.test_kills import EXACT, WAIT_SECONDS

JOBS = sorted((ROOT / "experiments" / "slurm").glob("*.sh"))
EPOCHS = 3


@pytest.mark.parametrize("script", JOBS, ids=lambda script: script.name)
def test_jobs_pass_shellcheck(script):
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_what_a_job_writes_here_is_no_change_of_the_code():
    """Or every record of such a job would say so, and a secret could be committed."""
    asked = ["git", "check-ignore", "-q", ".spark-a1B2c3/spark-defaults.conf"]
    assert subprocess.run(asked, cwd=ROOT).returncode == 0


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    with slurm(tmp_path_factory.mktemp("slurm")) as found:
        yield found | {"PYTHON": sys.executable}


@pytest.fixture(scope="module")
def config(bucket, tmp_path_factory):
    training = EXACT["training"] | {"epochs": EPOCHS}
    path = tmp_path_factory.mktemp("config") / "run.yaml"
    return bucket.write_config(path, **EXACT | {"training": training})


@pytest.fixture
def submit(environment, config, tmp_path):
    """Submits a job whose record goes to `results`; nothing of it is left after it."""

    def submit(script, *options, settings=()):
        job = (ROOT / "experiments" / "slurm" / script, "--config", config)
        more = [part for setting in settings for part in ("--set", setting)]
        results = ("--results", tmp_path / "results")
        return Job(environment, f"--chdir={ROOT}", *options, *job, *results, *more)

    yield submit
    assert not list(ROOT.glob(".spark-*")), "the secret is gone, and the logs with it"
    assert not subprocess.check_output(["squeue", "-h"], env=environment)


@pytest.mark.cluster
def test_the_sequential_job_trains(submit, tmp_path):
    job = submit("sequential.sh")
    assert job.end() == ("COMPLETED", 0), job.output.read_text()
    record = read_record(tmp_path / "results")
    assert (record.status, record.runner) == ("success", "sequential")
    assert len(record.epochs) == EPOCHS


@pytest.mark.cluster
def test_the_elephas_job_trains_on_a_cluster_of_its_own(submit, tmp_path):
    log = {"spark.eventLog.enabled": "true", "spark.eventLog.dir": str(tmp_path)}
    settings = [f"runner.spark_conf={json.dumps(log)}"]
    job = submit("elephas.sh", "--ntasks=2", settings=settings)
    assert job.end() == ("COMPLETED", 0), job.output.read_text()
    record = read_record(tmp_path / "results")
    assert (record.status, record.workers) == ("success", 2)
    assert record.machine["spark_master"].startswith("spark://localhost:")
    # Who asks for proof gets no answer from a side that gives none.
    (log,) = tmp_path.glob("app-*")
    assert '"spark.authenticate":"true"' in log.read_text()
    assert '"spark.authenticate.secret":"*********(redacted)"' in log.read_text()


@pytest.mark.cluster
def test_a_cancelled_job_leaves_its_record_and_no_secret(submit, tmp_path):
    job = submit("elephas.sh", settings=["training.epochs=9999"])
    deadline = time.monotonic() + WAIT_SECONDS
    while not list(tmp_path.glob("results/checkpoints/*.npz")):
        assert time.monotonic() < deadline, job.output.read_text()
        time.sleep(0.1)
    job.cancel()
    assert job.end()[0] == "CANCELLED"
    assert read_record(tmp_path / "results").status == "aborted"


@pytest.mark.cluster
def test_what_a_job_says_is_kept(submit):
    job = submit("elephas.sh", settings=["training.epochs=0"])
    assert job.end() == ("FAILED", 2)
    told = "training.epochs: input should be greater than or equal to 1"
    assert told in job.output.read_text()
