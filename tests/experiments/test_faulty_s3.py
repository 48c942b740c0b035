"""Training through an S3 that fails now and then is training: the same record."""

import pytest

from tests.conftest import run_script
from tests.faulty_s3 import burst
from tests.runners.test_runners import read_record
from xray.records.record import RunRecord

pytestmark = pytest.mark.cluster


def train(bucket, folder, *script: str) -> RunRecord:
    folder.mkdir()
    config = bucket.write_config(folder / "run.yaml", runner={"workers": 2})
    results = folder / "results"
    done = run_script(*script, "--config", config, "--results", results)
    assert done.returncode == 0, done.stderr
    return read_record(results)


@pytest.mark.parametrize(
    "script",
    [
        ("experiments/sweep.py", "--runner", "sequential"),
        ("experiments/elephas_spark.py",),
    ],
    ids=["sweep", "elephas"],
)
def test_training_through_a_faulty_s3_gives_the_record_of_a_quiet_one(
    faulty, tmp_path, script
):
    proxy, bucket = faulty
    quiet = train(bucket, tmp_path / "quiet", *script)
    # Decoded once, however many epochs there are.
    assert proxy.count("GET", "/images/") == quiet.images.listed == 160
    proxy.plan = burst(seed=7)
    disturbed = train(bucket, tmp_path / "disturbed", *script)
    assert disturbed.work_id == quiet.work_id
    assert disturbed.images == quiet.images
    assert [e.loss for e in disturbed.epochs] == [e.loss for e in quiet.epochs]
    assert disturbed.scores == quiet.scores
