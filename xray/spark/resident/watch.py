"""Says when a worker is missing, and ends a job that waits for one in vain.

Spark starts the workers again as soon as it has a slot for each, and says nothing until
then, however long that is. For a host that vanishes after its last order it waits too.
"""

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from xray.common.errors import UserError
from xray.spark.cluster import Cluster
from xray.spark.resident.messages import DriverUnreachable
from xray.spark.resident.retries import LET_THROUGH, UNREACHED, outsized
from xray.spark.resident.server import WeightServer

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
# In which a cluster with room has another executor; fewer workers go on without it.
REPLACED_SECONDS = 8
TOLD_TO_GO = "an executor was told to go (decommissioned)"
HOME_SECONDS = 10  # in which a worker ends that has nothing more to do
UNREACHABLE = re.compile(rf"{DriverUnreachable.__name__}: (.+?\.) ")


@contextmanager
def watched(server: WeightServer, cluster: Cluster) -> Iterator["Watch"]:
    """End the block's Spark job when the server has an error, or lacks a worker.

    Args:
        server: that the workers join.
        cluster: that starts them, `workers` at once.
    """
    ended = threading.Event()
    watch = Watch(server, cluster)

    def poll() -> None:
        while not ended.wait(POLL_SECONDS):
            watch.look()
            if server.error or watch.regroup or watch.over:
                cluster.cancel_jobs()

    threading.Thread(target=poll, daemon=True).start()
    try:
        yield watch
    finally:
        ended.set()


class Watch:
    """Looks at the workers now and then.

    Attributes:
        regroup: whether the job is to make way for one of fewer workers.
        over: whether nothing is expected of the job any more.
        reason: what Spark said of the loss, where that is so.

    Args:
        server: that the workers join.
        cluster: that starts them.
    """

    def __init__(self, server: WeightServer, cluster: Cluster) -> None:
        self._server, self._cluster = server, cluster
        self._complete = self._told = self.regroup = self.over = False
        self.reason: str | None = None
        self._notice: int | None = None  # averages when an executor was told to go
        self._earlier = cluster.last_failure()  # of another job in the same context

    def look(self) -> None:
        """Tell what has changed since the last look; fail the job if it must end."""
        while self._server.silent:
            self._cluster.drop_executors(self._server.silent.pop())
        self.over = (self._server.home_seconds() or 0) > HOME_SECONDS
        missing = self._server.missing()
        if missing is None:
            if self._told:
                logger.warning("All %s workers are there again.", self._cluster.workers)
            self._complete, self._told = True, False
            self._drain()
            return
        seconds, lost = missing
        if self._complete and not self._told:
            self._tell(lost)
        if self.regroup:
            return
        if self._fewer_go_on(seconds):
            self.regroup, self.reason = True, self._cluster.last_failure()
        elif reason := self._reason_to_end(seconds):
            self._server.fail(UserError(reason))

    def _drain(self) -> None:
        """Have the others go on without one that is told to go, after an average."""
        cluster = self._cluster
        if cluster.min_workers is None or not cluster.leaving():
            return
        rounds = self._server.rounds
        if self._notice is None:
            self._notice = rounds
            logger.warning("An executor is told to go. It does after the next average.")
        if rounds > self._notice and cluster.slots() >= cluster.min_workers:
            self.regroup, self.reason = True, TOLD_TO_GO

    def _tell(self, lost: int | None) -> None:
        self._told = True
        logger.warning(
            "%s is gone. Waiting at most %g s (runner.wait_for_workers) for %s slots, "
            "to go on after average %s%s.",
            "A worker" if lost is None else f"Worker {lost}",
            self._cluster.wait_seconds,
            self._cluster.workers,
            self._server.rounds,
            self._alternative(),
        )

    def _alternative(self) -> str:
        least = self._cluster.min_workers
        if least is None:
            return ""
        return f", or with {least} at least in {REPLACED_SECONDS} s"

    def _fewer_go_on(self, seconds: float) -> bool:
        """Whether nothing has replaced the lost ones, and the others suffice."""
        least, cluster = self._cluster.min_workers, self._cluster
        patience = REPLACED_SECONDS if self._told else cluster.wait_seconds
        if least is None or seconds < patience:
            return False
        return least <= cluster.slots() < cluster.workers

    def _reason_to_end(self, seconds: float) -> str | None:
        """Why the missing worker is not waited for any longer, and what to do."""
        failure = self._cluster.last_failure()
        if failure is None or failure == self._earlier:
            failure = ""
        if found := UNREACHABLE.search(failure):
            return (
                f"{found[1]} Set spark.driver.host (runner.spark_conf) to an address "
                "that the executors reach, and let them through to its ports."
            )
        if seconds < self._cluster.wait_seconds:
            return None
        if told := outsized(failure):
            return told
        slots = self._cluster.slots()
        found = UNREACHED.search(failure)
        # With fewer slots than workers the one out of reach is most likely gone.
        if found and slots >= self._cluster.workers:
            return f"{found[0]}. {LET_THROUGH}"
        return (
            f"{self._cluster.workers} worker(s) were not there together within "
            f"{self._cluster.wait_seconds:g} s (runner.wait_for_workers); the cluster "
            f"has {slots} slot(s). Add executors, or lower runner.workers."
        )
