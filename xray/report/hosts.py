"""The machines that did a run's work, as far as its record tells."""

from typing import Any, NamedTuple

from xray.config.runners import runner_of
from xray.records.record import RunRecord


class Host(NamedTuple):
    """One machine that trained.

    Attributes:
        cpu_model: None where it is not recorded.
        cores: processors that a worker may use; None where not recorded.
        instance_type: of EC2; None elsewhere.
        workers: that it had.
        memory_bytes: of the machine; None where not recorded.
        physical_cores: of the machine; None where not recorded.
        share: of the run's seconds, in which it had workers; below 1 only where it went
            or came in a run with `runner.min_workers`.
    """

    cpu_model: str | None
    cores: int | None
    instance_type: str | None
    workers: int
    memory_bytes: int | None
    physical_cores: int | None
    share: float = 1.0


def working_hosts(record: RunRecord) -> list[Host]:
    """The machines that trained: Elephas' executors, or the one that ran it all.

    Records of earlier versions describe the driver's machine alone, which then stands
    for the others.
    """
    found, workers = record.machine.get("executors"), record.workers or 1
    if found:
        total = record.phases.total
        return [
            _host(each, each.get("workers", 1))._replace(share=_share(each, total))
            for each in found
        ]
    count = max(1, node_count(record) - _has_primary(record))
    shares = [workers // count + (place < workers % count) for place in range(count)]
    return [_host(record.machine, share) for share in shares]


def node_count(record: RunRecord) -> int:
    """Machines that took part, the driver's included; one if not recorded."""
    nodes = record.machine.get("nodes")
    return nodes if isinstance(nodes, int) and nodes > 1 else 1


def crowding(record: RunRecord) -> float:
    """Threads for each core of the fullest machine, 1 at least."""
    threads = record.threads_per_worker or 1
    hosts = working_hosts(record)
    full = [host.workers * threads / host.cores for host in hosts if host.cores]
    return max([1.0, *full])


def _has_primary(record: RunRecord) -> bool:
    """Whether a node of a record without executors is EMR's primary."""
    on_ec2 = bool(record.machine.get("instance_type"))
    return on_ec2 and runner_of(record.runner).has_workers


def _share(machine: dict[str, Any], total_seconds: float) -> float:
    present = machine.get("present")
    if not present or not total_seconds:
        return 1.0
    ends = [(total_seconds if end is None else end) - start for start, end in present]
    return min(1.0, sum(ends) / total_seconds)


def _host(machine: dict[str, Any], workers: int) -> Host:
    own = set(Host._fields) - {"workers", "share"}
    told = {name: machine.get(name) for name in own}
    return Host(workers=workers, **told)
