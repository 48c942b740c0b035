"""Training through an S3 that fails now and then is training: the same record."""

import pytest

from tests.conftest import run_script
from tests.faulty_s3 import burst
from tests.runners.test_runners import read_record
from xray.records.record import RunRecord

pytestmark = pytest.mark.slow


def train(bucket, folder, *script: str) -> RunRecord:
    folder.mkdir()
    config = bucket.write_config(folder / "run.yaml")
    results = folder / "results"
    done = run_script(*script, "--config", config, "--results", results)
    assert done.returncode == 0, done.stderr
    return read_record(results)


def test_a_sweep_through_a_faulty_s3_gives_the_record_of_a_quiet_one(
    bucket, faulty, tmp_path
):
    proxy, disturbed = faulty
    quiet = train(disturbed, tmp_path / "quiet", "experiments/sequential.py")
    # Decoded once, however many epochs there are.
    assert proxy.count("GET", "/images/") == quiet.images.listed == 160
    proxy.plan = burst(seed=7)
    sweep = ("experiments/sweep.py", "--runner", "sequential")
    record = train(disturbed, tmp_path / "faulty", *sweep)
    assert record.work_id == quiet.work_id
    assert record.images == quiet.images
    assert [e.loss for e in record.epochs] == [e.loss for e in quiet.epochs]
    assert record.scores == quiet.scores
