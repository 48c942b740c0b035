"""Training on hosts of their own that vanish, are replaced, or are slow to reach."""

import contextlib
import dataclasses
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.conftest import ROOT, assert_one_line, scratch_environment
from tests.faulty_s3 import FaultyS3
from tests.network import hosts, spark_on
from tests.runners.test_runners import read_record
from tests.spark.resident.test_kills import EXACT, losses
from xray.local.network import ip
from xray.spark.resident.watch import TOLD_TO_GO

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

NOTICED_SECONDS = 15
LOSSES = int(os.environ.get("XRAY_TESTS_LOSSES", "2"))  # of the random ones
WAIT_SECONDS = 20  # runner.wait_for_workers


@pytest.fixture(scope="module")
def net():
    with hosts(3) as net:
        yield net


@pytest.fixture(scope="module")
def master(net, tmp_path_factory):
    with spark_on(net, tmp_path_factory.mktemp("spark")) as address:
        yield address


@pytest.fixture(scope="module")
def write_config(net, master, bucket, tmp_path_factory):
    """Writes the configuration of a run on these hosts, with a name of its own."""
    folder = tmp_path_factory.mktemp("configs")
    with FaultyS3(bucket.server.endpoint_url, host=net.address) as proxy:
        server = dataclasses.replace(bucket.server, endpoint_url=proxy.endpoint_url)
        server.write_credentials(folder / "credentials.yaml")

        def write(**runner):
            sections = EXACT | {
                "data": EXACT["data"]
                | {"credentials": str(folder / "credentials.yaml")},
                "runner": {
                    "master": master,
                    "workers": 2,
                    "executor_memory": "512m",
                    "wait_for_workers": WAIT_SECONDS,
                    "spark_conf": {"spark.driver.host": net.address},
                    **runner,
                },
            }
            return bucket.write_config(folder / "run.yaml", **sections)

        yield write


class Run:
    """A run on the hosts, whose words are kept with the time at which they came."""

    def __init__(self, config, results, *more, script="elephas_spark"):
        command = [f"experiments/{script}.py", "--config", config, *more]
        self.results = results
        self.process = subprocess.Popen(
            [sys.executable, *map(str, command), "--results", str(results)],
            cwd=ROOT,
            env=os.environ | scratch_environment(results.parent / "scratch"),
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            self.said.append((time.monotonic(), line))

    def text(self):
        return "".join(line for _, line in self.said)

    def wait_for_an_epoch(self):
        deadline = time.monotonic() + 120
        while not list(self.results.glob("checkpoints/*.npz")):
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.05)

    def wait_for_epochs_after(self, moment):
        """Wait until two epochs have been kept since a time, in seconds since 1970."""
        deadline, kept = time.monotonic() + 180, set()
        while len(kept) < 3:  # the first may have been kept just before
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            for path in self.results.glob("checkpoints/*.npz"):
                with contextlib.suppress(FileNotFoundError):
                    changed = path.stat().st_mtime
                    kept |= {changed} if changed > moment else set()
            time.sleep(0.05)

    def when(self, words, seconds):
        """The time at which a line with `words` came, at most so many seconds hence."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for moment, line in self.said:
                if words in line:
                    return moment
            time.sleep(0.1)
        raise AssertionError(f"no {words!r} in {seconds} s: {self.text()}")

    def end(self, seconds=300):
        code = self.process.wait(seconds)
        self.reader.join(10)
        return code


@pytest.fixture(scope="module")
def undisturbed(write_config, tmp_path_factory):
    run = Run(write_config(), tmp_path_factory.mktemp("undisturbed") / "results")
    assert run.end() == 0, run.text()
    return read_record(run.results)


def used_hosts(net):
    """Those on which a worker trains by now."""
    return [host for host in net.hosts if training_on(host, net.address)]


def training_on(host, driver):
    """The host's Python processes that are connected to the driver.

    One that only imported the libraries is not: Spark may have given the training to
    another host since.
    """
    listing = ["ip", "netns", "exec", host.name, "ss", "-Htnp", "state", "established"]
    listing += ["dst", driver]
    found = subprocess.run(listing, capture_output=True, text=True, check=True).stdout
    return [int(pid) for pid in re.findall(r'"python[\d.]*",pid=(\d+)', found)]


def command_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def test_workers_that_do_not_reach_each_other_end_the_run(net, write_config, tmp_path):
    """Each reaches the driver: so says Spark too, and starts them again and again."""

    def route(verb):
        for host in net.hosts:
            for other in net.hosts:
                if other is not host:
                    ip("-n", host.name, "route", verb, "prohibit", other.address)

    route("add")
    try:
        # Long enough for a slow machine to start them twice.
        run = Run(write_config(wait_for_workers=120), tmp_path / "results")
        assert run.end() == 2, run.text()
    finally:
        route("del")
    error = run.text()[run.text().rindex("error:") :]
    parts = ("Worker 1 on", "cannot reach worker 0 at", "each other's ports")
    assert_one_line(error, *parts)
    record = read_record(run.results)
    assert (record.status, record.epochs) == ("failed", [])


def test_a_vanished_host_is_replaced_by_a_spare(
    net, write_config, undisturbed, tmp_path
):
    run = Run(write_config(wait_for_workers=60), tmp_path / "results")
    run.wait_for_an_epoch()
    host = used_hosts(net)[0]
    host.vanish()
    cut = time.monotonic()
    try:
        assert run.when("is gone. Waiting", 60) - cut < NOTICED_SECONDS
        run.when("All 2 workers are there again", 40)
        assert run.end() == 0, run.text()
    finally:
        host.come_back()
    record = read_record(run.results)
    assert losses(record.epochs) == pytest.approx(losses(undisturbed.epochs), rel=1e-6)
    (retry,) = record.retries
    assert retry.worker in (0, 1)
    assert record.exchange["attempts"] == 2


def test_without_a_spare_the_run_ends_and_goes_on_later(
    net, write_config, undisturbed, tmp_path
):
    config = write_config(workers=3)
    run = Run(config, tmp_path / "results")
    run.wait_for_an_epoch()
    host = net.hosts[1]
    host.vanish()
    cut = time.monotonic()
    try:
        assert run.when("is gone. Waiting", 60) - cut < NOTICED_SECONDS
        assert run.end(WAIT_SECONDS + 60) == 2, run.text()
        ended = time.monotonic()
    finally:
        host.come_back()
    assert ended - cut < NOTICED_SECONDS + WAIT_SECONDS + 35
    error = run.text()
    assert_one_line(
        error, "3 worker(s) were not there together within 20 s", "--resume"
    )
    failed = read_record(run.results)
    assert failed.status == "failed"
    kept = int(re.search(r"Epoch (\d+) is kept", error)[1])
    assert kept == len(failed.epochs) > 0
    (tmp_path / "results" / f"{failed.run_id}.json").unlink()

    again = Run(config, tmp_path / "results", "--resume")
    assert again.end() == 0, again.text()
    record = read_record(again.results)
    assert record.resumed[0].epoch == kept
    assert losses(record.epochs)[:kept] == losses(failed.epochs)


def test_without_a_spare_fewer_go_on_until_the_host_is_back(
    net, write_config, tmp_path
):
    elastic = {"workers": 3, "min_workers": 2, "sync_every": 1}
    run = Run(
        write_config(**elastic), tmp_path / "results", "--set", "training.epochs=250"
    )
    run.wait_for_an_epoch()
    host = net.hosts[1]
    host.vanish()
    cut = time.monotonic()
    try:
        assert run.when("or with 2 at least in", 60) - cut < NOTICED_SECONDS
        run.when("with 2 of 3 workers (runner.min_workers)", 60)
    finally:
        host.come_back()
    run.when("with 3 of 3 workers (runner.min_workers)", 120)
    assert run.end() == 0, run.text()
    record = read_record(run.results)
    assert {epoch.images for epoch in record.epochs} == {record.images.train}
    workers = [len(epoch.worker_seconds) for epoch in record.epochs]
    assert [count for count, _ in itertools.groupby(workers)] == [3, 2, 3]
    (retry,) = record.retries
    assert retry.worker in (0, 1, 2)
    assert "Job" not in (retry.reason or ""), "that we ended it ourselves is no reason"
    assert record.exchange["attempts"] == 3
    assert record.workers == 3


def test_an_executor_that_is_told_to_go_finishes_its_round(net, write_config, tmp_path):
    """As Spark is told before a spot node is taken away."""
    elastic = {"workers": 3, "min_workers": 2, "sync_every": 1}
    run = Run(
        write_config(**elastic), tmp_path / "results", "--set", "training.epochs=9999"
    )
    run.wait_for_an_epoch()
    os.kill(newest_executor(net.hosts[1]), signal.SIGPWR)
    run.when("An executor is told to go", 15)
    run.when("with 2 of 3 workers (runner.min_workers)", 30)
    run.wait_for_epochs_after(time.time() + 1)
    run.process.terminate()
    run.end()
    assert "is gone" not in run.text()
    record = read_record(run.results)
    assert {epoch.images for epoch in record.epochs} == {record.images.train}
    workers = [len(epoch.worker_seconds) for epoch in record.epochs]
    assert [count for count, _ in itertools.groupby(workers)][:2] == [3, 2]
    (retry,) = record.retries
    assert (retry.worker, retry.reason) == (None, TOLD_TO_GO)


def test_random_losses_count_each_image_once(net, write_config, tmp_path):
    rng = random.Random(LOSSES)
    elastic = {"workers": 3, "min_workers": 1, "sync_every": 1, "wait_for_workers": 120}
    run = Run(
        write_config(**elastic), tmp_path / "results", "--set", "training.epochs=9999"
    )
    run.wait_for_an_epoch()
    for _ in range(LOSSES):
        time.sleep(rng.uniform(0, 2))
        kind = rng.choice(["worker", "executor", "host"])
        host = rng.choice(used_hosts(net))
        if kind == "host":
            host.vanish()
            time.sleep(rng.uniform(16, 40))
            host.come_back()
        else:
            if kind == "worker":
                os.kill(training_on(host, net.address)[0], signal.SIGKILL)
            else:
                os.kill(newest_executor(host), signal.SIGKILL)
        run.wait_for_epochs_after(time.time() + NOTICED_SECONDS)
    run.process.terminate()
    run.end()
    record = read_record(run.results)
    assert record.status == "aborted", run.text()
    assert {epoch.images for epoch in record.epochs} == {record.images.train}
    assert len(record.retries) >= LOSSES
    if folder := os.environ.get("XRAY_TESTS_RECORDS"):
        shutil.copy(run.results / f"{record.run_id}.json", folder)


def newest_executor(host):
    """The process of the Java that started last on the host to run tasks."""
    listing = ["ip", "netns", "pids", host.name]
    pids = subprocess.run(listing, capture_output=True, text=True).stdout.split()
    found = [int(pid) for pid in pids if "CoarseGrainedExecutor" in command_of(pid)]
    return found[-1]


def test_a_host_that_is_silent_after_its_last_order_is_not_awaited(
    net, write_config, undisturbed, tmp_path
):
    """Its Python worker trains to the end, and Java cannot say so to Spark."""
    run = Run(write_config(), tmp_path / "results")
    run.wait_for_an_epoch()
    java = newest_executor(used_hosts(net)[0])
    os.kill(java, signal.SIGSTOP)
    try:
        assert run.end() == 0, run.text()
    finally:
        os.kill(java, signal.SIGCONT)
    record = read_record(run.results)
    assert losses(record.epochs) == pytest.approx(losses(undisturbed.epochs), rel=1e-6)
    assert record.exchange["attempts"] == 1, "Spark started all of them again"


def test_a_slow_link_changes_nothing(net, write_config, undisturbed, tmp_path):
    for host in net.hosts:
        host.slow_down(5)
    try:
        run = Run(write_config(), tmp_path / "results")
        assert run.end() == 0, run.text()
    finally:
        for host in net.hosts:
            host.speed_up()
    record = read_record(run.results)
    assert losses(record.epochs) == pytest.approx(losses(undisturbed.epochs), rel=1e-6)
    assert record.retries == []


def test_stock_elephas_does_not_wait_for_ever_either(net, write_config, tmp_path):
    """Spark itself would, for an executor that does not come."""
    run = Run(write_config(engine="stock"), tmp_path / "results")
    run.wait_for_an_epoch()
    for host in net.hosts:
        host.vanish()
    try:
        # Spark finds out after a minute without a heartbeat.
        assert run.end(180) == 2, run.text()
    finally:
        for host in net.hosts:
            host.come_back()
    assert_one_line(
        run.text(), "All executors are gone", f"{WAIT_SECONDS} s", "--resume"
    )
    assert read_record(run.results).status == "failed"
