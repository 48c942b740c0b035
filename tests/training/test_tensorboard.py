"""Scalars for TensorBoard: what its own reader finds, and who is not imported."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.factories import make_epochs, make_record, make_scores
from xray.records.record import Epoch
from xray.records.timing import PHASES
from xray.training.tensorboard import TensorBoardLog

WITHOUT_TENSORFLOW = """
import json, sys
from pathlib import Path
from tests.factories import make_record
from xray.training.tensorboard import TensorBoardLog
log = TensorBoardLog(Path(sys.argv[1]), "run")
log.finish(make_record())
print(json.dumps(sorted(sys.modules)))
"""


def epochs(count: int) -> list[Epoch]:
    return [Epoch.model_validate(e) for e in make_epochs(10.0, 5.0, count)]


@pytest.fixture
def log(tmp_path):
    return TensorBoardLog(tmp_path, "run")


def read(folder) -> dict[str, list]:
    """Tag to (step, time, value) of its events, as TensorBoard itself reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(e.step, e.wall_time, e.value) for e in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


@pytest.mark.slow  # TensorBoard's reader imports TensorFlow
class TestReader:
    def test_curves_grow_while_the_run_goes_on(self, log):
        known = epochs(2)
        log.add_epochs(known[:1], started=1000.0)
        assert len(read(log.folder)["epoch/loss"]) == 1
        log.add_epochs(known, started=1000.0)
        known[1].auc_macro = 0.75  # scored after the epoch
        known[1].learning_rate = 0.001
        log.add_epochs(known, started=1000.0)
        log.add_epochs(known, started=1000.0)
        found = read(log.folder)
        assert [step for step, _, _ in found["epoch/loss"]] == [1, 2]
        _, wall, loss = found["epoch/loss"][1]
        assert loss == pytest.approx(known[1].loss)
        assert wall == pytest.approx(1000 + known[1].elapsed_seconds)
        assert [(s, v) for s, _, v in found["epoch/auc_macro"]] == [(2, 0.75)]
        assert found["epoch/learning_rate"][0][2] == pytest.approx(0.001)
        assert len(found["epoch/images_per_second"]) == 2
        assert not {"epoch/epoch", "epoch/worker_seconds"} & found.keys()

    def test_ends_with_scores_and_phases(self, log):
        scores = make_scores(0.72, undefined=("Hernia",))
        record = make_record(scores=scores)
        log.add_epochs(record.epochs, time.time())
        log.finish(record)
        found = read(log.folder)
        step, _, value = found["auc/Pneumonia"][0]
        assert (step, value) == (5, pytest.approx(0.78))
        assert found["auc/macro"][0][2] == pytest.approx(0.72)
        assert "auc/No_Finding" in found
        assert "auc/Hernia" not in found
        for phase in (*PHASES, "total"):
            seconds = getattr(record.phases, phase)
            assert found[f"phases/{phase}_seconds"][0][2] == pytest.approx(seconds)


def test_a_failed_run_ends_without_scores(log):
    log.finish(make_record(status="failed", scores=None, epochs=[]))
    assert len(list(log.folder.iterdir())) == 1


def test_two_runs_have_two_files(log, tmp_path):
    TensorBoardLog(tmp_path, "run")
    assert len(list(log.folder.iterdir())) == 2


def test_neither_tensorflow_nor_a_thread_is_started(tmp_path):
    done = subprocess.check_output(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, str(tmp_path)], text=True
    )
    loaded = {name.split(".")[0] for name in json.loads(done)}
    assert "tensorboard" in loaded
    assert not {"tensorflow", "keras"} & loaded


def open_files() -> list[tuple[int, Path]]:
    """The file descriptors of this process and what they are of."""
    numbers = [int(path.name) for path in Path("/proc/self/fd").iterdir()]
    links = [(n, Path(f"/proc/self/fd/{n}")) for n in numbers]
    return [(n, link.resolve()) for n, link in links if link.exists()]


def test_a_full_disk_is_told_once(log, caplog):
    (file,) = log.folder.iterdir()
    with open("/dev/full", "wb", buffering=0) as full:
        # The file it writes to becomes one on a device that is always full.
        os.dup2(full.fileno(), next(n for n in open_files() if n[1] == file)[0])
    log.add_epochs(epochs(2), 0.0)
    log.finish(make_record())
    assert caplog.text.count("No space left on device") == 1
