"""Archives other than NIH's through runner, saved model, scoring and report."""

import json

import pandas as pd
import pytest
import yaml

from tests.conftest import run_script
from tests.data.test_schemas import OWN, chexpert, own_columns, vindr
from tests.runners.test_runners import read_record
from xray.config.data import DataConfig
from xray.model.saved import read_info

pytestmark = pytest.mark.slow


@pytest.fixture
def train(tmp_path):
    """Trains on a drawn archive in a folder; its record and its model."""

    def train(layout, script, **runner):
        data = {
            "images": str(tmp_path / "images"),
            "labels": str(tmp_path / "labels.csv"),
            "image_size": 16,
            "test_fraction": 0.4,
            "min_train_positives": 0,
            **layout(tmp_path),
        }
        config = tmp_path / "run.yaml"
        settings = {
            "data": data,
            "model": {"backbone": "Tiny"},
            "training": {"epochs": 1, "batch_size": 2},
            "runner": runner,
            "output": {"models": str(tmp_path / "models")},
        }
        config.write_text(yaml.safe_dump(settings))
        results = tmp_path / "results"
        done = run_script(script, "--config", config, "--results", results)
        assert done.returncode == 0, done.stderr
        (model,) = (tmp_path / "models").glob("*.keras")
        return read_record(results), model, DataConfig.model_validate(data).findings

    return train


def check(record, model, findings, folder):
    """Every part has these findings, and scoring the test set gives the run's AUC."""
    assert list(record.scores.findings) == list(findings)
    assert read_info(model).findings == list(findings)
    done = run_script(
        *("experiments/predict.py", "--model", model, "--subset", "test"),
        *("--out", folder / "predictions"),
    )
    assert done.returncode == 0, done.stderr
    rows = pd.read_csv(folder / "predictions" / "predictions.csv")
    assert list(rows) == ["key", *findings, "unlike", "model_id", "status"]
    assert len(rows) == record.images.test
    summary = json.loads((folder / "predictions" / "summary.json").read_text())
    assert (summary["auc_difference"] or 0) < 1e-6
    found = {
        name: one["positives"] for name, one in summary["scores"]["findings"].items()
    }
    assert found == {n: one.positives for n, one in record.scores.findings.items()}
    done = run_script(
        "experiments/report.py", folder / "results", "--out", folder / "r"
    )
    assert done.returncode == 0, done.stderr
    text = (folder / "r" / "report.md").read_text()
    assert f"Macro AUC, {len(findings)} labels" in text


def ignoring(folder):
    """Of which every Edema is uncertain."""
    return {**chexpert(folder), "uncertain": "ignored"}


def test_fourteen_findings_by_resident_workers(train, tmp_path):
    record, *rest = train(ignoring, "experiments/elephas_spark.py", workers=2)
    check(record, *rest, tmp_path)
    edema = record.scores.findings["Edema"]
    assert (edema.positives, edema.negatives) == (0, 0)
    assert record.epochs[0].loss > 0


def test_twenty_eight_findings_of_dicom_files(train, tmp_path):
    check(*train(vindr, "experiments/sequential.py"), tmp_path)


def test_two_findings_of_ones_own_and_a_model_that_has_others(train, tmp_path):
    record, model, findings = train(own_columns, "experiments/sequential.py")
    check(record, model, findings, tmp_path)
    done = run_script(
        *("experiments/predict.py", "--model", model, "--out", tmp_path / "x"),
        *("--set", "data.label_schema=chexpert", "--set", "data.own_labels=null"),
    )
    assert done.returncode == 2
    assert "data.label_schema must be that of the model, which tells Tb, Fluid" in (
        done.stderr
    )
    swapped = json.dumps({**OWN, "findings": ["Fluid", "Tb"]})
    done = run_script(
        *("experiments/sequential.py", "--config", tmp_path / "run.yaml"),
        *("--set", f"model.weights={model}", "--set", f"data.own_labels={swapped}"),
        *("--results", tmp_path / "other"),
    )
    assert done.returncode == 2
    assert "keras tells Tb, Fluid. Got other findings, or another order: Fluid, Tb" in (
        done.stderr
    )
