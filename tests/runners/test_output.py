"""What a run leaves besides its record: refused early, never lost late."""

from unittest.mock import patch

import pytest

from tests.conftest import assert_one_line
from tests.factories import make_record
from tests.refusals import refused
from tests.runners.test_runners import read_record
from tests.training.test_journal import make_config
from xray.model.saved import load_model, read_info
from xray.runners.cli import main
from xray.runners.output import check_output, open_events
from xray.training.resuming import keep_epoch

UNREACHABLE = "http://127.0.0.1:9"


def test_nothing_is_made_where_nothing_is_wanted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_output(make_config())
    assert open_events(make_config(), "gpu") is None
    assert not list(tmp_path.iterdir())


def test_a_folder_is_made_and_one_that_cannot_be_is_refused(tmp_path):
    check_output(make_config(output={"models": str(tmp_path / "a" / "b")}))
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    output = {name: str(tmp_path / "file" / "x") for name in ("models", "tensorboard")}
    with refused(r"output\.models .*file/x cannot be made: Not a directory"):
        check_output(make_config(output=output))
    with refused(r"output\.tensorboard .*file/x cannot be written: Not a directory"):
        open_events(make_config(output=output), "gpu")


def test_a_prefix_is_tried_and_left_as_it_was(own_bucket):
    check_output(own_bucket.config(output={"models": "s3://nih/models"}))
    assert not [path for path in own_bucket.folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("models", "data", "reason"),
    [
        ("s3://nowhere/m/", {}, "Bucket 'nowhere' does not exist"),
        ("s3://nih/m/", {"endpoint_url": UNREACHABLE}, "does not answer"),
        ("s3://nih/m/", {"credentials": "/none.yaml"}, "Credentials file /none.yaml"),
    ],
)
def test_a_prefix_that_cannot_be_written_is_refused(bucket, models, data, reason):
    config = bucket.config(output={"models": models}, data=data)
    with refused(f"output.models {models} cannot be written: .*{reason}"):
        check_output(config)


def test_it_is_refused_before_the_run_starts(bucket, tmp_path, capsys):
    output = {"models": "s3://nowhere/m/"}
    code, error, results = run(None, bucket, tmp_path, capsys, output=output)
    assert code == 2
    assert_one_line(error, "output.models s3://nowhere/m/ cannot be written")
    assert not list(results.iterdir())


def run(work, bucket, tmp_path, capsys, **sections):
    config = bucket.write_config(tmp_path / "run.yaml", **sections)
    results = tmp_path / "results"
    arguments = ["--config", str(config), "--results", str(results)]
    with patch("xray.runners.sequential.run", work):
        code = main("sequential", "test", arguments)
    return code, capsys.readouterr().err, results


@pytest.fixture(scope="module")
def model():
    from tests.model.test_saved import network

    return network()


@pytest.mark.slow
class TestSaving:
    """With runs that train nothing and keep a tiny network."""

    @pytest.fixture
    def finish(self, model, own_bucket, tmp_path, capsys):
        """Run `before` and end with a success; its models go to `models`."""

        def finish(models, before=lambda journal: None):
            def work(config, journal):
                journal.log.epochs = make_record().epochs
                journal.timer.seconds["fit"] = 10.0
                journal.keep_models(model)
                before(journal)
                keep_epoch(journal, [], journal.tries.file)
                return make_record(config=config.to_dict())

            return run(work, own_bucket, tmp_path, capsys, output={"models": models})

        return finish

    def test_the_last_model_stands_in_the_record(self, finish, tmp_path):
        code, error, results = finish(str(tmp_path / "models"))
        assert code == 0, error
        record = read_record(results)
        path = tmp_path / "models" / f"{record.run_id}_last.keras"
        assert f"last model: {path}" in error
        _, info = load_model(path)
        assert record.models["last"].path == str(path)
        assert record.models["last"].model_id == info.model_id
        assert (info.run_id, info.work_id) == (record.run_id, record.work_id)
        assert (info.which, info.epoch, info.scores) == ("last", 5, record.scores)
        assert not (results / "checkpoints").exists()

    def test_where_s3_fails_models_go_to_the_results(
        self, finish, own_bucket, tmp_path
    ):
        def stop(_):  # after the check
            own_bucket.credentials.write_text(
                "aws_access_key_id: a\naws_secret_key_id: b\n"
                f"endpoint_url: {own_bucket.server.endpoint_url}\n"
            )

        code, error, results = finish("s3://nih/models/", stop)
        assert code == 2
        assert_one_line(
            error,
            f"Models are in {results / 'models'} instead of output.models",
            "S3 refuses these credentials",
        )
        record = read_record(results)
        assert record.status == "success"
        saved = record.models["last"]
        assert saved.path == str(results / "models" / f"{record.run_id}_last.keras")
        assert read_info(saved.path).model_id == saved.model_id
        assert not (results / "checkpoints").exists()

    def test_where_all_fails_record_and_checkpoint_stay(self, finish, tmp_path):
        def stop(_):
            (tmp_path / "models").rmdir()
            (tmp_path / "models").touch()
            (tmp_path / "results" / "models").touch()

        code, error, results = finish(str(tmp_path / "models"), stop)
        assert code == 2
        assert_one_line(
            error, "No model is saved", "cannot be written", "--resume goes on"
        )
        record = read_record(results)
        assert (record.status, record.models) == ("success", None)
        assert list((results / "checkpoints").iterdir())
