"""Comparison -> the tables that the page and the Markdown file both show."""

from collections.abc import Callable
from dataclasses import dataclass, field

from xray.records.timing import PHASES
from xray.records.wording import DASH, interval, number, scaled
from xray.report.group import Configuration, Group
from xray.report.page.notes import (
    ASSUMED,
    INTERRUPTED,
    OTHER_BASELINE,
    OTHER_CPU,
    amdahl_fits,
    assumed_cost,
    baseline,
    interrupted,
    other_baseline,
    other_cpu,
)
from xray.report.page.summary import macro_range
from xray.report.page.wording import spread, usd


@dataclass(frozen=True)
class Table:
    """A caption, the names of the columns and rows of text; the first cell names it."""

    caption: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)


Column = tuple[str, Callable[[Configuration], str]]


def table_of(
    caption: str, parts: list[Configuration], columns: list[Column], *notes: str
) -> Table:
    """A row a configuration, and below it those notes that are not empty."""
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
        ("Macro AUC (95% interval)", macro),
        ("Cost a run, USD", cost),
    ]
    return table_of(
        "Time, speedup, accuracy and cost; medians over repeats, (lowest–highest)",
        group.configurations,
        columns,
        baseline(group),
        other_cpu(group),
        other_baseline(group),
        interrupted(group),
        assumed_cost(group),
    )


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
    return table_of(
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
    return table_of(
        "Seconds per phase; medians over repeats, (lowest–highest)",
        group.configurations,
        columns,
        "Other is the total less the phases. Medians of the phases need not add up to "
        "the median of the total.",
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


def macro(part: Configuration) -> str:
    """Its macro AUC with the interval, and the range of its repeats."""
    scores = part.representative.scores
    text = interval(scores.macro_auc if scores else None)
    over_repeats = macro_range(part)
    return f"{text}; repeats {over_repeats}" if over_repeats else text


def cost(part: Configuration) -> str:
    """Median US dollars a run, marked where they are assumed."""
    if part.cost is None:
        return "no price"
    return usd(part.cost.median) + (f"\u00a0{ASSUMED}" if part.costs[0].assumed else "")
