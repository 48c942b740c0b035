"""How a run ends on a disk that is full: everything computed is somewhere, and said."""

import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from tests.conftest import fill
from tests.factories import make_record
from tests.model.test_saved import network
from xray.common.errors import UserError
from xray.model.saved import read_info
from xray.records.predictions import (
    find_predictions,
    predictions_of,
    read_predictions,
)
from xray.records.reading import read_records
from xray.records.record import RunRecord
from xray.runners.cli import main
from xray.training.resuming import keep_epoch


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture
def finish(model, own_bucket, tmp_path, capsys, monkeypatch):
    """Run two epochs, fill the disk `full`, and end by `error` or well."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))

    def finish(
        results, full, error=None, models=tmp_path / "models", full_before=False
    ):
        def work(config, journal):
            journal.log.epochs = make_record().epochs
            journal.timer.seconds["fit"] = 10.0
            journal.keep_models(model)
            journal.predictions = predictions_of(
                ["a", "b"], [1, 2], np.eye(2), np.eye(2), ["Mass", "Hernia"]
            )
            if full_before:
                fill(full)
            keep_epoch(journal, [], journal.tries.file)
            fill(full)
            if error:
                raise error
            return make_record(config=config.to_dict())

        config = own_bucket.write_config(
            tmp_path / "run.yaml", output={"models": str(models)}
        )
        arguments = ["--config", str(config), "--results", str(results)]
        with patch("xray.runners.sequential.run", work):
            code = main("sequential", "test", arguments)
        return code, capsys.readouterr().err

    return finish


def errors(text: str) -> list[str]:
    assert "Traceback" not in text
    return [line for line in text.splitlines() if line.startswith("error: ")]


def test_a_full_results_folder_loses_nothing(finish, small_disk, tmp_path):
    code, error = finish(small_disk, small_disk)
    assert code == 2
    (line,) = errors(error)
    (kept,) = (tmp_path / "tmp").glob("*.json")
    for part in ("No space left on device", str(kept), "move it there", "--resume"):
        assert part in line
    record = RunRecord.model_validate_json(kept.read_bytes())
    beside = kept.with_name(f"{record.run_id}.predictions.npz")
    assert read_predictions(beside).findings == ["Mass", "Hernia"]
    saved = record.models["last"]
    assert saved.path.startswith(str(tmp_path / "models"))
    assert read_info(saved.path).model_id == saved.model_id
    assert [*small_disk.glob("checkpoints/*.npz")]
    assert read_records(small_disk) == ([], [])


@pytest.mark.parametrize(
    ("raised", "status", "expected"),
    [
        (UserError("No such thing."), "failed", 2),
        (KeyboardInterrupt(), "aborted", 130),
    ],
)
def test_a_run_that_ends_early_keeps_its_record(
    finish, small_disk, tmp_path, raised, status, expected
):
    code, error = finish(small_disk, small_disk, raised)
    assert code == expected
    (kept,) = (tmp_path / "tmp").glob("*.json")
    assert RunRecord.model_validate_json(kept.read_bytes()).status == status
    assert any(str(kept) in line for line in errors(error))
    assert ("No such thing" in errors(error)[-1]) == (status == "failed")
    assert [*small_disk.glob("checkpoints/*.npz")]


def test_without_any_room_the_record_is_printed(finish, small_disk, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    code, error = finish(small_disk, small_disk, UserError("No."))
    assert code == 2
    (printed,) = (line for line in error.splitlines() if line.startswith("{"))
    assert RunRecord.model_validate_json(printed).status == "failed"
    assert len(errors(error)) == 2


def test_a_full_disk_of_models_leaves_record_and_model(finish, small_disk, tmp_path):
    results = tmp_path / "results"
    code, error = finish(results, small_disk, models=small_disk / "models")
    assert code == 2
    (line,) = errors(error)
    assert f"Models are in {results / 'models'} instead of output.models" in line
    ((record,), _) = read_records(results)
    assert [*find_predictions([results])] == [record.run_id]
    assert Path(record.models["last"].path).is_file()
    assert not (results / "checkpoints").exists()


@pytest.mark.parametrize("full_before", [True, False])
def test_a_model_without_a_place_is_in_the_checkpoint_or_the_temporary_folder(
    finish, small_disk, tmp_path, full_before
):
    models = small_disk / "models"
    code, error = finish(small_disk, small_disk, None, models, full_before)
    assert code == 2
    first, second = errors(error)
    assert "The record cannot be written" in second
    saved = [*(tmp_path / "tmp").glob("*_last.keras")]
    checkpoint = [*small_disk.glob("checkpoints/*.npz")]
    if full_before:
        assert f"Models are in {tmp_path / 'tmp'}" in first
        assert read_info(saved[0]).which == "last"
        assert checkpoint == []
    else:
        assert "No model is saved" in first
        assert saved == []
        assert len(checkpoint) == 1


def test_a_disk_that_fills_up_is_the_users_to_mend(finish, small_disk, tmp_path):
    def write():
        fill(small_disk)
        try:
            (small_disk / "more").write_bytes(bytes(4096))
        except OSError as error:
            return error

    code, error = finish(tmp_path / "results", small_disk, write())
    assert code == 2
    (line,) = errors(error)
    assert "No space left on device" in line
    assert "Make room" in line
