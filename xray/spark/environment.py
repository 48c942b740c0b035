"""What runs on the workers: it must be what runs on the driver."""

import contextlib
import socket
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from xray.common.errors import UserError
from xray.model.cpu_step import check_precision
from xray.model.keras_import import import_keras
from xray.records.machine import describe_hardware, package_versions
from xray.spark.cluster import Cluster

# Versions that must agree between driver and executors, or pickles and weights differ.
SHARED_PACKAGES = ("keras", "elephas", "numpy", "pyspark")


@dataclass(frozen=True)
class WorkerEnvironment:
    """What one executor's Python reports of itself."""

    host: str
    executable: str
    versions: dict[str, str]
    hardware: dict[str, Any]


def describe_worker() -> WorkerEnvironment:
    """What runs here, on an executor."""
    return WorkerEnvironment(
        socket.gethostname(), sys.executable, package_versions(), describe_hardware()
    )


def check_workers(
    environments: Collection[WorkerEnvironment], precision: str = "float32"
) -> dict[str, Any]:
    """What a record's `machine` tells of the cluster, as JSON values.

    Returns:
        nodes: machines that took part, the driver's included. executors: for each
        machine with workers its hardware and how many `workers` it had.

    Raises:
        UserError: one runs another Python or other versions than the driver, or its CPU
            gains nothing in the precision.
    """
    ours = package_versions()
    for theirs in environments:
        _check_environment(ours, theirs)
        able = bool(theirs.hardware.get("bfloat16"))
        check_precision(precision, able, f": a worker's {_cpu_of(theirs)}")
    workers = Counter(environment.host for environment in environments)
    hardware = {each.host: each.hardware for each in environments}
    return {
        "nodes": len({socket.gethostname(), *workers}),
        "executors": [
            {**hardware[host], "workers": workers[host]} for host in sorted(workers)
        ],
    }


class Attendance:
    """The machines of a run whose workers come and go, and when each had some."""

    def __init__(self) -> None:
        self._environments: dict[str, list[WorkerEnvironment]] = {}
        self._present: dict[str, list[list[float | None]]] = {}

    def check(
        self,
        environments: Collection[WorkerEnvironment],
        precision: str,
        seconds: float,
    ) -> dict[str, Any]:
        """`check_workers`, with those that were here before and are gone.

        Args:
            environments: of the workers that start now.
            precision: of the run.
            seconds: since its start. Who starts it is there from the beginning on.

        Returns:
            Each of the executors also has `present`: pairs of seconds, from and to
            which it had workers; None is the end of the run.
        """
        here = {environment.host for environment in environments}
        began = seconds if self._present else 0.0
        for host, spans in self._present.items():
            if host not in here and spans[-1][1] is None:
                spans[-1][1] = seconds
        for host in here:
            spans = self._present.setdefault(host, [])
            if not spans or spans[-1][1] is not None:
                spans.append([began, None])
            self._environments[host] = [e for e in environments if e.host == host]
        everybody = sum(self._environments.values(), [])
        found = check_workers(everybody, precision)
        for executor, host in zip(
            found["executors"], sorted(self._present), strict=True
        ):
            executor["present"] = [list(span) for span in self._present[host]]
        return found


def _cpu_of(environment: WorkerEnvironment) -> str:
    return environment.hardware.get("cpu_model") or "CPU"


def check_cluster(cluster: Cluster) -> dict[str, Any]:
    """`check_workers` of a worker in every slot.

    Raises:
        UserError: one runs another Python or other versions than the driver.
    """
    slots = cluster.context.parallelize(range(cluster.workers), cluster.workers)
    return check_workers(slots.map(lambda _: describe_worker()).collect())


def import_on_workers(cluster: Cluster) -> dict[str, Any]:
    """Import TensorFlow on every worker; `check_workers` of them.

    Raises:
        UserError: a worker runs another Python or other versions than the driver.
    """

    def imported(_: Iterator[int]) -> Iterator[WorkerEnvironment]:
        with contextlib.suppress(ImportError):  # the versions tell what is missing
            import_keras()
            import elephas.spark_model  # noqa: F401 - the import is the point
        yield describe_worker()

    slots = cluster.context.parallelize(range(cluster.workers), cluster.workers)
    return check_workers(slots.mapPartitions(imported).collect())


def _check_environment(ours: dict[str, str], theirs: WorkerEnvironment) -> None:
    minor = [v["python"].rsplit(".", 1)[0] for v in (ours, theirs.versions)]
    differing = [
        f"{name} {theirs.versions.get(name, 'missing')} instead of {ours.get(name)}"
        for name in SHARED_PACKAGES
        if theirs.versions.get(name) != ours.get(name)
    ]
    if minor[0] != minor[1]:
        differing.insert(0, f"Python {minor[1]} instead of {minor[0]}")
    if differing:
        raise UserError(
            f"Executors run {theirs.executable} with {', '.join(differing)}. Set "
            "PYSPARK_PYTHON to the driver's environment, or ship it with --archives."
        )
