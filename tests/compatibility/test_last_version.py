"""What version 0.1.0 of the flat layout wrote (commit 9f6f0d0) is read by this one.

Its files stand beside this test: made of the drawn images of the `bucket` fixture with
the network Tiny, by the sequential runner and by two resident workers that were ended
after the first of two epochs.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from xray.common.background import in_background
from xray.data.dataset import find_dataset
from xray.model.network import build_model, weights_digest
from xray.records.reading import read_records
from xray.records.record import RunRecord
from xray.saved_model import load_model
from xray.spark.resident.driver import train_resident
from xray.storage.credentials import load_access
from xray.storage.results_folder import ResultsFolder
from xray.storage.s3 import Storage
from xray.training.checkpoint import CheckpointFile, Tries
from xray.training.journal import Journal
from xray.training.local import train_locally
from xray.training.recording import build_record

FILES = Path(__file__).parent
CHECKPOINTS = {
    "sequential": "sequential_820f6641470604b0.npz",
    "elephas": "elephas_b8f87392251bb722.npz",
}


@pytest.fixture(scope="module")
def whole() -> RunRecord:
    """Of the run that was not ended."""
    return RunRecord.model_validate_json((FILES / "record.json").read_text())


def resumed_journal(runner, config, folder, workers) -> Journal:
    """Goes on from the old checkpoint, found under the name it was given then."""
    file = CheckpointFile(ResultsFolder(folder), runner, config)
    assert file.path.name == CHECKPOINTS[runner]
    file.path.parent.mkdir()
    shutil.copy(FILES / "checkpoints" / file.path.name, file.path)
    tries = Tries(file, file.load())
    return Journal(runner, config, workers=workers, tries=tries)


def test_a_record_is_read(whole, tmp_path):
    shutil.copy(FILES / "record.json", tmp_path)
    (record,), left_out = read_records(tmp_path)
    assert left_out == []
    assert record.git["commit"].startswith("9f6f0d0")
    written = json.loads((FILES / "record.json").read_text())
    assert record.model_dump(mode="json", exclude_unset=True) == written


@pytest.mark.cluster
def test_a_sequential_run_goes_on(bucket, tmp_path, whole):
    journal = resumed_journal("sequential", bucket.config(), tmp_path, 1)
    record = train_locally(journal.config, journal)
    assert (record.work_id, record.work) == (whole.work_id, whole.work)
    assert record.initial_weights == whole.initial_weights
    first, second = record.epochs
    assert first.loss == pytest.approx(whole.epochs[0].loss, abs=1e-5)
    # A rounding apart, however many threads add up; the epochs are 0.01 apart.
    assert second.loss == pytest.approx(whole.epochs[1].loss, abs=1e-4)


@pytest.mark.cluster
def test_a_run_of_resident_workers_goes_on(bucket, cluster, tmp_path):
    config = bucket.config(runner={"workers": 2})
    journal = resumed_journal("elephas", config, tmp_path, 2)
    access = load_access(config.data.credentials, config.data.endpoint_url)
    model = build_model(config)
    journal.initial_weights = weights_digest(model.get_weights())
    dataset = in_background(find_dataset, config.data, Storage(access))
    train_resident(journal, cluster, model, access, dataset)
    record = build_record(journal)
    assert [epoch.epoch for epoch in record.epochs] == [1, 2]
    assert record.exchange["rounds"] == 2
    (resume,) = record.resumed
    assert resume.epoch == 1


@pytest.mark.cluster
def test_a_saved_model_predicts(whole):
    model, info = load_model(FILES / "models" / "tiny.keras")
    assert info.work_id == whole.work_id
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 1), np.uint8)
    assert model.predict(pixels, verbose=0).shape == (4, 15)


@pytest.mark.cluster
def test_pipelines_find_their_stages(cluster):
    from pyspark.ml import Pipeline, PipelineModel
    from pyspark.sql import SparkSession

    session = SparkSession(cluster.context)
    (estimator,) = Pipeline.load(str(FILES / "pipeline")).getStages()
    assert estimator.run_config().model.backbone == "Tiny"
    network, featurizer = PipelineModel.load(str(FILES / "pipeline_model")).stages
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 1), np.uint8)
    rows = [(bytearray(one.tobytes()),) for one in pixels]
    frame = session.createDataFrame(rows, "pixels binary")
    found = featurizer.transform(network.transform(frame)).collect()
    model, _ = load_model(FILES / "models" / "tiny.keras")
    expected = model.predict(pixels, verbose=0)
    np.testing.assert_allclose([r.probabilities for r in found], expected, atol=1e-5)
    assert len(found[0].features) == 32
