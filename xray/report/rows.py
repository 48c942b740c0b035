"""Comparison -> one flat row a run, for report.csv."""

from typing import Any

from xray.records.record import RunRecord
from xray.records.scores import Interval
from xray.records.timing import PHASES
from xray.report.costs import run_cost
from xray.report.group import (
    MEASURES,
    Comparison,
    Configuration,
    Group,
    cpu_per_wall,
    largest_worker_bytes,
    phase_seconds,
)

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def run_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """A row for every record, failed ones included; what is undefined is empty."""
    place = {
        id(record): (group, part)
        for group in comparison.groups
        for part in group.configurations
        for record in part.records
    }
    rows = []
    for record in comparison.records:
        group, part = place.get(id(record), (None, None))
        row = {**_identity(record, group, part), **_measured(record)}
        if group and part:
            row |= _against_baseline(record, part)
            row |= _cost(record, comparison)
        rows.append({name: _safe(value) for name, value in row.items()})
    return rows


def _identity(
    record: RunRecord, group: Group | None, part: Configuration | None
) -> dict[str, Any]:
    names = ("run_id", "status", "error", "work_id", "runner", "workers")
    names += (
        "threads_per_worker",
        "mode",
        "frequency",
        "engine",
        "global_batch_size",
        "seed",
    )
    machine = ("cpu_model", "cores", "gpu", "nodes", "instance_type")
    return {
        "created": record.created.isoformat(),
        **{name: getattr(record, name) for name in names},
        "group": group.number if group else None,
        "configuration": part.label if part else None,
        **{name: record.machine.get(name) for name in machine},
        "commit": record.git.get("commit"),
        "dirty": record.git.get("dirty"),
    }


def _measured(record: RunRecord) -> dict[str, Any]:
    phases = (*PHASES, "other", "total")
    row = {f"{name}_seconds": phase_seconds(record, name) for name in phases}
    row |= {
        "epochs": len(record.epochs),
        "final_loss": record.epochs[-1].loss if record.epochs else None,
        "images_trained": record.images_trained,
        "images_per_second": record.images_per_second.overall,
        "images_per_second_steady": record.images_per_second.steady,
        "driver_peak_memory_bytes": record.driver_peak_memory_bytes,
        "largest_worker_peak_memory_bytes": largest_worker_bytes(record),
        "cpu_seconds_per_second_of_fit": cpu_per_wall(record),
    }
    if record.scores:
        row["findings_scored"] = record.scores.findings_scored
        row |= _interval("macro_auc", record.scores.macro_auc)
        for name, finding in record.scores.findings.items():
            row[f"positives_{name}"] = finding.positives
            row |= _interval(f"auc_{name}", finding.auc)
    return row | _calibration(record)


def _calibration(record: RunRecord) -> dict[str, Any]:
    if record.calibration is None:
        return {}
    row = _interval("macro_brier", record.calibration.macro_brier)
    if scaled := record.calibration.scaled:
        row["temperature"] = record.calibration.temperature
        row |= _interval("macro_brier_at_temperature", scaled.macro_brier)
    for name, finding in record.calibration.findings.items():
        row |= _interval(f"brier_{name}", finding.brier)
        for rule, point in finding.thresholds.items():
            row[f"{rule}_{name}"] = point.threshold
            row[f"{rule}_{name}_test_sensitivity"] = point.sensitivity.value
            row[f"{rule}_{name}_test_specificity"] = point.specificity.value
    return row


def _interval(name: str, found: Interval) -> dict[str, Any]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _against_baseline(record: RunRecord, part: Configuration) -> dict[str, Any]:
    """This run's own speedup: its configuration's, rescaled to its own seconds."""
    row: dict[str, Any] = {}
    for measure in MEASURES:
        found, seconds = part.speedups.get(measure), phase_seconds(record, measure)
        if found and seconds > 0:
            ratio = part.seconds(measure).median / seconds
            row[f"speedup_{measure}"] = found.value * ratio
            row["baseline_on_same_cpu_model"] = part.same_cpu
    return row


def _cost(record: RunRecord, comparison: Comparison) -> dict[str, Any]:
    cost = run_cost(record, comparison.prices)
    return {
        "cost_usd": cost.usd,
        "cost_machines": cost.described,
        "cost_assumed": cost.assumed,
    }


def _safe(value: Any) -> Any:
    """Text that a spreadsheet would run as a formula gets a leading apostrophe."""
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return "'" + value
    return value
