"""The jobs for Slurm, on a real one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.runners.test_runners import read_record
from tests.slurm import slurm, submit
from tests.spark.resident.test_kills import EXACT

JOBS = sorted((ROOT / "experiments" / "slurm").glob("*.sh"))
EPOCHS = 3


@pytest.mark.parametrize("script", JOBS, ids=lambda script: script.name)
def test_jobs_pass_shellcheck(script):
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


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
def run(environment, config, tmp_path):
    """Runs a job; its record, or what it said where it failed."""

    def run(script, *options, code=0, more=()):
        job = (ROOT / "experiments" / "slurm" / script, "--config", config)
        results = ("--results", tmp_path / "results")
        place = f"--chdir={ROOT}"
        ended, said = submit(environment, place, *options, *job, *results, *more)
        assert ended == code, said
        return said if code else read_record(tmp_path / "results")

    return run


@pytest.mark.cluster
def test_the_sequential_job_trains(run):
    record = run("sequential.sh")
    assert (record.status, record.runner, len(record.epochs)) == (
        *("success", "sequential"),
        EPOCHS,
    )


@pytest.mark.cluster
def test_the_elephas_job_trains_on_a_cluster_of_its_own(run, environment, tmp_path):
    before = set(ROOT.iterdir())
    log = {"spark.eventLog.enabled": "true", "spark.eventLog.dir": str(tmp_path)}
    settings = f"runner.spark_conf={json.dumps(log)}"
    record = run("elephas.sh", "--ntasks=2", more=("--set", settings))
    assert (record.status, record.workers) == ("success", 2)
    assert record.machine["spark_master"].startswith("spark://localhost:")
    assert set(ROOT.iterdir()) == before, "the secret is gone, and the logs with it"
    assert not subprocess.check_output(["squeue", "-h"], env=environment)
    # Who asks for proof gets no answer from a side that gives none.
    (log,) = tmp_path.glob("app-*")
    assert '"spark.authenticate":"true"' in log.read_text()
    assert '"spark.authenticate.secret":"*********(redacted)"' in log.read_text()


@pytest.mark.cluster
def test_what_a_job_says_is_kept(run):
    said = run("elephas.sh", code=2, more=("--set", "training.epochs=0"))
    assert "training.epochs: input should be greater than or equal to 1" in said
