"""Tables of throughput and memory, of what runs cost, and of machines."""

from collections.abc import Callable

from xray.records.record import RunRecord
from xray.records.wording import DASH, number, scaled
from xray.report.configurations import plain
from xray.report.costs import PriceTable
from xray.report.group import Configuration, Group, cpu_per_wall, largest_worker_bytes
from xray.report.hosts import Host, working_hosts
from xray.report.page.notes import (
    ASSUMED,
    assumed_cost,
)
from xray.report.page.tables import Column, Table, cost, table_of
from xray.report.page.wording import gibibytes, spread


def resources(group: Group) -> Table:
    """Throughput, memory and use of the processors."""
    lender = group.shorter
    note = (
        f"Over one thread: that of work {lender.number}, the same but for its number "
        "of epochs, where it ran on the same CPU model. It serves no other table."
        if lender
        else ""
    )

    def gain(part: Configuration, processors: int = 1) -> str:
        return _over_one_thread(part, lender, processors)

    columns: list[Column] = [
        ("Images/s", _rate("overall")),
        ("Images/s, steady", _rate("steady")),
        ("Steady, over one thread", gain),
        ("and per processor", lambda part: gain(part, part.processors)),
        ("Global batch", lambda part: _first(part, "global_batch_size")),
        ("Driver peak, GiB", _memory(lambda run: run.driver_peak_memory_bytes)),
        ("Largest worker, GiB", _memory(largest_worker_bytes)),
        ("CPU s per s of fit", lambda part: spread(part.spread(cpu_per_wall))),
    ]
    return table_of(
        "Throughput of training, peak memory and CPU use; medians over repeats",
        group.configurations,
        columns,
        "Steady leaves the first epoch out; over one thread, it is what training gains "
        "however long it goes on, and per processor its weak scaling. About 1 CPU "
        "second per second is one busy core; for Elephas the workers' CPU seconds are "
        "added up.",
        note,
    )


def costs(group: Group, prices: PriceTable) -> Table:
    """What each run costs and which price that rests on."""
    columns: list[Column] = [
        ("Machines", _instances),
        ("USD/h", lambda part: number(part.costs[0].usd_per_hour, 3)),
        ("Total, s", lambda part: spread(part.seconds("total"))),
        ("Cost a run, USD", lambda part: part.costs[0].problem or cost(part)),
    ]
    used = {
        name
        for part in group.configurations
        for cost in part.costs
        for name in cost.machines
    }
    sources = [
        f"{name}: {price.source}; entered {price.date}."
        for name, price in prices.instances.items()
        if name in used
    ]
    return table_of(
        "Cost a run: USD per hour × hours from start to end, one minute at least; for "
        "Elephas with the primary node of its cluster and the EMR surcharge",
        group.configurations,
        columns,
        assumed_cost(group),
        "Not included: starting the cluster, storage, requests and data transfer.",
        *sources,
    )


def machines(group: Group) -> Table:
    """What each configuration ran on."""

    def recorded(name: str) -> Callable[[Configuration], str]:
        return lambda part: plain(part.records[0].machine.get(name)) or DASH

    def trained(name: str) -> Callable[[Configuration], str]:
        return lambda part: _each(part, lambda host: getattr(host, name))

    columns: list[Column] = [
        ("CPU model", trained("cpu_model")),
        ("Cores", trained("cores")),
        ("Physical cores", trained("physical_cores")),
        ("Memory, GiB", lambda part: _each(part, _memory_of)),
        ("GPU", recorded("gpu")),
        ("Nodes", lambda part: str(part.key.nodes)),
        ("Instance type", trained("instance_type")),
        ("System", recorded("os")),
        ("Pixels from", lambda part: part.key.pixels or DASH),
    ]
    caption = (
        "Machines that trained, as the first run of each configuration recorded them"
    )
    return table_of(
        caption,
        group.configurations,
        columns,
        "Cores are those that a process may use; two of them share a physical core "
        "where its threads are on. Nodes counts a driver's own machine as well.",
    )


def _each(part: Configuration, value: Callable[[Host], object]) -> str:
    """One value for all machines that trained, or each different one."""
    hosts = working_hosts(part.records[0])
    return ", ".join(dict.fromkeys(plain(value(host)) or DASH for host in hosts))


def _memory_of(host: Host) -> str:
    return gibibytes(host.memory_bytes)


def _instances(part: Configuration) -> str:
    cost = part.costs[0]
    return (cost.described or DASH) + (f"\u00a0{ASSUMED}" if cost.assumed else "")


def _rate(name: str) -> Callable[[Configuration], str]:
    return lambda part: spread(
        part.spread(lambda run: getattr(run.images_per_second, name))
    )


def _over_one_thread(part: Configuration, lender: Group | None, processors: int) -> str:
    """Steady images/s over the baseline's, each worker with work of its own."""
    baseline = part.baseline
    if lender and lender.baseline.key.cpu_model == part.key.cpu_model:
        baseline = lender.baseline
    base = baseline and baseline.spread(_steady)
    mine = part.spread(_steady)
    if not (base and mine and base.median) or part.runner.has_gpu and processors != 1:
        return DASH
    return scaled(mine.median / base.median / processors)


def _steady(run: RunRecord) -> float | None:
    return run.images_per_second.steady


def _memory(size: Callable[[RunRecord], int | None]) -> Callable[[Configuration], str]:
    def cell(part: Configuration) -> str:
        found = part.spread(size)
        return gibibytes(found.median if found else None)

    return cell


def _first(part: Configuration, name: str) -> str:
    value = getattr(part.records[0], name)
    return DASH if value is None else str(value)
