"""What to take away: a sentence for each way of running the work, and what is open."""

from xray.records.wording import number, scaled
from xray.report.group import TARGET, Configuration, Group, Speedup
from xray.report.page.summary import cautions, contestants
from xray.report.page.wording import difference

MOST = 6
"""Sentences; the tables hold the others."""


def verdicts(group: Group) -> list[str]:
    """A sentence for each way but the baseline, the runners' fastest first."""
    ordered = [*contestants(group), *group.configurations]
    parts = list({id(part): part for part in ordered}.values())
    others = [part for part in parts if part is not part.baseline]
    if group.baseline is None:
        return ["No sequential run of this work, so nothing to compare with."]
    if not others:
        return [f"Nothing ran beside {group.baseline.label}, so nothing to compare."]
    return [_sentence(part, group) for part in others[:MOST]]


def _sentence(part: Configuration, group: Group) -> str:
    open_points = " ".join([*_unsteady(part), *cautions(part)])
    said = f"{_speed(part, group)}{_money(part)}; {accuracy(part)}."
    return f"{said} {open_points}".strip()


def _speed(part: Configuration, group: Group) -> str:
    base = part.baseline.label if part.baseline else ""
    if found := part.speedups.get(TARGET):
        target = f"to a macro AUC of {number(group.target, 3)}"
        return f"{part.label} {_times(found)} as {base} {target}"
    missed = _missed(part, group)
    if found := part.speedups.get("total"):
        return f"{part.label} {_times(found)} as {base} from start to end{missed}"
    return f"{part.label}: no speedup{missed}"


def _unsteady(part: Configuration) -> list[str]:
    """Whose curves were below the target again, where the time is told to it."""
    if TARGET not in part.speedups:
        return []
    fell = [p.label for p in (part.baseline, part) if p and p.to_target.fell]
    return [f"{' and '.join(fell)} fell below it again later."] if fell else []


def _missed(part: Configuration, group: Group) -> str:
    """Why there is no time to the target."""
    for one in (part, part.baseline):
        found = one and one.to_target
        if found and found.reached < len(one.records):
            best = number(found.best, 3)
            return (
                f" ({one.label} reached a macro AUC of {number(group.target, 3)} in "
                f"{found.reached} of {len(one.records)} runs; its best: {best})"
            )
    return ""


def _times(found: Speedup) -> str:
    """Such as `was 1.6 ± 0.1 times as fast`; below 1 how much longer it took."""
    value, deviation = found.value, found.deviation
    if value < 1:
        value, deviation = 1 / value, deviation and deviation / value**2
    spread = "" if deviation is None else f" ± {scaled(deviation)}"
    how = "was {} times as fast" if found.value >= 1 else "took {} times as long"
    return how.format(f"{scaled(value)}{spread}")


def _money(part: Configuration) -> str:
    """What it cost over the baseline: until the target, or for the whole run."""
    base = part.baseline
    if TARGET in part.speedups and base:
        mine, theirs = part.to_target.usd, base.to_target.usd
    else:
        mine, theirs = part.cost, base.cost if base else None
    if not (mine and theirs and theirs.median):
        return ", at a price that is not known"
    return f", for {scaled(mine.median / theirs.median)} times the money"


def accuracy(part: Configuration) -> str:
    """Whether its AUC holds up to the baseline's, with the paired difference."""
    if part.judged is None:
        return "accuracy not compared, for want of both runs' test probabilities"
    verdict = part.judged.verdict
    said = f"with this seed {verdict} in accuracy"
    if verdict == "not decided":
        said = "accuracy not decided"
    return f"{said} ({difference(part.judged.difference)})"
