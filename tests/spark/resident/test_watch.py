"""A missing worker on a real Spark context: told, waited for, and given up."""

import logging
import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests.spark.resident.test_worker import python_workers
from tests.spark.stock.test_elephas_models import small_model
from xray.common.background import in_background
from xray.common.errors import UserError
from xray.config.recipe import TrainingConfig
from xray.data.dataset import find_dataset
from xray.spark.resident.driver import train_resident
from xray.spark.resident.messages import ServerKey, Task
from xray.spark.resident.server import WeightServer
from xray.spark.resident.watch import (
    HOME_SECONDS,
    REPLACED_SECONDS,
    TOLD_TO_GO,
    Watch,
    watched,
)
from xray.spark.resident.worker import make_resident_model
from xray.storage.credentials import load_access
from xray.storage.s3 import Storage
from xray.training.journal import Journal

pytestmark = pytest.mark.slow


@pytest.fixture
def server():
    server = WeightServer("127.0.0.1", 2, np.zeros(1, np.float32), handler=None)
    yield server
    server.close()


def shown_server(missing, **more):
    """What a watch looks at, of a server whose workers are all wanted."""
    return SimpleNamespace(
        **{"silent": set(), "home_seconds": lambda: None, "missing": missing} | more
    )


def fit(server, cluster, address, started=2):
    """Workers that are to join a server at `address`, which waits for two."""
    task = Task(address, None, TrainingConfig(), "kept", 2)
    rdd = cluster.context.parallelize(range(started), started)
    with watched(server, cluster):
        make_resident_model(small_model(), task).fit(rdd)


def test_a_driver_out_of_reach_is_told_at_once(server, cluster):
    closed = ServerKey("127.0.0.1", 9, server.address.key)
    with pytest.raises(Exception, match="cancelled"):
        fit(server, cluster, closed)
    assert isinstance(server.error, UserError)
    said = "cannot reach the driver at 127.0.0.1:9 (Connection refused). Set "
    assert said in str(server.error)


def test_a_worker_that_does_not_come_is_not_awaited_for_ever(server, cluster):
    with pytest.raises(Exception, match="cancelled"):
        fit(server, replace(cluster, wait_seconds=2), server.address, started=1)
    assert isinstance(server.error, UserError)
    said = "2 worker(s) were not there together within 2 s (runner.wait_for_workers)"
    assert said in str(server.error)
    assert "the cluster has 2 slot(s)" in str(server.error)


def test_another_jobs_failure_is_no_reason():
    """Of a job before this one, in the same context."""
    old = (
        "DriverUnreachable: cannot reach the driver at 127.0.0.1:9 (refused). Worker 1"
    )
    failures = [old, old]
    shown = SimpleNamespace(
        last_failure=lambda: failures.pop(0),
        wait_seconds=60,
        workers=2,
        min_workers=None,
    )
    failed = []
    server = shown_server(lambda: (1.0, None), fail=failed.append)
    Watch(server, shown).look()
    assert not failed
    failures += [None, old]
    Watch(server, shown).look()
    assert "cannot reach the driver at 127.0.0.1:9 (refused). Set " in str(failed[0])


@pytest.mark.parametrize(
    ("least", "slots", "rounds", "leaving", "regroup"),
    [
        (2, 2, (7, 8), (True, True), True),
        (2, 2, (7, 7), (True, True), False),  # the round is not finished yet
        (2, 2, (7, 8), (False, True), False),  # nor is this one
        (2, 1, (7, 8), (True, True), False),  # too few would be left
        (None, 2, (7, 8), (True, True), False),
    ],
)
def test_who_is_told_to_go_finishes_the_round(least, slots, rounds, leaving, regroup):
    looks = [*zip(rounds, leaving, strict=True)]
    server = shown_server(lambda: None, rounds=None)
    shown = SimpleNamespace(
        last_failure=lambda: None,
        workers=3,
        min_workers=least,
        slots=lambda: slots,
        leaving=lambda: looks[0][1],
    )
    watch = Watch(server, shown)
    while looks:
        server.rounds = looks[0][0]
        watch.look()
        looks.pop(0)
    assert watch.regroup == regroup
    assert watch.reason == (TOLD_TO_GO if regroup else None)


@pytest.mark.parametrize(
    ("seconds", "least", "slots", "regroup"),
    [
        (REPLACED_SECONDS, 2, 2, True),
        (REPLACED_SECONDS - 1, 2, 2, False),  # there may be another executor soon
        (REPLACED_SECONDS, 2, 1, False),
        (REPLACED_SECONDS, None, 2, False),
        (REPLACED_SECONDS, 2, 3, False),  # Spark starts all of them again itself
    ],
)
def test_fewer_go_on_where_nothing_replaces_the_lost(seconds, least, slots, regroup):
    states, failed = [None, (0.0, 1), (seconds, 1)], []
    server = shown_server(lambda: states.pop(0), rounds=7, fail=failed.append)
    shown = SimpleNamespace(
        last_failure=lambda: "executor lost",
        wait_seconds=60,
        workers=3,
        min_workers=least,
        slots=lambda: slots,
        leaving=lambda: False,
    )
    watch = Watch(server, shown)
    while states:
        watch.look()
    assert watch.regroup == regroup
    assert watch.reason == ("executor lost" if regroup else None)
    assert not failed


def test_a_silent_hosts_executors_are_given_up_once():
    """A second time it would be those that came back with the host."""
    dropped = []
    server = shown_server(lambda: None, silent={"10.0.0.2"})
    shown = SimpleNamespace(
        last_failure=lambda: None, min_workers=None, drop_executors=dropped.append
    )
    for _ in range(2):
        Watch(server, shown).look()
    assert dropped == ["10.0.0.2"]


@pytest.mark.parametrize(
    ("seconds", "over"),
    [(None, False), (HOME_SECONDS, False), (HOME_SECONDS + 1, True)],
)
def test_workers_that_were_sent_home_are_not_awaited_for_long(seconds, over):
    watch = Watch(
        shown_server(lambda: None, home_seconds=lambda: seconds),
        SimpleNamespace(last_failure=lambda: None, min_workers=None),
    )
    watch.look()
    assert watch.over == over


def test_what_is_missing_is_told_once_and_its_return_too(cluster, caplog):
    states = [None, (1.0, 1), (2.0, 1), None, None, (0.0, None)]
    server = shown_server(lambda: states.pop(0), rounds=7)
    watch = Watch(server, replace(cluster, wait_seconds=60))
    with caplog.at_level(logging.WARNING):
        while states:
            watch.look()
    assert [record.getMessage() for record in caplog.records] == [
        "Worker 1 is gone. Waiting at most 60 s (runner.wait_for_workers) for 2 slots, "
        "to go on after average 7.",
        "All 2 workers are there again.",
        "A worker is gone. Waiting at most 60 s (runner.wait_for_workers) for 2 slots, "
        "to go on after average 7.",
    ]


def test_an_executor_that_yarn_kills_for_its_memory_is_told_so():
    """In the words that Spark 3.5.9 had for it on YARN."""
    killed = (
        "Stage failed because barrier task ResultTask(0, 1) finished unsuccessfully. "
        "ExecutorLostFailure (executor 2 exited caused by one of the running tasks) "
        "Reason: Container killed by YARN for exceeding physical memory limits. 1.9 GB "
        "of 896 MB physical memory used. Consider boosting "
        "spark.executor.memoryOverhead."
    )
    failures = [None, killed, killed]
    failed = []
    server = shown_server(lambda: (seconds, None), fail=failed.append)
    yarn = SimpleNamespace(
        last_failure=lambda: failures.pop(0),
        wait_seconds=5,
        workers=2,
        min_workers=None,
    )
    watch = Watch(server, yarn)
    seconds = 4  # Spark may get it a larger container, or a node of its own
    watch.look()
    assert failed == []
    seconds = 6
    watch.look()
    assert "1.9 GB of 896 MB physical memory used. TensorFlow" in str(failed[0])
    assert "spark.executor.memoryOverhead" in str(failed[0])


@pytest.mark.parametrize(
    ("slots", "said"),
    [
        (2, "worker 0 at 10.0.0.2:4711 (No route to host). Workers exchange"),
        (1, "the cluster has 1 slot(s)"),  # the other worker's host is gone
    ],
)
def test_workers_that_start_too_slowly_again_hide_no_closed_port(slots, said):
    told = (
        "RoundLost: Worker 1 on node-2 cannot reach worker 0 at 10.0.0.2:4711 (No "
        "route to host) at org.apache.spark.api.python.BasePythonRunner"
    )
    failures, failed = [None, told], []
    shown = SimpleNamespace(
        last_failure=lambda: failures.pop(0),
        wait_seconds=5,
        workers=2,
        min_workers=None,
        slots=lambda: slots,
    )
    Watch(shown_server(lambda: (6, None), fail=failed.append), shown).look()
    assert said in str(failed[0])


@pytest.mark.cluster  # each loss costs a start of all workers
def test_more_losses_than_spark_bears_by_itself(bucket, cluster):
    """Unless told otherwise it ends a job after the fourth time."""
    losses = 5
    config = bucket.config(
        training={"epochs": losses + 1, "optimizer": "sgd"}, runner={"workers": 2}
    )
    access = load_access(config.data.credentials, config.data.endpoint_url)
    dataset = find_dataset(config.data, Storage(access))

    def train(advance=None):
        journal = Journal("elephas", config, workers=2)
        if advance:
            journal.advance = advance(journal, journal.advance)
        found = in_background(lambda: dataset)
        train_resident(journal, cluster, small_model(), access, found)
        return journal

    def deadly(journal, advance):
        def lose_one(*arguments):
            if len(journal.log.epochs) <= losses:
                os.kill(python_workers()[0], signal.SIGKILL)
            return advance(*arguments)

        return lose_one

    disturbed = train(deadly)
    assert disturbed.exchange["attempts"] == losses + 1
    assert len(disturbed.log.retries) == losses
    expected = [epoch.loss for epoch in train().log.epochs]
    assert [epoch.loss for epoch in disturbed.log.epochs] == pytest.approx(
        expected, rel=1e-5
    )
