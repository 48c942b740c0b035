"""What the coordinator orders of workers that start anew, from real data's counts."""

from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pytest

from xray.common.background import in_background
from xray.data.dataset import find_dataset
from xray.spark.resident.coordinator import Coordinator
from xray.spark.resident.messages import Done, End, Loaded, Ready, Share, TrainEpoch
from xray.spark.resident.team import cut_shares
from xray.storage.credentials import load_access
from xray.storage.s3 import Storage
from xray.training.journal import Journal

WORKERS, PARTS = 2, 4


def make_journal(bucket, **options):
    config = bucket.config(
        data={"max_bad_fraction": 0.1}, runner={"min_workers": 1, "sync_every": 1}
    )
    access = load_access(config.data.credentials, config.data.endpoint_url)
    journal = Journal("elephas", config, workers=WORKERS, **options)
    journal.dataset = find_dataset(config.data, Storage(access))
    return journal


def make_coordinator(journal, shares, **options):
    """A coordinator whose workers have read all their images."""
    cut: Future = Future()
    cut.set_result(shares)
    bar = SimpleNamespace(reset=lambda total: None, update=lambda count: None)
    weights = np.zeros(3, np.float32)
    coordinator = Coordinator(journal, weights, cut, bar, **options)
    coordinator.on_gather([Loaded({}, 0)] * len(shares))
    return coordinator


@pytest.mark.parametrize(("rounds", "part"), [(0, 0), (5, 1), (8, 0), (3, 2), (7, 3)])
def test_a_new_start_begins_with_the_part_that_is_missing(bucket, rounds, part):
    journal = make_journal(bucket, exchange={"rounds": rounds})
    coordinator = make_coordinator(journal, [Share({}, PARTS)] * WORKERS)
    in_background(coordinator.train_epoch, 1, 0.5)
    order = coordinator.on_gather([Ready()] * WORKERS)
    assert order == TrainEpoch(1, 0.5)
    for done in range(part):
        coordinator.on_average({"rounds": rounds + done + 1}, 10)
    order = coordinator.on_gather([Ready()] * WORKERS)
    assert order == TrainEpoch(1, 0.5, part)
    again = coordinator.on_gather([Ready()] * WORKERS)  # after another loss
    assert again == order
    coordinator.abandon()


def test_workers_go_home_between_epochs_when_there_is_room_for_more(bucket):
    room, journal = [2, 3], make_journal(bucket)
    shares = cut_shares(journal, WORKERS)
    coordinator = make_coordinator(journal, shares, room=lambda: room.pop(0))
    in_background(coordinator.train_epoch, 1, 1.0)
    done = [Done()] * WORKERS
    assert coordinator.on_gather(done) == TrainEpoch(1)
    coordinator.on_average({"rounds": 1}, 10)
    assert coordinator.on_gather(done) == TrainEpoch(1, part=1)
    assert room == [3], "an epoch under way is finished first"
    coordinator.on_average({"rounds": 2}, 10)
    coordinator.regroup(WORKERS, None)
    assert coordinator.on_gather(done).rest
    assert room == [3], "nor is its rest given up"
    assert not coordinator.ended
    coordinator.abandon()


def test_room_for_more_ends_the_job_but_not_the_run(bucket):
    coordinator = make_coordinator(
        make_journal(bucket), [Share({}, PARTS)] * WORKERS, room=lambda: 3
    )
    in_background(coordinator.train_epoch, 1, 1.0)
    assert coordinator.on_gather([Ready()] * WORKERS) == TrainEpoch(1)
    assert coordinator.on_gather([Done()] * WORKERS) == End()
    assert not coordinator.ended
    coordinator.end()
    assert coordinator.ended
