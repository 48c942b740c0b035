"""Comparison -> report.html, report.md and report.csv. Reads results, never trains."""

import csv
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup, escape

from xray.common.errors import UserError
from xray.records.predictions import find_predictions
from xray.records.reading import read_records
from xray.records.record import RunRecord
from xray.records.scores import MARGIN
from xray.records.wording import plural
from xray.report.comparison import Accuracy, compare
from xray.report.configurations import plain
from xray.report.costs import PriceTable
from xray.report.group import Comparison, Group
from xray.report.page import (
    accuracy,
    calibration,
    forecast,
    notes,
    resources,
    subgroups,
    tables,
)
from xray.report.page.drawing import Chart
from xray.report.page.figures import charts
from xray.report.page.history import history
from xray.report.page.overview import overview
from xray.report.page.summary import PlainAnswer, answers, group_title, split_told
from xray.report.page.tables import Table
from xray.report.page.verdict import verdicts
from xray.report.rows import run_rows

TEMPLATES = Path(__file__).parent / "templates"
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
"""Characters that no page may hold; a record could."""
MAX_CHARTED = 5
"""Groups with charts; drawing is what takes time and room in the page."""


@dataclass(frozen=True)
class GroupSection:
    """Everything the templates show of one group."""

    number: int
    title: str
    facts: str
    differences: list[str]
    warnings: list[str]
    verdicts: list[str]
    answers: list[PlainAnswer]
    charts: list[Chart]
    tables: list[tuple[str, list[Table]]]


class Report(NamedTuple):
    """A written report.

    Attributes:
        paths: of its page, its Markdown and its CSV.
        verdicts: for each work, the sentences that its section begins with.
    """

    paths: list[Path]
    verdicts: list[list[str]]


def write_report(
    results: Sequence[Path],
    out: Path,
    prices: PriceTable,
    any_commit: bool = False,
    target_auc: float | None = None,
    margin: float = MARGIN,
) -> Report:
    """Write the three files into `out`.

    Args:
        results: records, and folders that are searched for them, subfolders too.
        out: folder for the report; made if it is missing.
        prices: what machines cost.
        any_commit: whether runs of several commits of this project are repeats.
        target_auc: that times are told to; None is what every run of a work ends with.
        margin: loss of macro AUC that is borne.

    Raises:
        UserError: no such folder, nothing to compare there, one run told in two ways,
            or `out` is not writable.
    """
    records, left_out = _read(results)
    accuracy = Accuracy(target_auc, margin, find_predictions(results))
    comparison = compare(records, left_out, prices, any_commit, accuracy)
    _check_compared(comparison, results)
    content = _content(comparison)
    try:
        out.mkdir(parents=True, exist_ok=True)
        paths = [
            _write(out / "report.html", _render("report.html.j2", content)),
            _write(out / "report.md", _render("report.md.j2", content)),
            _write_csv(out / "report.csv", run_rows(comparison)),
        ]
    except OSError as error:
        raise UserError(
            f"The report cannot be written to {out}: {error.strerror}. "
            "Give another folder with --out."
        ) from None
    return Report(paths, [section.verdicts for section in content["sections"]])


def _read(results: Sequence[Path]) -> tuple[list[RunRecord], list[str]]:
    for place in results:
        if not place.exists():
            raise UserError(
                f"No folder {place}. Give the folder that holds the records."
            )
    records, left_out = read_records(*results)
    if not records:
        others = f" {plural(len(left_out), 'other file')} left out." if left_out else ""
        where = ", ".join(map(str, results))
        raise UserError(f"No run records under {where}.{others} Run a runner first.")
    return records, left_out


def _check_compared(comparison: Comparison, results: Sequence[Path]) -> None:
    if not comparison.groups:
        where = ", ".join(map(str, results))
        first = notes.missing(comparison)[0]
        raise UserError(
            f"No successful run to compare under {where}, in "
            f"{plural(len(comparison.records), 'record')}. Run one again; the first "
            f"says: {plain(first)}"
        )


def _content(comparison: Comparison) -> dict[str, Any]:
    compared = sum(len(group.records) for group in comparison.groups)
    return {
        "sections": [_section(group, comparison) for group in comparison.groups],
        "overview": overview(comparison),
        "compared": plural(compared, "successful run"),
        "works": plural(len(comparison.groups), "work"),
        "newest": f"{comparison.records[-1].created:%Y-%m-%d %H:%M} UTC",
        "missing": [plain(line) or "" for line in notes.missing(comparison)],
        "fairness": notes.FAIRNESS,
        "max_charted": MAX_CHARTED,
    }


def _section(group: Group, comparison: Comparison) -> GroupSection:
    return GroupSection(
        number=group.number,
        title=plain(group_title(group)) or "",
        facts=f"{plural(len(group.records), 'run')}, "
        f"{plural(len(group.configurations), 'configuration')}, work id "
        f"{plain(group.work_id)}, {split_told(group.work)}",
        differences=_differences(group, comparison.groups[0]),
        warnings=notes.warnings(group),
        verdicts=[plain(sentence) or "" for sentence in verdicts(group)],
        answers=answers(group),
        charts=_charts(group, comparison.prices) if group.number <= MAX_CHARTED else [],
        tables=_tables(group, comparison.prices),
    )


def _charts(group: Group, prices: PriceTable) -> list[Chart]:
    predicted = forecast.chart(group, prices, f"g{group.number}-predicted")
    reliability = calibration.chart(group, f"g{group.number}-reliability")
    return charts(group) + [found for found in (reliability, predicted) if found]


def _tables(group: Group, prices: PriceTable) -> list[tuple[str, list[Table]]]:
    """Heading and tables, in reading order; empty ones left out."""
    scaling = tables.scaling(group)
    predicted = forecast.table(group, prices)
    by_commit = history(group)
    named = [
        ("Time, accuracy and cost", [tables.headline(group)]),
        ("Accuracy and the time to it", [accuracy.accuracy(group)]),
        ("Scaling", [scaling] if scaling else []),
        ("Prediction, not measured", [predicted] if predicted else []),
        ("Where the time goes", [tables.phases(group)]),
        ("Throughput and memory", [resources.resources(group)]),
        ("Accuracy per finding", accuracy.findings(group)),
        ("Accuracy by group of patients", subgroups.tables(group)),
        ("Calibration and thresholds", calibration.tables(group)),
        ("Cost", [resources.costs(group, prices)]),
        ("Machines", [resources.machines(group)]),
        ("By commit", [by_commit] if by_commit else []),
    ]
    return [(heading, found) for heading, found in named if found]


def _differences(group: Group, first: Group) -> list[str]:
    """Dotted fields that differ from group 1, with both values."""
    return [
        f"{name}: {_lookup(group.work, name)} (work 1: {_lookup(first.work, name)})"
        for name in group.differences
    ]


def _lookup(part: Any, dotted: str) -> str:
    for name in dotted.split("."):
        part = part.get(name) if isinstance(part, dict) else None
    return "null" if part is None else plain(part) or str(part)


def _render(name: str, content: dict[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"md": escape_markdown, "unbroken": unbroken}
    return CONTROL.sub("", environment.get_template(name).render(content))


def escape_markdown(text: Any) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, no table borders."""
    line = html.escape(" ".join(str(text).split()), quote=False)
    return "".join("\\" + char if char in "\\`*_[]|~" else char for char in line)


def unbroken(text: str) -> Markup:
    """A table cell as HTML in which a range in brackets stays on one line."""
    escaped = str(escape(text))
    return Markup(re.sub(r"\([^()]*–[^()]*\)", r"<span>\g<0></span>", escaped))


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return path
