"""The slots of a Spark cluster: how many tasks can run at once, and waits for them."""

import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from xray.common.errors import UserError

if TYPE_CHECKING:
    from pyspark import SparkContext

POLL_SECONDS = 1.0
SETTLED_SECONDS = 4  # no further executor has come for so long
FULL_QUEUE = (
    " Other applications may hold the queue (yarn application -list), and Spark's own "
    "application master has a container on one of the nodes: 1 GiB and a core."
)


def slots(context: "SparkContext") -> int:
    """Tasks that could run at once, were the cluster idle."""
    scala = context._jsc.sc()
    profile = scala.resourceProfileManager().defaultResourceProfile()
    return scala.maxNumConcurrentTasks(profile)


def wait_for_slots(
    context: "SparkContext",
    workers: int | None,
    wait_seconds: float,
    least: int | None = None,
) -> int:
    """Tasks that can run at once, when enough executors have come.

    Without `workers`, as many as the settings promise, or as many as there are once
    no more have come for a while.

    Args:
        context: of the cluster.
        workers: that are wanted.
        wait_seconds: for them.
        least: that suffice after that; None: all are needed.

    Raises:
        UserError: there are too few after `wait_seconds`.
    """
    wanted = workers or _promised_slots(context)
    started = changed = time.monotonic()
    free = slots(context)
    while may_change(context) and free < (wanted or sys.maxsize):
        time.sleep(0.2)
        now, before, free = time.monotonic(), free, slots(context)
        changed = now if free != before else changed
        settled = free and not wanted and now - changed > SETTLED_SECONDS
        if settled or now - started > wait_seconds:
            break
    if free < (least or wanted or 1):
        waited = f" after {wait_seconds:g} s" if may_change(context) else ""
        cores = context.getConf().get("spark.task.cpus")
        raise UserError(
            f"{least or wanted or 1} worker(s) of {cores} core(s) need as many free "
            f"slots; {context.master} offers {free}{waited}. Lower runner.workers, add "
            "executors, or raise runner.wait_for_workers."
            f"{FULL_QUEUE if context.master == 'yarn' else ''}"
        )
    return free


@contextmanager
def executors_awaited(context: "SparkContext", wait_seconds: float) -> Iterator[None]:
    """End the block's Spark jobs when no executor has been left for so long.

    Spark would wait for one for ever.

    Raises:
        UserError: that has happened.
    """
    ended, given_up = threading.Event(), threading.Event()

    def watch() -> None:
        last = time.monotonic()  # that there was one
        while not ended.wait(POLL_SECONDS):
            if slots(context):
                last = time.monotonic()
            elif time.monotonic() - last > wait_seconds:
                given_up.set()
                cancel_jobs(context)

    if may_change(context):
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except Exception:
        if given_up.is_set():
            raise UserError(
                f"All executors are gone, and none has come for {wait_seconds:g} s "
                "(runner.wait_for_workers). Look at the cluster's nodes, and start "
                "again."
            ) from None
        raise
    finally:
        ended.set()


def cancel_jobs(context: "SparkContext") -> None:
    """Fail the jobs under way.

    Spark's own cancelAllJobs forgets a job whose only stage has just failed and is to
    start again: whoever waits for it waits for ever. A job that is not listed yet is
    not cancelled either: try again until the caller is back.
    """
    for job in context.statusTracker().getActiveJobsIds():
        context._jsc.sc().cancelJob(job)


def may_change(context: "SparkContext") -> bool:
    """Whether executors can come and go: they are not in this process."""
    return not re.match(r"local(\[|$)", context.master)


def _promised_slots(context: "SparkContext") -> int | None:
    conf = context.getConf()
    instances = conf.get("spark.executor.instances")
    cores = conf.get("spark.executor.cores", "1")
    if not instances:
        return None
    return int(instances) * (int(cores) // int(conf.get("spark.task.cpus", "1")))
