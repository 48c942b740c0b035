"""Comparison -> the tables that the page and the Markdown file both show."""

from collections.abc import Callable
from dataclasses import dataclass, field

from xray.records.record import RunRecord
from xray.records.scores import NO_FINDING
from xray.records.timing import PHASES
from xray.records.wording import DASH, interval, number, scaled
from xray.report.configurations import plain
from xray.report.costs import PriceTable
from xray.report.group import Configuration, Group, cpu_per_wall, largest_worker_bytes
from xray.report.hosts import Host, working_hosts
from xray.report.page.notes import (
    ASSUMED,
    INTERRUPTED,
    OTHER_BASELINE,
    OTHER_CPU,
    UNJUDGED,
    amdahl_fits,
    assumed_cost,
    baseline,
    interrupted,
    judged_note,
    macro_note,
    other_baseline,
    other_cpu,
    target_note,
)
from xray.report.page.summary import macro_range
from xray.report.page.wording import gibibytes, spread, usd

AUC_COLUMNS = 4
"""Configurations side by side in one table, so that it fits an A4 page."""


@dataclass(frozen=True)
class Table:
    """A caption, the names of the columns and rows of text; the first cell names it."""

    caption: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)


Column = tuple[str, Callable[[Configuration], str]]


def _table(
    caption: str, parts: list[Configuration], columns: list[Column], *notes: str
) -> Table:
    rows = [[part.label, *(value(part) for _, value in columns)] for part in parts]
    names = ["Configuration", *(name for name, _ in columns)]
    return Table(caption, names, rows, [note for note in notes if note])


def headline(group: Group) -> Table:
    """Time, speedup, accuracy and cost of every configuration."""
    columns: list[Column] = [
        ("Runs", lambda part: str(len(part.records))),
        ("Total, s", lambda part: spread(part.seconds("total"))),
        ("Fit, s", lambda part: spread(part.seconds("fit"))),
    ]
    if group.baseline:
        columns[2:2] = [("Speedup, total", lambda part: _speedup(part, "total"))]
        columns += [("Speedup, fit", lambda part: _speedup(part, "fit"))]
    columns += [
        ("Macro AUC (95% interval)", _macro),
        ("Cost a run, USD", _cost),
    ]
    return _table(
        "Time, speedup, accuracy and cost; medians over repeats, (lowest–highest)",
        group.configurations,
        columns,
        baseline(group),
        other_cpu(group),
        other_baseline(group),
        interrupted(group),
        assumed_cost(group),
    )


def accuracy(group: Group) -> Table:
    """AUC of all configurations, judged in pairs, and what it takes to get there."""
    target = number(group.target, 3)
    columns: list[Column] = [
        ("Macro AUC, 15 labels", _macro),
        ("14 pathologies", _pathologies),
        ("Difference on the same images", _difference),
        ("Verdict", lambda part: part.judged.verdict if part.judged else DASH),
        (f"Runs that reach {target}", _reached),
        (f"Seconds to {target}", lambda part: _until(part, "seconds")),
        (f"Images to {target}", lambda part: _until(part, "images")),
        (f"USD to {target}", _usd_until),
    ]
    margins = [part.judged.margin for part in group.configurations if part.judged]
    return _table(
        "Accuracy, and time, images and money to a macro AUC; medians, "
        "(lowest–highest)",
        group.configurations,
        columns,
        macro_note(group),
        judged_note(margins[0]) if margins else UNJUDGED,
        target_note(group),
    )


def _pathologies(part: Configuration) -> str:
    scores = part.representative.scores
    if scores is None:
        return DASH
    if scores.pathology_auc.value is not None:
        return interval(scores.pathology_auc)
    values = [
        finding.auc.value
        for name, finding in scores.findings.items()
        if name != NO_FINDING and finding.auc.value is not None
    ]
    return number(sum(values) / len(values), 3) if values else DASH


def _difference(part: Configuration) -> str:
    if part.judged is None:
        return DASH
    return interval(part.judged.difference).replace("-", "−")


def _reached(part: Configuration) -> str:
    found = part.to_target
    if found is None or not found.runs:
        return DASH
    best = f", best {number(found.best, 3)}" if found.reached < found.runs else ""
    return f"{found.reached} of {found.runs}{best}"


def _until(part: Configuration, name: str) -> str:
    return spread(getattr(part.to_target, name) if part.to_target else None)


def _usd_until(part: Configuration) -> str:
    found = part.to_target and part.to_target.usd
    return usd(found.median) if found else DASH


def scaling(group: Group) -> Table | None:
    """Speedup per processor; None without a baseline or a second configuration."""
    parts = [part for part in group.configurations if not part.runner.has_gpu]
    if not group.baseline or len(parts) < 2:
        return None
    columns: list[Column] = [("Processors p", lambda part: str(part.processors))]
    for measure in ("total", "fit"):
        columns += [
            (
                f"Speedup, {measure}",
                lambda part, measure=measure: _speedup(part, measure),
            ),
            (
                f"Efficiency, {measure}",
                _of(measure, lambda found: number(found.efficiency)),
            ),
            (
                f"Karp–Flatt e, {measure}",
                _of(measure, lambda found: number(found.karp_flatt)),
            ),
        ]
    return _table(
        "Scaling on CPUs; p is workers × threads, ideal speedup is p",
        parts,
        columns,
        *(amdahl_fits(group, measure) for measure in ("total", "fit")),
        "Karp–Flatt e = (1/S − 1/p) / (1 − 1/p) for p ≥ 2: steady as p grows, a serial "
        "part limits the speedup; rising, overhead does; above 1, slower than one "
        "thread. Source: Karp and Flatt, Communications of the ACM 33(5), 1990.",
        other_cpu(group),
        other_baseline(group),
        interrupted(group),
    )


def phases(group: Group) -> Table:
    """Where the time goes."""
    names = [*PHASES, "other", "total"]
    columns: list[Column] = [
        (name.capitalize(), lambda part, name=name: spread(part.seconds(name)))
        for name in names
    ]
    return _table(
        "Seconds per phase; medians over repeats, (lowest–highest)",
        group.configurations,
        columns,
        "Other is the total less the phases. Medians of the phases need not add up to "
        "the median of the total.",
    )


def resources(group: Group) -> Table:
    """Throughput, memory and use of the processors."""
    columns: list[Column] = [
        ("Images/s", _rate("overall")),
        ("Images/s, steady", _rate("steady")),
        ("Global batch", lambda part: _first(part, "global_batch_size")),
        ("Driver peak, GiB", _memory(lambda run: run.driver_peak_memory_bytes)),
        ("Largest worker, GiB", _memory(largest_worker_bytes)),
        ("CPU s per s of fit", lambda part: spread(part.spread(cpu_per_wall))),
    ]
    return _table(
        "Throughput of training, peak memory and CPU use; medians over repeats",
        group.configurations,
        columns,
        "Steady leaves the first epoch out. About 1 CPU second per second is one busy "
        "core; for Elephas the workers' CPU seconds are added up.",
    )


def findings(group: Group) -> list[Table]:
    """AUC per finding, a few configurations side by side in each table."""
    parts = [part for part in group.configurations if part.representative.scores]
    chunks = range(0, len(parts), AUC_COLUMNS)
    return [_findings(parts[start : start + AUC_COLUMNS]) for start in chunks]


def costs(group: Group, prices: PriceTable) -> Table:
    """What each run costs and which price that rests on."""
    columns: list[Column] = [
        ("Machines", _instances),
        ("USD/h", lambda part: number(part.costs[0].usd_per_hour, 3)),
        ("Total, s", lambda part: spread(part.seconds("total"))),
        ("Cost a run, USD", lambda part: part.costs[0].problem or _cost(part)),
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
    return _table(
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
    return _table(
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


def _findings(parts: list[Configuration]) -> Table:
    runs = [part.representative for part in parts]
    scores = [run.scores for run in runs if run.scores]
    names = dict.fromkeys(name for found in scores for name in found.findings)
    rows = [["Macro (mean)", DASH, *(interval(s.macro_auc) for s in scores)]]
    for name in names:
        cells = [s.findings.get(name) for s in scores]
        positives = sorted({str(cell.positives) for cell in cells if cell})
        rows.append(
            [
                name,
                ", ".join(positives),
                *(interval(cell.auc if cell else None) for cell in cells),
            ]
        )
    resamples = sorted({found.resamples for found in scores})
    return Table(
        "Test AUC per finding with its 95% interval",
        ["Finding", "Positives", *(part.label for part in parts)],
        rows,
        [
            f"{DASH}: undefined, only one value occurs in the test set. Intervals from "
            f"{' or '.join(map(str, resamples))} resamples of patients. With repeats, "
            "the run with the median macro AUC.",
        ],
    )


def _of(measure: str, show: Callable) -> Callable[[Configuration], str]:
    def cell(part: Configuration) -> str:
        found = part.speedups.get(measure)
        return show(found) if found else DASH

    return cell


def _speedup(part: Configuration, measure: str) -> str:
    found = part.speedups.get(measure)
    if not found:
        return DASH
    return scaled(found.value) + marks(part)


def marks(part: Configuration) -> str:
    """What a speedup must be read with; the notes below the table explain each."""
    found = [
        (OTHER_CPU, not part.same_cpu),
        (OTHER_BASELINE, bool(part.other_baseline)),
        (INTERRUPTED, bool(part.key.course)),
    ]
    return "".join(f"\u00a0{mark}" for mark, applies in found if applies)


def _macro(part: Configuration) -> str:
    scores = part.representative.scores
    text = interval(scores.macro_auc if scores else None)
    over_repeats = macro_range(part)
    return f"{text}; repeats {over_repeats}" if over_repeats else text


def _cost(part: Configuration) -> str:
    if part.cost is None:
        return "no price"
    return usd(part.cost.median) + (f"\u00a0{ASSUMED}" if part.costs[0].assumed else "")


def _instances(part: Configuration) -> str:
    cost = part.costs[0]
    return (cost.described or DASH) + (f"\u00a0{ASSUMED}" if cost.assumed else "")


def _rate(name: str) -> Callable[[Configuration], str]:
    return lambda part: spread(
        part.spread(lambda run: getattr(run.images_per_second, name))
    )


def _memory(size: Callable[[RunRecord], int | None]) -> Callable[[Configuration], str]:
    def cell(part: Configuration) -> str:
        found = part.spread(size)
        return gibibytes(found.median if found else None)

    return cell


def _first(part: Configuration, name: str) -> str:
    value = getattr(part.records[0], name)
    return DASH if value is None else str(value)
