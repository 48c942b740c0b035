"""What Spark's Java says of executors and stages while a job runs, and of the end."""

import contextlib
import socket
from typing import TYPE_CHECKING, Any

from xray.spark.slots import may_change

if TYPE_CHECKING:
    from pyspark import SparkContext


# YARN's client would try for a quarter of an hour.
IMPATIENT = {
    "yarn.resourcemanager.connect.max-wait.ms": 5000,
    "yarn.resourcemanager.connect.retry-interval.ms": 1000,
    "ipc.client.connect.max.retries": 1,
}


def any_leaving(context: "SparkContext") -> bool:
    """Whether an executor at work is told to go, and gets nothing more to do.

    As on a spot node that is about to be taken away.
    """
    if not may_change(context):
        return False
    backend = context._jsc.sc().schedulerBackend()
    return any(
        executor.activeTasks() and not backend.isExecutorActive(executor.id())
        for executor in _executors(context)
    )


def drop_executors(context: "SparkContext", address: str) -> None:
    """Give up the executors of a host that is silent; Spark would take a minute."""
    from py4j.protocol import Py4JError

    for executor in _executors(context):
        host = executor.hostPort().rpartition(":")[0]
        with contextlib.suppress(OSError, Py4JError):
            if socket.gethostbyname(host) == address:
                context._jsc.sc().killAndReplaceExecutor(executor.id())


def _executors(context: "SparkContext") -> list[Any]:
    """Spark's summaries of those that have not ended."""
    found = context._jsc.sc().statusStore().executorList(True)
    summaries = map(found.apply, range(found.size()))
    return [executor for executor in summaries if executor.id() != "driver"]


def last_failure(context: "SparkContext") -> str | None:
    """Why Spark last had to start a stage again, in one line; None: it had not."""
    scala, gateway = context._jsc.sc(), context._gateway
    failed = gateway.jvm.java.util.ArrayList()
    failed.add(gateway.jvm.org.apache.spark.status.api.v1.StageStatus.FAILED)
    none, empty = gateway.new_array(gateway.jvm.double, 0), failed.subList(0, 0)
    stages = scala.statusStore().stageList(failed, False, False, none, empty)
    if not stages.size():
        return None
    reason = stages.apply(0).failureReason()  # the newest comes first
    return " ".join(reason.get().split()) if reason.isDefined() else None


def why_ended(context: "SparkContext") -> str | None:
    """Why the cluster has ended the application under us, in words; None: it has not.

    Spark's own error says that its context was shut down, and not why.
    """
    from py4j.protocol import Py4JError

    try:
        if not context._jsc.sc().isStopped():
            return None
    except (Py4JError, OSError):  # Java itself is gone
        return None
    with contextlib.suppress(Py4JError):  # YARN is gone as well
        if context.master == "yarn":
            return _diagnostics(context)
    return ""


def _diagnostics(context: "SparkContext") -> str:
    """What YARN tells of the application, in one line; it is asked for some seconds."""
    api = context._jvm.org.apache.hadoop.yarn
    settings = api.conf.YarnConfiguration()
    for name, value in IMPATIENT.items():
        settings.setInt(name, value)
    client = api.client.api.YarnClient.createYarnClient()
    client.init(settings)
    client.start()
    try:
        number = api.api.records.ApplicationId.fromString(context.applicationId)
        told = client.getApplicationReport(number).getDiagnostics()
        return " ".join(told.split()).rstrip(".")
    finally:
        client.stop()
