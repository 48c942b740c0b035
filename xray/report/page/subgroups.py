"""Tables of AUC in groups of patients, where runs were asked for them."""

from xray.records.scores import LEAST, Interval, SubgroupScores
from xray.records.wording import DASH, interval, plural
from xray.report.configurations import plain
from xray.report.group import Configuration, Group
from xray.report.page.tables import Table


def tables(group: Group) -> list[Table]:
    """Of each column, the macro AUC of all configurations and each finding's of one."""
    parts = [part for part in group.configurations if _of(part)]
    columns = dict.fromkeys(one.column for part in parts for one in _of(part))
    found = []
    for column in columns:
        told = [part for part in parts if _of(part, column)]
        found += [_macro(column, told), _findings(column, told[0])]
    return found


def _of(part: Configuration, column: str | None = None) -> list[SubgroupScores]:
    scores = part.representative.scores
    groups = scores.subgroups if scores else []
    return [one for one in groups if column in (None, one.column)]


def _macro(column: str, parts: list[Configuration]) -> Table:
    shown = plain(column) or ""
    conditions = dict.fromkeys(
        one.condition for part in parts for one in _of(part, column)
    )
    rows = []
    for part in parts:
        known = {one.condition: one for one in _of(part, column)}
        cells = [known.get(condition) for condition in conditions]
        rows.append([part.label, *(interval(one and one.macro_auc) for one in cells)])
    shared = {one.findings_scored for part in parts for one in _of(part, column)}
    return Table(
        f"Macro AUC by {shown}, with its 95% interval",
        ["Configuration", *(f"{shown} {plain(one)}" for one in conditions)],
        rows,
        [
            f"Over the {' or '.join(map(str, sorted(shared)))} findings of which every "
            f"group has {LEAST} test images with and {LEAST} without; {DASH}: there is "
            "none. "
            "Groups may differ in how hard their images are: no difference here says "
            "why."
        ],
    )


def _findings(column: str, part: Configuration) -> Table:
    groups = _of(part, column)
    names = dict.fromkeys(name for one in groups for name in one.findings)
    rows = [[name, *(_cell(one, name) for one in groups)] for name in names]
    heads = [
        f"{plain(one.condition)}: {plural(one.images, 'image')}, "
        f"{plural(one.patients, 'patient')}"
        for one in groups
    ]
    return Table(
        f"AUC per finding by {plain(column)}, {part.label}",
        ["Finding", *heads],
        rows,
        [
            "In brackets the interval, then the images with the finding. "
            f"{DASH}: fewer than {LEAST} images with it, or without it."
        ],
    )


def _cell(one: SubgroupScores, name: str) -> str:
    found = one.findings.get(name)
    auc = found.auc if found else Interval()
    return f"{interval(auc)}; {found.positives if found else 0}"
