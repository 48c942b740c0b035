"""Bad input through the command line: one line, exit code 2, a record that says why."""

import pytest

from tests.conftest import assert_one_line
from tests.runners.test_runners import read_record
from xray.runners.cli import main


@pytest.fixture
def run(bucket, tmp_path, capsys):
    """The exit code, the error output and the results folder of a run."""

    def run(*settings, **sections):
        config = bucket.write_config(tmp_path / "run.yaml", **sections)
        results = tmp_path / "results"
        overrides = [part for setting in settings for part in ("--set", setting)]
        arguments = ["--config", str(config), "--results", str(results), *overrides]
        code = main("elephas", "test", arguments)
        return code, capsys.readouterr().err, results

    return run


BAD_SETTINGS = {
    "modle.alpha=1": "Did you mean 'model'?",
    "training.optimizer=adamm": "'rmsprop', 'adam', 'adamw'",
    "runner.backend=jax": "runner.backend is for the gpu runner alone",
    "runner.mode=sync": "'synchronous', 'asynchronous' or 'hogwild'",
    "model.backbone=MobilNet": "must be one of MobileNet",
    "model.backbone=Xception": "at least 71 for Xception",
    "training": "--set takes section.key=value",
}


@pytest.mark.parametrize(("setting", "expected"), BAD_SETTINGS.items())
def test_bad_settings_start_nothing(run, setting, expected):
    code, error, results = run(setting)
    assert code == 2
    assert_one_line(error, expected)
    assert not results.exists() or not list(results.iterdir())


BAD_RUNS = {
    "data.images=s3://nowhere/": "Bucket 'nowhere' does not exist",
    "data.images=s3://nih/none/": "No image",
    "data.labels=s3://nih/none.csv": "Label file s3://nih/none.csv cannot be read",
    "data.endpoint_url=http://127.0.0.1:9": "does not answer",
    "data.credentials=/none.yaml": "Credentials file /none.yaml cannot be read",
    "data.min_train_positives=100": "Too few: Atelectasis",
    "runner.workers=200": "at most the",
    "training.batch_size=500": "training.batch_size must be at most",
    "runner.workers=16": "The smallest partition has",
    "runner.master=spark://127.0.0.1:9": "spark://127.0.0.1:9 does not answer",
}


@pytest.mark.parametrize(("setting", "expected"), BAD_RUNS.items())
def test_bad_runs_leave_a_record_that_says_why(run, setting, expected):
    code, error, results = run(setting, "runner.engine=stock")
    assert code == 2
    assert_one_line(error, expected)
    record = read_record(results)
    assert record.status == "failed"
    assert expected in record.error
    assert record.phases.total > 0


def test_a_fault_of_ours_says_where_to_look(bucket, tmp_path, capsys, monkeypatch):
    def broken(config, journal):
        raise RuntimeError("first line\nsecond line")

    config = bucket.write_config(tmp_path / "run.yaml")
    arguments = ["--config", str(config), "--results", str(tmp_path / "results")]
    monkeypatch.setattr("xray.runners.sequential.run", broken)
    assert main("sequential", "test", arguments) == 1
    assert_one_line(capsys.readouterr().err, "RuntimeError: first line", "--debug")
    assert read_record(tmp_path / "results").error == "RuntimeError: first line"


def test_results_that_cannot_be_written_are_refused(bucket, tmp_path, capsys):
    config = bucket.write_config(tmp_path / "run.yaml")
    file = tmp_path / "file"
    file.touch()
    arguments = ["--config", str(config), "--results", str(file)]
    assert main("sequential", "test", arguments) == 2
    assert_one_line(capsys.readouterr().err, f"--results {file} cannot be made")


def test_help_names_the_exit_codes(capsys):
    with pytest.raises(SystemExit) as stopped:
        main("gpu", "test", ["--help"])
    assert stopped.value.code == 0
    assert "Exit codes" in capsys.readouterr().out
