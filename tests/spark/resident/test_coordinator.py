"""What the coordinator orders of workers that start anew, from real data's counts."""

from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from xray.common.background import in_background
from xray.common.errors import UserError
from xray.data.dataset import find_dataset
from xray.spark.environment import describe_worker
from xray.spark.resident.coordinator import Coordinator
from xray.spark.resident.messages import (
    Done,
    End,
    EpochReport,
    Hello,
    Loaded,
    Ready,
    Recut,
    Share,
    TrainEpoch,
)
from xray.spark.resident.team import cut_shares
from xray.storage.credentials import load_access
from xray.storage.s3 import Storage
from xray.training.journal import Journal

WORKERS, PARTS = 2, 4


def make_journal(bucket, balance=False, **options):
    config = bucket.config(
        data={"max_bad_fraction": 0.1},
        runner={"min_workers": 1, "sync_every": 1, "balance": balance},
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


def test_the_record_tells_while_a_host_had_workers(bucket):
    journal = make_journal(bucket)
    coordinator = make_coordinator(journal, [Share({}, PARTS)] * WORKERS)
    here = describe_worker()
    there = replace(here, host=f"not-{here.host}")
    for team in ([here, there], [here]):
        coordinator.on_gather([Hello(each) for each in team])
    ends = [each["present"][-1][1] for each in journal.machine["executors"]]
    assert ends.count(None) == 1, "one is there to the end"
    assert 0 < max(end for end in ends if end) <= journal.timer.elapsed_seconds()


def reports(shares, seconds):
    """What workers with these shares say of an epoch that took them so long."""
    return [
        EpochReport(
            worker=worker,
            epoch=0,
            images=len(share.partitions["train"].rows),
            loss=0.5,
            learning_rate=0.1,
            fit_seconds=taken,
            cpu_seconds=taken,
            started=1.0,
            ended=1.0 + taken,
            peak_memory_bytes=1,
        )
        for worker, (share, taken) in enumerate(zip(shares, seconds, strict=True))
    ]


def train_an_epoch(coordinator, seconds, rounds):
    """Have an epoch trained; what the workers are told when they ask for the next."""
    shares = coordinator.team.shares.result()
    running = in_background(coordinator.train_epoch, 0, 1.0)
    coordinator.on_gather([Ready()] * len(shares))
    coordinator.on_gather(reports(shares, seconds))
    for _ in range(shares[0].parts):
        rounds += 1
        coordinator.on_average({"rounds": rounds}, 0)
    running.result(10)
    in_background(coordinator.train_epoch, 1, 1.0)
    return coordinator.on_gather([Done()] * len(shares)), rounds


def test_a_straggler_gets_a_smaller_share_and_keeps_it(bucket):
    journal = make_journal(bucket, balance=True)
    images = len(journal.dataset.train)
    coordinator = make_coordinator(journal, cut_shares(journal, WORKERS))
    order, rounds = train_an_epoch(coordinator, [1.0, 2.0], 0)
    assert order == Recut()
    coordinator.on_gather([Loaded({}, 0)] * WORKERS)
    sizes = [len(coordinator.share(n).partitions["train"].rows) for n in range(WORKERS)]
    assert sizes == [round(images * 2 / 3), images - round(images * 2 / 3)]
    assert coordinator.on_gather([Done()] * WORKERS) == TrainEpoch(1)
    coordinator.on_average({"rounds": rounds + 1}, 0)

    # All start again, maybe elsewhere: even shares, and what is left of this epoch.
    batch = journal.config.training.batch_size
    coordinator.on_retry(rounds + 1, 0)
    sizes = [len(coordinator.share(n).partitions["train"].rows) for n in range(WORKERS)]
    assert max(sizes) - min(sizes) <= 1
    order = coordinator.on_gather([Ready()] * WORKERS)
    # In the first of 11 parts the smaller share, of 6 batches, had none.
    assert len(order.rest.rows) == images - batch
    coordinator.abandon()


@pytest.mark.parametrize(
    ("balance", "seconds"), [(True, [1.0, 1.15]), (False, [1.0, 2.0])]
)
def test_shares_stay_where_nobody_lags_or_nobody_asked(bucket, balance, seconds):
    journal = make_journal(bucket, balance=balance)
    coordinator = make_coordinator(journal, cut_shares(journal, WORKERS))
    order, _ = train_an_epoch(coordinator, seconds, 0)
    assert order == TrainEpoch(1)
    coordinator.abandon()


def test_a_retrys_reason_tells_no_stack_and_no_path(bucket):
    told = (
        "Stage failed because barrier task (1, 2) finished unsuccessfully. "
        "org.apache.spark.api.python.PythonException: "
    )
    stacks = [
        'Traceback (most recent call last): File "/home/me/env/worker.py", line 1',
        "Crashed at org.apache.spark.api.python.Base$Runner.apply(Runner.scala:6)",
    ]
    journal = make_journal(bucket)
    coordinator = make_coordinator(
        journal,
        [Share({}, PARTS)] * WORKERS,
        last_failure=lambda: told + stacks.pop(0),
    )
    coordinator.on_retry(1, 0)
    coordinator.on_retry(1, 0)
    reasons = [retry.reason for retry in journal.log.retries]
    assert reasons == [told.rstrip(": "), told + "Crashed"]


def test_workers_that_yarn_kills_twice_for_their_memory_end_the_run(bucket):
    killed = (
        "ExecutorLostFailure (executor 2 exited caused by one of the running tasks) "
        "Reason: Container killed by YARN for exceeding physical memory limits. 952.6 "
        "MB of 896 MB physical memory used. Consider boosting memoryOverhead."
    )
    told = [killed, "executor lost", killed, killed, killed]
    coordinator = make_coordinator(
        make_journal(bucket),
        [Share({}, PARTS)] * WORKERS,
        last_failure=lambda: told.pop(0),
    )
    for rounds in (1, 1, 1, 2):  # another reason between, and then an average
        coordinator.on_retry(rounds, 0)
    expected = "952.6 MB of 896 MB physical memory used. TensorFlow lives outside"
    with pytest.raises(UserError, match=expected):
        coordinator.on_retry(2, 0)


def test_workers_who_do_not_reach_each_other_twice_end_the_run(bucket):
    unreached = "Worker 1 on ip-10-0-0-2 cannot reach worker 0 at 10.0.0.1:40123 "
    stack = "PythonException: Traceback (most recent call last): File x.py RoundLost: "
    told = [f"{stack}{unreached}(timed out) at org.apache.spark.Some(Some.scala:1)"] * 4
    told.insert(1, "executor lost")
    journal = make_journal(bucket)
    coordinator = make_coordinator(
        journal, [Share({}, PARTS)] * WORKERS, last_failure=lambda: told.pop(0)
    )
    for rounds in (1, 1, 1, 2):  # another reason between, and then an average
        coordinator.on_retry(rounds, 0)
    with pytest.raises(UserError, match="timed out.. Workers exchange their weights"):
        coordinator.on_retry(2, 0)
    reasons = {retry.reason for retry in journal.log.retries}
    assert reasons == {f"{unreached}(timed out)", "executor lost"}
