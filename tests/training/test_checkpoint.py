"""Checkpoints: whole or refused in one line, and never of another run."""

import gc
import resource
import sys
import threading
from unittest.mock import patch

import numpy as np
import pytest

from tests.factories import make_epochs, make_record, make_work
from tests.refusals import refused
from tests.runners.test_runners import read_record
from tests.training.test_journal import make_config
from xray.common.errors import UserError
from xray.config.run import RunConfig
from xray.data.dataset import find_dataset
from xray.records.timing import PHASES
from xray.runners.cli import main
from xray.storage.credentials import load_access
from xray.storage.results_folder import ResultsFolder
from xray.storage.s3 import Storage
from xray.training import resuming
from xray.training.checkpoint import (
    BackgroundSaver,
    Checkpoint,
    CheckpointFile,
    Progress,
    Tries,
    check_resumable,
    check_same_work,
    check_shapes,
)
from xray.training.checkpoint_disk import write_arrays
from xray.training.epoch_log import TrainedEpoch
from xray.training.journal import Journal
from xray.training.recording import build_record
from xray.training.resuming import check_resume, keep_epoch, take_up
from xray.training.tensorboard import TensorBoardLog


def make_checkpoint(epochs=2, **fields):
    progress = {
        "work": make_work(),
        "workers": 1,
        "epochs": make_epochs(10.0, 5.0, epochs),
        "seconds": dict.fromkeys(PHASES, 1.0),
        "cpu_seconds": dict.fromkeys(PHASES, 0.5),
        "total_seconds": 6.0,
        "per_worker": [],
        "exchange": None,
        "peak_memory_bytes": 2**40,
        "first_step_seconds": 4.0,
        "resumed": [],
        "retries": [],
    }
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7, np.int64)]
    return Checkpoint(Progress.model_validate(progress | fields), arrays)


@pytest.fixture
def file(tmp_path):
    return CheckpointFile(ResultsFolder(tmp_path), "sequential", make_config())


def test_reads_back_equal(file):
    saved = make_checkpoint()
    file.save(saved)
    read = file.load()
    assert read.progress == saved.progress
    for one, other in zip(read.arrays, saved.arrays, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_array_equal(one, other)
    assert [path.name for path in file.path.parent.iterdir()] == [file.path.name]


def test_many_arrays_keep_their_order(file):
    arrays = [np.array(n) for n in range(300)]
    file.save(Checkpoint(make_checkpoint().progress, arrays))
    assert [int(array) for array in file.load().arrays] == list(range(300))


def test_none_is_refused(file):
    with refused("found no checkpoint of this configuration"):
        file.load()


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.9, 0.999])
def test_a_cut_file_is_refused(file, keep):
    file.save(make_checkpoint())
    content = file.path.read_bytes()
    end = keep if isinstance(keep, int) else int(len(content) * keep)
    file.path.write_bytes(content[:end])
    with refused("is damaged .*Start without --resume"):
        file.load()


def test_a_flipped_bit_is_refused(file):
    file.save(make_checkpoint())
    content = bytearray(file.path.read_bytes())
    weights = make_checkpoint().arrays[0].tobytes()
    content[content.index(weights) + 9] ^= 1
    file.path.write_bytes(content)
    with refused("is damaged"):
        file.load()


def test_a_file_of_something_else_is_refused(file):
    file.path.parent.mkdir()
    np.savez(file.path, weights=np.zeros(3))
    with refused("is damaged"):
        file.load()


def test_a_failed_write_keeps_the_one_before(file, caplog, monkeypatch):
    file.save(make_checkpoint(1))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    file.save(make_checkpoint(2))
    assert "No space left on device" in caplog.text
    assert len(file.load().progress.epochs) == 1
    assert len(list(file.path.parent.iterdir())) == 1


def test_a_full_disk_is_told_once_and_leaves_no_traceback(tmp_path, monkeypatch):
    """np.savez would fail in the middle, and once more when its archive is let go."""
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open(tmp_path / "x.npz", "wb") as file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                write_arrays(file, {"a": np.zeros(1000), "b": np.zeros(10**6)})
            gc.collect()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert unraisable == []


def test_removed_with_its_folder_unless_another_is_there(file, tmp_path):
    other = CheckpointFile(ResultsFolder(tmp_path), "gpu", make_config())
    file.save(make_checkpoint())
    other.save(make_checkpoint())
    file.remove()
    assert other.path.is_file()
    other.remove()
    other.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "sections",
    [
        {"data": {"credentials": "/other.yaml", "read_threads": 2}},
        {"data": {"subgroups": {"View Position": ["PA", "AP"]}}},
        {"runner": {"master": "local[3]", "executor_memory": "4g"}},
        {"output": {"models": "s3://bucket/m/", "tensorboard": "logs"}},
    ],
)
def test_what_may_change_between_tries_leaves_its_name(file, tmp_path, sections):
    data = make_config().to_dict()["data"] | sections.pop("data", {})
    other = make_config(data=data, **sections)
    assert (
        CheckpointFile(ResultsFolder(tmp_path), "sequential", other).path == file.path
    )


@pytest.mark.parametrize(
    "sections",
    [
        {"training": {"epochs": 9}},
        {"model": {"dropout": 0.3}},
        {"runner": {"workers": 2}},
    ],
)
def test_another_run_has_another_name(file, tmp_path, sections):
    other = make_config(**sections)
    assert (
        CheckpointFile(ResultsFolder(tmp_path), "sequential", other).path != file.path
    )
    assert (
        CheckpointFile(ResultsFolder(tmp_path), "gpu", make_config()).path != file.path
    )


def test_earlier_versions_find_the_file_under_the_same_name(tmp_path):
    """As commit 92af83c named it: a new setting at its default changes no digest."""
    data = {"images": "s3://nih/images/"}
    data["labels"] = "s3://nih/Data_Entry_2017_v2020.csv"
    config = RunConfig.model_validate({"data": data})
    found = CheckpointFile(ResultsFolder(tmp_path), "elephas", config)
    assert found.path.name == "elephas_7410d126576ca68b.npz"
    where = data | {"where": {"View Position": "PA"}}
    other = RunConfig.model_validate({"data": where})
    found = CheckpointFile(ResultsFolder(tmp_path), "elephas", other)
    assert found.path.name != "elephas_7410d126576ca68b.npz"


def test_an_earlier_runs_file_is_set_aside_and_kept(file, tmp_path, caplog):
    file.save(make_checkpoint(5))
    begun = file.path.read_bytes()
    anew = CheckpointFile(ResultsFolder(tmp_path), "sequential", make_config())
    for epochs in (1, 2):
        anew.save(make_checkpoint(epochs))
        assert len(anew.load().progress.epochs) == epochs
    (aside,) = (path for path in file.path.parent.iterdir() if path != file.path)
    assert aside.read_bytes() == begun
    assert caplog.text.count("is set aside") == 1
    assert f"move {aside} to {file.path.name} and give --resume" in caplog.text
    anew.remove()
    assert [*file.path.parent.iterdir()] == [aside]
    aside.rename(file.path)
    assert len(file.load().progress.epochs) == 5


def test_a_run_that_saved_nothing_removes_no_other_ones_file(file, tmp_path):
    file.save(make_checkpoint())
    CheckpointFile(ResultsFolder(tmp_path), "sequential", make_config()).remove()
    assert file.path.exists()


def test_what_a_killed_writer_left_is_removed(file):
    file.save(make_checkpoint())
    file.path.with_name(f"{file.path.name}.abcd.tmp").touch()
    file.remove()
    assert not file.path.parent.exists()


def test_changed_data_is_refused_by_name():
    now = make_work()
    now["split"]["train"] = "changed"
    with refused("Now differing: split.train. Put it back"):
        check_same_work(make_work(), now)


def test_unreadable_images_count_once_they_are_known():
    now = make_work()
    now["dataset"]["skipped"] = ["a.png"]
    check_same_work(make_work(), now, unknown={"dataset.skipped"})
    with refused("dataset.skipped"):
        check_same_work(make_work(), now)


def test_a_file_of_weights_counts_once_it_is_read(bucket):
    weights = {"weights": "/tmp/a.weights.h5"}
    config = bucket.config(model=weights)
    dataset = find_dataset(
        config.data,
        Storage(load_access(config.data.credentials, config.data.endpoint_url)),
    )

    def journal(weights):
        journal = Journal("sequential", config, dataset=dataset)
        journal.initial_weights = weights
        return journal

    first = resuming.make_checkpoint(journal("aaaa"), [])
    for now in ("aaaa", None):
        later = journal(now)
        later.tries.resume = first
        check_resume(later, loaded=True)
    later.initial_weights = "bbbb"
    with refused("Now differing: model.weights"):
        check_resume(later, loaded=True)


@pytest.mark.parametrize("mode", ["asynchronous", "hogwild"])
def test_asynchronous_modes_are_refused(mode):
    with refused(f"needs runner.mode=synchronous.*Got {mode}"):
        check_resumable(make_config(runner={"mode": mode}))


def test_arrays_of_another_model_are_refused():
    check_shapes([np.zeros((2, 3))], [(2, 3)])
    for shapes in ([(3, 2)], [], [(2, 3), ()]):
        with refused("of another model"):
            check_shapes([np.zeros((2, 3))], shapes)


class TestJournal:
    @pytest.fixture
    def journal(self):
        journal = Journal(
            "sequential", make_config(), tries=Tries(resume=make_checkpoint())
        )
        journal.workers = 1
        return journal

    def test_goes_on_from_the_earlier_try(self, journal):
        arrays = take_up(journal, [(2, 3), ()])
        assert [array.shape for array in arrays] == [(2, 3), ()]
        record = build_record(journal)
        assert [epoch.epoch for epoch in record.epochs] == [1, 2]
        assert record.phases.fit == 1
        assert record.phases.total > 6
        assert record.cpu_seconds["fit"] == 0.5
        assert record.driver_peak_memory_bytes == 2**40
        (resume,) = record.resumed
        assert (resume.epoch, resume.earlier_seconds) == (2, 6)

    def test_a_second_resume_is_told_apart(self, journal):
        take_up(journal, [(2, 3), ()])
        tries = Tries(resume=resuming.make_checkpoint(journal, []))
        again = Journal("sequential", make_config(), tries=tries)
        take_up(again, [])
        assert [resume.epoch for resume in build_record(again).resumed] == [2, 2]

    def test_its_curves_begin_with_those_of_the_earlier_try(self, journal, tmp_path):
        journal.events = TensorBoardLog(tmp_path, "run")
        take_up(journal, [(2, 3), ()])
        journal.add_epoch(TrainedEpoch(100.0, 0.5))
        (file,) = journal.events.folder.iterdir()
        assert file.read_bytes().count(b"epoch/loss") == 3

    def test_steady_rate_leaves_out_the_first_epoch_of_each_try(
        self, journal, monkeypatch
    ):
        take_up(journal, [(2, 3), ()])
        monkeypatch.setattr(journal, "train_images", lambda: 10)
        journal.add_epoch(TrainedEpoch(100.0, 0.5))
        assert build_record(journal).images_per_second.steady == pytest.approx(10 / 5)

    def test_another_number_of_workers_is_refused(self, journal):
        journal.tries.resume.progress.work = {}
        check_resume(journal, loaded=True)
        journal.workers = 3
        with refused(r"needs the 1 worker\(s\) of the first try. Got 3"):
            check_resume(journal, loaded=True)

    def test_a_checkpoint_does_not_change_afterwards(self, journal):
        take_up(journal, [(2, 3), ()])
        kept = resuming.make_checkpoint(journal, [])
        journal.log.epochs[-1].auc_macro = 0.7
        journal.timer.seconds["fit"] = 99.0
        assert kept.progress.epochs[-1].auc_macro is None
        assert kept.progress.seconds["fit"] == 1


class SlowFile:
    """Holds up the first write until it is told to go on."""

    def __init__(self):
        self.saved, self.started = [], threading.Event()
        self.go_on = threading.Event()

    def save(self, checkpoint):
        self.started.set()
        assert self.go_on.wait(60)
        self.saved.append(checkpoint)


def test_the_last_of_those_that_wait_is_written():
    file = SlowFile()
    with BackgroundSaver(file) as saver:
        saver.save(1)
        assert file.started.wait(60)
        saver.save(2)
        saver.save(3)
        file.go_on.set()
    assert file.saved == [1, 3]


class TestCommandLine:
    @pytest.fixture
    def run(self, bucket, tmp_path, capsys):
        config = bucket.write_config(tmp_path / "run.yaml")

        def run(work, *options):
            arguments = ["--config", str(config), "--results", str(tmp_path / "r")]
            with patch("xray.runners.sequential.run", work):
                code = main("sequential", "test", [*arguments, *options])
            return code, capsys.readouterr().err

        return run

    def test_without_a_checkpoint_nothing_starts(self, run, tmp_path):
        code, error = run(None, "--resume")
        assert code == 2
        assert "error: --resume found no checkpoint" in error
        assert not list((tmp_path / "r").iterdir())

    def test_asynchronous_modes_start_nothing(self, run):
        code, error = run(None, "--resume", "--set", "runner.mode=hogwild")
        assert code == 2
        assert "needs runner.mode=synchronous" in error

    def test_a_failure_says_how_to_go_on(self, run, tmp_path):
        code, error = run(stop(RuntimeError("no room")))
        hint = "RuntimeError: no room. Epoch 2 is kept: --resume goes on from there."
        assert code == 1
        assert hint in error
        assert read_record(tmp_path / "r").error == hint

    def test_a_second_run_at_once_is_refused(self, run, tmp_path):
        def again(config, journal):
            keep_epoch(journal, [], journal.tries.file)
            said = run(succeed)
            assert len(journal.tries.file.load().progress.epochs) == 0
            raise UserError(f"The other one: {said}")

        def succeed(config, journal):
            return make_record()

        code, error = run(again)
        assert code == 2
        assert "(2, " in error
        assert "Another run of this configuration (process " in error
        assert "give another --results" in error
        assert run(succeed)[0] == 0

    def test_kept_until_a_run_succeeds(self, run, tmp_path):
        kept = tmp_path / "r" / "checkpoints"
        assert run(stop(KeyboardInterrupt()))[0] == 130
        assert run(stop(UserError("No.")), "--resume")[0] == 2
        assert len(list(kept.iterdir())) == 1

        def succeed(config, journal):
            assert len(journal.tries.resume.progress.epochs) == 2
            return make_record()

        assert run(succeed, "--resume")[0] == 0
        assert not kept.exists()


def stop(error):
    """A run that ends by `error` after two epochs."""

    def run(config, journal):
        journal.timer.seconds["fit"] = 10.0
        journal.log.epochs = make_checkpoint().progress.epochs
        keep_epoch(journal, [], journal.tries.file)
        raise error

    return run
