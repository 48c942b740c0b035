"""Answers in plain words, from the measured numbers only."""

from typing import Any, NamedTuple

from xray.config.runners import RUNNERS, Runner
from xray.records.scores import Interval
from xray.records.wording import duration, interval, number, plural
from xray.report.group import Configuration, Group, macro_auc
from xray.report.page.wording import difference, times, usd
from xray.report.scaling import speedup

ENOUGH_REPEATS = 3
ABOUT_EQUAL = 0.05
"""A speedup within 5% of 1 is called about as fast."""


class PlainAnswer(NamedTuple):
    """One question of the reader with what the runs say about it."""

    question: str
    text: str


def answers(group: Group) -> list[PlainAnswer]:
    """Time on Spark, on a GPU and on one machine; cost; accuracy."""
    asked = [runner for runner in reversed(RUNNERS.values()) if runner.question]
    return [
        *(PlainAnswer(runner.question, _speed(group, runner)) for runner in asked),
        PlainAnswer("Is one machine enough?", _one_machine(group)),
        PlainAnswer("What does it cost?", _cost(group)),
        PlainAnswer("What happens to accuracy?", _accuracy(group)),
    ]


def group_title(group: Group) -> str:
    """What the work is: network, image size, epochs, images."""
    run = group.records[0]
    parts = [
        _setting(run.config, "model", "backbone"),
        _with_unit(_setting(run.config, "data", "image_size"), "px"),
        _with_unit(_setting(run.config, "training", "epochs"), "epochs"),
        f"{run.images.train:,} training images" if run.images.train else None,
    ]
    return ", ".join(str(part) for part in parts if part) or "work not described"


def split_told(work: dict[str, Any]) -> str:
    """Which split it was: an AUC stands beside a paper's only on the paper's own."""
    split = work.get("split") or {}
    if not split.get("published"):
        return "own split by patient"
    listed = split["published"]["test_list"]
    if split["test_images"] == listed:
        return f"published split, all {listed:,} test images"
    return f"published split, {split['test_images']:,} of its {listed:,} test images"


def fastest(parts: list[Configuration]) -> Configuration | None:
    """The shortest median time from start to end; an interrupted one comes last."""
    return min(
        parts,
        key=lambda part: (bool(part.key.course), part.seconds("total").median),
        default=None,
    )


def _setting(config: dict[str, Any], section: str, name: str) -> Any:
    part = config.get(section)
    return part.get(name) if isinstance(part, dict) else None


def _with_unit(value: Any, unit: str) -> str | None:
    return None if value is None else f"{value} {unit}"


def contestants(group: Group) -> list[Configuration]:
    """The baseline and the fastest configuration of every other runner."""
    chosen = [
        fastest([part for part in group.of(name) if not part.is_baseline])
        for name in RUNNERS
    ]
    return [part for part in [group.baseline, *chosen] if part]


def _speed(group: Group, runner: Runner) -> str:
    found = group.of(runner.name)
    best = fastest(found)
    if best is None:
        return (
            f"Not measured: no successful {runner.label} run of this work. "
            f"Run the {runner.name} runner with the same configuration."
        )
    total = best.seconds("total")
    took = f"{best.label} took {duration(total.median)} from start to end"
    if group.baseline is None or "total" not in best.speedups:
        return (
            f"{took}. There is no sequential run of this work, so no speedup: run the "
            "sequential runner with the same configuration."
        )
    parts = [f"{_verdict(group, best)} {took}, {_against(best)}."]
    if "fit" in best.speedups:
        fit = best.speedups["fit"].value
        parts.append(f"Training alone: {times(fit)}.")
    if len(found) > 1:
        parts.append(f"It is the fastest of {len(found)} configurations.")
    return " ".join(parts + cautions(best))


def _verdict(group: Group, best: Configuration) -> str:
    """Yes or no; neither where the repeats overlap or the difference is small."""
    value = best.speedups["total"].value
    total, base = best.seconds("total"), best.baseline
    overlap = base is not None and total.overlaps(base.seconds("total"))
    if overlap or abs(value - 1) < ABOUT_EQUAL:
        return "No clear difference:"
    return "Yes:" if value > 1 else "No:"


def _against(best: Configuration) -> str:
    value = best.speedups["total"].value
    return f"{times(value)} as one CPU thread"


def cautions(best: Configuration) -> list[str]:
    """What a speedup of this configuration must be read with."""
    if best.baseline is None:
        return []
    notes = []
    if not best.same_cpu:
        notes.append(
            "The sequential run used another CPU model, or one was not recorded, so "
            "part of this is the machine."
        )
    if best.other_baseline:
        notes.append(f"The sequential run {' and '.join(best.other_baseline)}.")
    return notes + _few_repeats(best, best.baseline)


def _few_repeats(best: Configuration, baseline: Configuration) -> list[str]:
    """Under three repeats of either a range says little, under two nothing."""
    mine, theirs = len(best.records), len(baseline.records)
    if mine == theirs == 1:
        return ["Each was run once, so run-to-run spread is unknown."]
    if min(mine, theirs) == 1:
        one = best if mine == 1 else baseline
        return [f"{one.label} was run once, so its run-to-run spread is unknown."]
    if min(mine, theirs) < ENOUGH_REPEATS:
        return [f"Fewer than {ENOUGH_REPEATS} repeats say little of the spread."]
    return []


def _one_machine(group: Group) -> str:
    one = fastest([part for part in group.configurations if part.key.nodes == 1])
    many = fastest([part for part in group.configurations if part.key.nodes > 1])
    if one is None or many is None:
        best = one or many
        if best is None:
            return "Not measured."
        used = "one machine" if one else "several machines"
        other = "several machines" if one else "one machine"
        return (
            f"Every run of this work used {used}; {best.label} was fastest with "
            f"{duration(best.seconds('total').median)}. On {other} it was not measured."
        )
    ratio = speedup(one.seconds("total").median, many.seconds("total").median)
    return (
        f"The fastest on one machine, {one.label}, took "
        f"{duration(one.seconds('total').median)}; the fastest on several, "
        f"{many.label}{_nodes(many)}, took "
        f"{duration(many.seconds('total').median)}"
        f"{f', {times(ratio)} as on one' if ratio else ''}."
    )


def _nodes(part: Configuration) -> str:
    text = plural(part.key.nodes, "node")
    return "" if text in part.label else f" on {text}"


def _cost(group: Group) -> str:
    priced = [part for part in group.configurations if part.cost]
    if not priced:
        return "No run of this work has a price; the cost table says what is missing."
    cheapest = min(priced, key=_median_cost)
    quickest = fastest(priced) or cheapest
    text = f"The cheapest, {cheapest.label}, costs {_price(cheapest)} a run"
    if quickest is cheapest:
        text += " and is also the fastest with a price."
    else:
        text += f"; the fastest with a price, {quickest.label}, {_price(quickest)}."
    named = {cheapest.label: cheapest, quickest.label: quickest}.values()
    if any(part.costs[0].assumed for part in named):
        text += (
            " An assumption: not run on EC2, so the measured seconds are priced as if "
            "on the instance type named."
        )
    return text


def _median_cost(part: Configuration) -> float:
    return part.cost.median if part.cost else float("inf")


def _price(part: Configuration) -> str:
    cost = part.costs[0]
    as_if = "as if on " if cost.assumed else "on "
    return f"{usd(_median_cost(part))} USD ({as_if}{cost.described})"


def _accuracy(group: Group) -> str:
    parts = contestants(group)
    scored = [part for part in parts if macro_auc(part.representative) is not None]
    if not scored:
        return "No run of this work has a defined macro AUC."
    sentences = [_auc_sentence(part, group.baseline) for part in scored]
    if any(part.runner.has_workers for part in group.configurations):
        sentences.append(
            "Equal epochs on more workers is another algorithm, so read time and AUC "
            "together."
        )
    return " ".join(sentences)


def _auc_sentence(part: Configuration, baseline: Configuration | None) -> str:
    mine = _macro(part)
    text = f"{part.label}: macro AUC {interval(mine)}"
    if baseline is None or part is baseline:
        return text + "."
    if part.judged:
        return (
            f"{text}, on the same images {difference(part.judged.difference)} against "
            f"sequential: {part.judged.verdict} with this seed and a margin of "
            f"{part.judged.margin:g}."
        )
    return (
        f"{text}; not compared with sequential, whose test probabilities, or its own, "
        "were not kept."
    )


def _macro(part: Configuration) -> Interval:
    scores = part.representative.scores
    return scores.macro_auc if scores else Interval()


def macro_range(part: Configuration) -> str:
    """Lowest to highest macro AUC over the repeats; empty where they agree."""
    found = part.spread(macro_auc)
    if found is None:
        return ""
    low, high = number(found.low, 3), number(found.high, 3)
    return "" if low == high else f"{low}–{high}"
