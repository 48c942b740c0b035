"""The same configuration by commit, oldest first: what a change of the code moved."""

from xray.records.wording import number
from xray.report.configurations import Key, unique_labels
from xray.report.group import Configuration, Group, macro_auc
from xray.report.page.tables import Table
from xray.report.page.wording import spread

DIGITS = 3


def history(group: Group) -> Table | None:
    """A row a commit of every configuration that ran on several; None without one."""
    found: dict[Key, list[Configuration]] = {}
    for part in group.configurations:
        if part.key.commit:
            found.setdefault(part.key._replace(commit=None), []).append(part)
    several = {key: parts for key, parts in found.items() if len(parts) > 1}
    if not several:
        return None
    labels = unique_labels(list(several))
    rows = [
        _row(labels[key], part)
        for key, parts in several.items()
        for part in sorted(parts, key=_began)
    ]
    return Table(
        "The same configuration by commit, in the order of their first runs; medians, "
        "(lowest–highest)",
        ["Configuration", "Commit", "First run", "Runs", "Total, s", "Fit, s"]
        + ["Images/s, steady", "Macro AUC"],
        rows,
        [
            "Runs of several commits are no repeats of each other: --any-commit pools "
            "them. Between days the machine may have changed as well."
        ],
    )


def _began(part: Configuration) -> str:
    return min(run.created for run in part.records).isoformat()


def _row(label: str, part: Configuration) -> list[str]:
    return [
        label,
        part.key.commit or "",
        _began(part)[:10],
        str(len(part.records)),
        spread(part.seconds("total")),
        spread(part.seconds("fit")),
        spread(part.spread(lambda run: run.images_per_second.steady)),
        number(macro_auc(part.representative), DIGITS),
    ]
