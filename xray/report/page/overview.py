"""All works of a folder in one table: what sets them apart, never a speedup between."""

from xray.records.wording import DASH, number, plural
from xray.report.group import Comparison, Configuration, Group, macro_auc
from xray.report.page.summary import group_title
from xray.report.page.tables import Table
from xray.report.page.wording import spread
from xray.report.spread import spread_of

SEEDS = {"training.seed"}
MOST_DIFFERENCES = 4


def overview(comparison: Comparison) -> Table:
    """A row for each family of works that differ in their seed alone."""
    families: dict[tuple, list[Group]] = {}
    for group in comparison.groups:
        families.setdefault(_but_for_seeds(group), []).append(group)
    rows = [_row(groups) for groups in families.values()]
    return Table(
        "All works; those that differ in their seed alone share a row, with the mean "
        "and range of their AUC",
        ["Work", "What", "Unlike work 1 in", "Runs", "Sequential, s", "Macro AUC"],
        rows,
        ["No time and no AUC is compared between works: their training differs."],
    )


def _but_for_seeds(group: Group) -> tuple:
    training = {k: v for k, v in group.work.get("training", {}).items() if k != "seed"}
    rest = {name: part for name, part in group.work.items() if name != "training"}
    return str(sorted(training.items())), str(sorted(rest.items()))


def _row(groups: list[Group]) -> list[str]:
    first = groups[0]
    unlike = [name for name in first.differences if name not in SEEDS]
    more = len(unlike) - MOST_DIFFERENCES
    shown = unlike[:MOST_DIFFERENCES] + ([f"{more} more"] if more > 0 else [])
    seeds = f", {plural(len(groups), 'seed')}" if len(groups) > 1 else ""
    bases = [group.baseline for group in groups if group.baseline]
    seconds = [run.phases.total for base in bases for run in base.records]
    return [
        ", ".join(str(group.number) for group in groups),
        f"{group_title(first)}{seeds}",
        ", ".join(shown) or DASH,
        str(sum(len(group.records) for group in groups)),
        spread(spread_of(seconds)),
        "; ".join(_aucs(groups)) or DASH,
    ]


def _aucs(groups: list[Group]) -> list[str]:
    """Mean and range by configuration, over the seeds."""
    found: dict[str, list[Configuration]] = {}
    for group in groups:
        for part in group.configurations:
            found.setdefault(part.label, []).append(part)
    told = []
    for label, parts in found.items():
        values = [macro_auc(run) for part in parts for run in part.records]
        known = [value for value in values if value is not None]
        if known:
            mean = number(sum(known) / len(known), 3)
            low, high = number(min(known), 3), number(max(known), 3)
            ends = f" ({low}–{high})" if len(known) > 1 else ""
            told.append(f"{label} {mean}{ends}")
    return told
