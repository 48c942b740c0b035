"""Tables of accuracy: judged in pairs, the time to it, and AUC per finding."""

from xray.records.scores import is_pathology
from xray.records.wording import DASH, interval, number
from xray.report.group import Configuration, Group
from xray.report.page.notes import (
    UNJUDGED,
    judged_note,
    labels_of,
    macro_note,
    target_note,
)
from xray.report.page.tables import Column, Table, macro, table_of
from xray.report.page.wording import difference, spread, usd

AUC_COLUMNS = 4
"""Configurations side by side in one table, so that it fits an A4 page."""


def accuracy(group: Group) -> Table:
    """AUC of all configurations, judged in pairs, and what it takes to get there."""
    target, names = number(group.target, 3), labels_of(group)
    columns: list[Column] = [
        (f"Macro AUC, {len(names)} labels", macro),
        (f"{sum(map(is_pathology, names))} pathologies", _pathologies),
        ("Difference on the same images", _difference),
        ("Verdict", lambda part: part.judged.verdict if part.judged else DASH),
        (f"Runs that reach {target}", _reached),
        (f"Seconds to {target}", lambda part: _until(part, "seconds")),
        (f"Images to {target}", lambda part: _until(part, "images")),
        (f"USD to {target}", _usd_until),
    ]
    margins = [part.judged.margin for part in group.configurations if part.judged]
    return table_of(
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
        if is_pathology(name) and finding.auc.value is not None
    ]
    return number(sum(values) / len(values), 3) if values else DASH


def _difference(part: Configuration) -> str:
    return difference(part.judged.difference) if part.judged else DASH


def _reached(part: Configuration) -> str:
    found = part.to_target
    if found is None or not found.runs:
        return DASH
    best = f", best {number(found.best, 3)}" if found.reached < found.runs else ""
    fell = f", {found.fell} below it again" if found.fell else ""
    return f"{found.reached} of {found.runs}{best}{fell}"


def _until(part: Configuration, name: str) -> str:
    return spread(getattr(part.to_target, name) if part.to_target else None)


def _usd_until(part: Configuration) -> str:
    found = part.to_target and part.to_target.usd
    return usd(found.median) if found else DASH


def findings(group: Group) -> list[Table]:
    """AUC per finding, a few configurations side by side in each table."""
    parts = [part for part in group.configurations if part.representative.scores]
    chunks = range(0, len(parts), AUC_COLUMNS)
    return [_findings(parts[start : start + AUC_COLUMNS]) for start in chunks]


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
