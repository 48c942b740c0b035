"""Records -> groups that did the same work -> configurations with medians."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from xray.config.recipe import UNWORKED, ModelConfig, TrainingConfig
from xray.records.predictions import TestPredictions, read_predictions
from xray.records.record import RunRecord, work_differences
from xray.records.scores import MARGIN
from xray.report.configurations import (
    Key,
    key_of,
    order,
    unique_labels,
)
from xray.report.costs import PriceTable, run_cost
from xray.report.group import (
    MEASURES,
    TARGET,
    Comparison,
    Configuration,
    Group,
    Speedup,
)
from xray.report.paired import Judge
from xray.report.scaling import efficiency, karp_flatt, speedup
from xray.report.spread import Spread, ratio_deviation
from xray.report.to_target import default_target, to_target

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Accuracy:
    """What is asked of accuracy.

    Attributes:
        target_auc: that times are told to; None is what every run of a work ends with.
        margin: loss of macro AUC that is borne.
        predictions: run_id to the file of its test probabilities.
    """

    target_auc: float | None = None
    margin: float = MARGIN
    predictions: Mapping[str, Path] = field(default_factory=dict)


def compare(
    records: Sequence[RunRecord],
    left_out: Sequence[str],
    prices: PriceTable,
    any_commit: bool = False,
    accuracy: Accuracy | None = None,
) -> Comparison:
    """Group the records by work and work out what each configuration did.

    Groups are numbered from the one with the most configurations and runs.

    Args:
        records: of any works, each run once.
        left_out: files that are no records, with the reason.
        prices: what machines cost.
        any_commit: whether runs of several commits of this project are repeats.
        accuracy: what is asked of it; None compares no pairs.
    """
    by_work: dict[str, list[RunRecord]] = {}
    apart = []
    for record in records:
        if record.status == "success" and record.work_id:
            by_work.setdefault(record.work_id, []).append(record)
        else:
            apart.append(record)
    groups = [_group(runs, prices, any_commit) for runs in by_work.values()]
    for group in groups:
        _add_accuracy(group, accuracy or Accuracy())
    groups.sort(key=lambda group: (-len(group.configurations), -len(group.records)))
    for number, group in enumerate(groups, start=1):
        group.number = number
        group.differences = work_differences(groups[0].work, group.work)
        group.shorter = None if group.baseline else _same_but_for_epochs(group, groups)
    return Comparison(groups, list(records), apart, list(left_out), prices)


def _same_but_for_epochs(group: Group, groups: Sequence[Group]) -> Group | None:
    """One with a baseline, the one with most runs of it."""
    found = [
        other
        for other in groups
        if other.baseline
        and set(work_differences(other.work, group.work)) == {"training.epochs"}
    ]
    runs = [len(other.baseline.records) for other in found]
    return found[runs.index(max(runs))] if found else None


def _with_defaults(work: Mapping[str, Any]) -> dict[str, Any]:
    """A work with the settings that an older version did not write, and did not have.

    What such a version did is what the default of a later setting does.
    """
    defaults = {
        "model": ModelConfig().model_dump(mode="json"),
        "training": TrainingConfig().model_dump(mode="json"),
    }
    for name in UNWORKED:
        del defaults["training"][name]
    filled = dict(work)
    for section, known in defaults.items():
        if isinstance(work.get(section), Mapping):
            filled[section] = _filled(work[section], known)
    return filled


def _filled(values: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """`values`, and what of `known` they lack, in sections within as well."""
    filled = {**known, **values}
    for name, value in known.items():
        if isinstance(value, Mapping) and isinstance(filled[name], Mapping):
            filled[name] = _filled(filled[name], value)
    return filled


def _group(records: list[RunRecord], prices: PriceTable, any_commit: bool) -> Group:
    by_key: dict[Key, list[RunRecord]] = {}
    for record in records:
        by_key.setdefault(key_of(record, any_commit), []).append(record)
    keys = sorted(by_key, key=order)
    labels = unique_labels(keys)
    configurations = [
        Configuration(
            key, labels[key], by_key[key], [run_cost(r, prices) for r in by_key[key]]
        )
        for key in keys
    ]
    work = _with_defaults(records[0].work)
    group = Group(0, records[0].work_id or "", work, configurations, None)
    _add_speedups(group)
    return group


def _add_speedups(group: Group) -> None:
    """Find each configuration's baseline, the one that is most like it.

    An interrupted run is a baseline only where there is no other.
    """
    baselines = [part for part in group.configurations if part.is_baseline]
    baselines.sort(key=lambda part: (bool(part.key.course), -len(part.records)))
    if not baselines:
        return
    group.baseline = baselines[0]
    for part in group.configurations:
        part.baseline = min(baselines, key=partial(_unlike, part))
        for measure in MEASURES:
            found = _speedup(part, part.baseline, measure)
            if found:
                part.speedups[measure] = found


def _add_accuracy(group: Group, accuracy: Accuracy) -> None:
    """Time to the target, and AUC against the baseline's, of each configuration."""
    group.target = accuracy.target_auc or default_target(group.records)
    if group.target is not None:
        for part in group.configurations:
            per_hour = part.costs[0].usd_per_hour
            part.to_target = to_target(part.records, per_hour, group.target)
        for part in group.configurations:
            if part.baseline and (found := _target_speedup(part, part.baseline)):
                part.speedups[TARGET] = found
    judges: dict[int, Judge | None] = {}
    for part in group.configurations:
        if part.baseline and part is not part.baseline:
            base = part.baseline
            if id(base) not in judges:
                known = _predictions(base, accuracy)
                judges[id(base)] = Judge(known, accuracy.margin) if known else None
            judge, mine = judges[id(base)], _predictions(part, accuracy)
            part.judged = judge.judge(mine) if judge and mine else None


def _predictions(part: Configuration, accuracy: Accuracy) -> TestPredictions | None:
    """Of the run that stands for its repeats; None where they were not kept."""
    path = accuracy.predictions.get(part.representative.run_id)
    try:
        return read_predictions(path) if path else None
    except (OSError, ValueError) as error:
        logger.warning("%s: its test probabilities are left out.", error)
        return None


def _target_speedup(part: Configuration, baseline: Configuration) -> Speedup | None:
    mine, base = part.to_target, baseline.to_target
    if not (mine and base and mine.seconds and base.seconds):
        return None
    if mine.reached < len(part.records) or base.reached < len(baseline.records):
        return None
    return _over(part, base.seconds, mine.seconds)


def _unlike(part: Configuration, baseline: Configuration) -> tuple[bool, ...]:
    """Sorts baselines: what moves a speedup most comes first."""
    one, other = part.key, baseline.key
    return (
        bool(other.course),
        one.cpu_model != other.cpu_model,
        one.pixels != other.pixels,
        one.commit != other.commit,
    )


def _speedup(
    part: Configuration, baseline: Configuration, measure: str
) -> Speedup | None:
    return _over(part, baseline.seconds(measure), part.seconds(measure))


def _over(part: Configuration, base: Spread, seconds: Spread) -> Speedup | None:
    """One spread of seconds over another, with what the repeats of both leave open."""
    value = speedup(base.median, seconds.median)
    if value is None:
        return None
    low = speedup(base.low, seconds.high) or value
    high = speedup(base.high, seconds.low) or value
    deviation = ratio_deviation(base, seconds)
    if part.runner.has_gpu:
        return Speedup(value, low, high, deviation, None, None)
    p = part.processors
    return Speedup(
        value, low, high, deviation, efficiency(value, p), karp_flatt(value, p)
    )
