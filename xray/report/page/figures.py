"""Group -> charts, each an SVG string that can sit inline in one page."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from xray.records.record import RunRecord
from xray.records.scores import Interval
from xray.records.timing import PHASES
from xray.report.group import Configuration, Curve, Group
from xray.report.page.drawing import (
    MUTED,
    PHASE_COLOURS,
    Chart,
    Paint,
    Sheet,
    colour,
    plain_log_axis,
    shortened,
)
from xray.report.page.looks import Look, looks, name_of
from xray.report.page.summary import contestants
from xray.report.scaling import amdahl
from xray.report.to_target import curve

NAMES_INCHES = 1.6
"""Margin for the names of what is drawn."""
MAX_NAMED = 12
"""Configurations in a chart that names each beside it."""
MAX_SHOWN = 6
"""Configurations in a chart that draws each one many times."""
MAX_BARS = 14
"""Configurations in a chart with one bar each, so that it fits a printed page."""


@dataclass(frozen=True)
class Overlay:
    """A line that was not measured, such as a prediction; drawn dashed."""

    label: str
    runner: str
    processors: Sequence[float]
    speedups: Sequence[float]
    marker: str = ""
    low: Sequence[float] = ()
    """Lower end of the interval; empty where there is none."""
    high: Sequence[float] = ()


def charts(group: Group) -> list[Chart]:
    """Every chart the group has data for, in reading order."""
    name = f"g{group.number}"
    drawn = [
        history_chart(group, f"{name}-auc-time", "Macro AUC", _aucs),
        speedup_chart(group, "total", f"{name}-speedup-total"),
        speedup_chart(group, "fit", f"{name}-speedup-fit"),
        history_chart(group, f"{name}-loss", "Training loss", _losses),
        phases_chart(group, f"{name}-phases"),
        findings_chart(group, f"{name}-findings"),
    ]
    return [chart for chart in drawn if chart]


def speedup_chart(
    group: Group, measure: str, name: str, overlays: Sequence[Overlay] = ()
) -> Chart | None:
    """Speedup against processors with the ideal line and a fit for each curve.

    Args:
        group: runs of one work.
        measure: total or fit.
        name: unique in the page; prefix of every id in the SVG.
        overlays: lines that were not measured, drawn dashed.

    Returns:
        None unless something ran beside the sequential baseline.
    """
    parts = [part for part in group.configurations if measure in part.speedups]
    if all(part.is_baseline for part in parts):
        return None
    sheet = Sheet(height=3.4, right=NAMES_INCHES)
    axes = sheet.axes
    widest = max(part.processors for part in parts if not part.runner.has_gpu)
    widest = max([widest, *(max(curve.processors) for curve in overlays)])
    p = np.geomspace(1, max(2, widest), 50)
    axes.plot(p, p, ":", color=MUTED, label="Ideal")
    painted = looks(group)
    for line in group.curves():
        _draw_amdahl(axes, line, measure, p, painted[id(line.parts[0])].colour)
    for part in shown(group, MAX_NAMED):
        if part in parts:
            _draw_speedup(sheet, part, measure, painted[id(part)], float(p[-1]))
    for overlay in overlays:
        _draw_overlay(axes, overlay)
    plain_log_axis(axes.xaxis)
    plain_log_axis(axes.yaxis)
    axes.set_xlabel("Processors (workers × threads)")
    axes.set_ylabel(f"Speedup, {measure}")
    title = f"Speedup of {measure} time over one CPU thread"
    caption = "Above 1 is faster. Whiskers: lowest and highest over the repeats."
    if not all(part.same_cpu for part in parts):
        caption += " †: the baseline ran on another CPU model."
    return sheet.chart(name, title, caption + _left_out(group, MAX_NAMED))


def phases_chart(group: Group, name: str) -> Chart:
    """Median seconds per phase, stacked, one bar a configuration."""
    parts = shown(group, MAX_BARS)
    sheet = Sheet(height=0.5 + 0.5 * len(parts))
    axes, rows = sheet.axes, np.arange(len(parts))
    left, painted = np.zeros(len(parts)), looks(group)
    for phase in (*PHASES, "other"):
        widths = np.array([max(0, part.seconds(phase).median) for part in parts])
        fill = PHASE_COLOURS[phase]
        axes.barh(rows, widths, 0.42, left, color=fill, label=phase.capitalize())
        left += widths
    for row, part in enumerate(parts):
        paint, marker = painted[id(part)]
        axes.plot(0, row - 0.36, marker, color=paint, clip_on=False)
        axes.annotate(
            shortened(part.label, 60),
            (0, row - 0.36),
            (6, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set_ylim(len(parts) - 0.6, -0.75)
    axes.set_yticks([])
    axes.set_xlabel("Seconds")
    caption = "Medians over the repeats." + _left_out(group, MAX_BARS)
    return sheet.chart(name, "Where the time goes", caption)


def history_chart(
    group: Group,
    name: str,
    what: str,
    points: Callable[[RunRecord], list[tuple[float, float]]],
) -> Chart | None:
    """A score against seconds since the program started, one line a configuration."""
    parts = [part for part in shown(group) if points(part.representative)]
    if not parts:
        return None
    sheet = Sheet(height=3.4, right=NAMES_INCHES)
    painted = looks(group)
    for part in parts:
        seconds, scores = zip(*points(part.representative), strict=True)
        minutes = [value / 60 for value in seconds]
        paint, marker = painted[id(part)]
        sheet.axes.plot(minutes, scores, marker=marker, color=paint)
        sheet.label_end(minutes[-1], scores[-1], part.label, paint)
    sheet.axes.set_xlabel("Minutes since the program started")
    sheet.axes.set_ylabel(what)
    caption = "One run of each configuration." + _left_out(group)
    return sheet.chart(name, f"{what} against time", caption)


def findings_chart(group: Group, name: str) -> Chart | None:
    """AUC per finding with its 95% interval; an undefined one is not drawn."""
    parts = [part for part in shown(group) if part.representative.scores]
    if not parts:
        return None
    scores = [part.representative.scores for part in parts]
    names = list(dict.fromkeys(n for s in scores if s for n in s.findings))
    step = 0.8 / len(parts)
    rows = len(names) + 1
    height = 0.6 + rows * max(0.24, 0.09 * len(parts))
    sheet = Sheet(height=height, left=1.45)
    painted = looks(group)
    for place, part in enumerate(parts):
        offset = (place - (len(parts) - 1) / 2) * step
        _draw_findings(sheet.axes, part, names, offset, painted[id(part)])
    sheet.axes.axvline(0.5, color=MUTED, linestyle=":", linewidth=1)
    sheet.axes.set_yticks(range(rows), ["Macro (mean)", *names])
    sheet.axes.set_ylim(rows - 0.5, -0.5)
    sheet.axes.set_xlabel("Test AUC with 95% interval; 0.5 is chance")
    caption = "Findings without a dot have no defined AUC." + _left_out(group)
    return sheet.chart(name, "AUC per finding", caption)


def shown(group: Group, most: int = MAX_SHOWN) -> list[Configuration]:
    """At most `most` configurations: the fastest of each runner, then the first."""
    ordered = contestants(group) + group.configurations
    chosen = list({id(part): part for part in ordered}.values())[:most]
    return [part for part in group.configurations if part in chosen]


def _left_out(group: Group, most: int = MAX_SHOWN) -> str:
    count = len(group.configurations) - len(shown(group, most))
    return f" {count} more in the tables." if count else ""


def _draw_amdahl(
    axes: Axes, curve: Curve, measure: str, p: np.ndarray, paint: Paint
) -> None:
    fit = curve.amdahl(measure)
    if fit:
        label = f"Amdahl, {curve.label}, f = {fit.serial_fraction:.2f}"
        line = amdahl(fit.serial_fraction, p)
        axes.plot(p, line, "-", color=paint, linewidth=1, label=label)


def _draw_overlay(axes: Axes, curve: Overlay) -> None:
    paint = colour(curve.runner)
    axes.plot(
        curve.processors,
        curve.speedups,
        f"{curve.marker}--",
        color=paint,
        markerfacecolor="white",
        label=curve.label,
    )
    if curve.low:
        axes.fill_between(
            curve.processors, curve.low, curve.high, color=paint, alpha=0.15, lw=0
        )


def _draw_speedup(
    sheet: Sheet, part: Configuration, measure: str, look: Look, right: float
) -> None:
    """A point with its repeats; a line for a GPU, which has no processors to count."""
    found, axes = part.speedups[measure], sheet.axes
    if part.runner.has_gpu:
        axes.plot([1, right], [found.value] * 2, look.marker, ls="-", color=look.colour)
        sheet.label_end(right, found.value, name_of(part), look.colour)
        return
    axes.errorbar(
        part.processors,
        found.value,
        [[found.value - found.low], [found.high - found.value]],
        fmt=look.marker,
        color=look.colour,
        markerfacecolor=look.colour if part.same_cpu else "white",
    )
    sheet.label_end(part.processors, found.value, name_of(part), look.colour)


def _draw_findings(
    axes: Axes, part: Configuration, names: list[str], offset: float, look: Look
) -> None:
    scores = part.representative.scores
    if scores is None:
        return
    cells = [scores.findings.get(finding) for finding in names]
    found = [scores.macro_auc, *(cell.auc if cell else Interval() for cell in cells)]
    values = np.array([_ends(auc) for auc in found], dtype=float)
    heights = np.arange(len(found)) + offset
    paint, marker = look
    axes.hlines(heights, values[:, 0], values[:, 2], color=paint, linewidth=1)
    axes.plot(values[:, 1], heights, marker, color=paint, label=part.label, ms=3.5)


def _ends(auc: Interval) -> tuple[float | None, float | None, float | None]:
    """Low, value and high; a score without interval is a dot without whiskers."""
    low = auc.value if auc.low is None else auc.low
    return low, auc.value, auc.value if auc.high is None else auc.high


def _losses(run: RunRecord) -> list[tuple[float, float]]:
    return _known((epoch.elapsed_seconds, epoch.loss) for epoch in run.epochs)


def _aucs(run: RunRecord) -> list[tuple[float, float]]:
    """Per epoch that was scored, else the final one at the end of the run."""
    return [(point.seconds, point.auc) for point in curve(run)]


def _known(
    points: Iterable[tuple[float, float | None]],
) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if y is not None]
