"""How far probabilities can be taken at their word, and what thresholds reach."""

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from xray.records.scores import Calibration, FindingCalibration, OperatingPoint
from xray.records.wording import DASH, interval, number
from xray.report.group import Configuration, Group
from xray.report.page.accuracy import AUC_COLUMNS
from xray.report.page.drawing import MUTED, Chart, Panels, shortened
from xray.report.page.figures import shown
from xray.report.page.looks import Look, looks
from xray.report.page.tables import Table

MAX_RUNS = 3
"""Configurations in the diagram, and with a table of thresholds each."""
MAX_PANELS = 6
ROOM = 1.15
"""A panel's axes end so far beyond its highest dot; whiskers may go on."""


def chart(group: Group, name: str) -> Chart | None:
    """The reliability diagram of the findings with most positives.

    Returns:
        None where no run has its calibration measured.
    """
    parts = _measured(shown(group, MAX_RUNS))
    if not parts:
        return None
    names = _most_frequent(_of(parts[0]))
    if not names:
        return None
    sheet = Panels(len(names), "Mean probability", "Observed share")
    painted = looks(group)
    for axes, finding in zip(sheet.panels, names, strict=True):
        _draw(axes, finding, parts, painted)
    caption = (
        "Test images in ten bins of about equal size, by the probability that the "
        "model gives; on the dotted line it means what it says. Whiskers: Wilson's 95% "
        f"interval, by image. The {len(names)} most frequent findings, each at its own "
        "scale."
    )
    if any(_of(part).scaled for part in parts):
        caption += (
            " Dashed: the same at the temperature that the validation images ask for."
        )
    return sheet.chart(name, "Reliability of the probabilities", caption)


def tables(group: Group) -> list[Table]:
    """Brier scores side by side, then the thresholds of a few configurations."""
    parts = _measured(group.configurations)
    chunks = range(0, len(parts), AUC_COLUMNS)
    briers = [_briers(parts[start : start + AUC_COLUMNS]) for start in chunks]
    chosen = [part for part in parts if _of(part).thresholds()]
    if briers and not chosen:
        briers[-1].notes.append(
            "No thresholds: without data.validation_fraction there are no images to "
            "choose them on. The test set chooses nothing."
        )
    few = [part for part in shown(group, MAX_RUNS) if part in chosen]
    return briers + [_thresholds(part) for part in few]


def _measured(parts: list[Configuration]) -> list[Configuration]:
    return [part for part in parts if part.representative.calibration]


def _of(part: Configuration) -> Calibration:
    return part.representative.calibration or Calibration()


def _most_frequent(calibration: Calibration) -> list[str]:
    """In the order of the labels."""
    positives = {
        name: sum(each.positives for each in found.reliability)
        for name, found in calibration.findings.items()
        if found.reliability
    }
    chosen = sorted(positives, key=lambda name: -positives[name])[:MAX_PANELS]
    return [name for name in positives if name in chosen]


def _draw(
    axes: Axes, finding: str, parts: list[Configuration], painted: dict[int, Look]
) -> None:
    highest = 0.0
    for part in parts:
        paint, marker = painted[id(part)]
        bins = _finding(part, finding).reliability
        predicted = [each.predicted for each in bins]
        observed = [each.observed for each in bins]
        values = [share.value for share in observed]
        low, high = ([getattr(s, end) for s in observed] for end in ("low", "high"))
        axes.vlines(predicted, low, high, color=paint, linewidth=0.8, alpha=0.6)
        axes.plot(
            predicted,
            values,
            marker,
            linestyle="-",
            color=paint,
            label=part.label,
            markersize=3.5,
            clip_on=False,  # whole dots at 0
        )
        highest = max([highest, *predicted, *values])
        scaled = (_of(part).scaled or Calibration()).findings.get(finding)
        if scaled and (bins := scaled.reliability):
            predicted = [each.predicted for each in bins]
            values = [each.observed.value for each in bins]
            axes.plot(predicted, values, "--", color=paint, linewidth=0.8)
            highest = max([highest, *predicted, *values])
    end = min(1.0, highest * ROOM) or 1.0
    axes.plot([0, end], [0, end], ":", color=MUTED, label="Perfect")
    axes.set(xlim=(0, end), ylim=(0, end))
    axes.set_title(shortened(finding, 24), fontsize=10, parse_math=False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))


def _briers(parts: list[Configuration]) -> Table:
    found = [_of(part) for part in parts]
    names = list(dict.fromkeys(name for one in found for name in one.findings))
    mean = [number(found[0].macro_brier_reference, 3)]
    rows = [["Macro (mean)", *mean, *(interval(one.macro_brier) for one in found)]]
    notes = []
    if any(one.scaled for one in found):
        rows.append(["Macro, at its temperature", *mean, *map(_at_temperature, found)])
        notes.append(
            "At its temperature: every logit divided by the number in brackets, fitted "
            "on the validation images, before it becomes a probability. Above 1 the "
            "model is too sure. No order changes, and no AUC. Source: Guo et al., ICML "
            "2017."
        )
    for name in names:
        cells = [_finding(part, name) for part in parts]
        reference = number(cells[0].brier_reference, 3)
        rows.append([name, reference, *(interval(cell.brier) for cell in cells)])
    return Table(
        "Brier score per finding with its 95% interval: mean squared difference of "
        "probability and label on the test set, smaller is better",
        ["Finding", "Reference", *(part.label for part in parts)],
        rows,
        [
            "Reference: of always saying the finding's share p of the test set, "
            "p(1 − p). A model above it is worse than that, however well it ranks. "
            f"{DASH}: only one value occurs in the test set. Intervals resample "
            "patients. Source: Brier, Monthly Weather Review 78, 1950.",
            *notes,
        ],
    )


def _at_temperature(found: Calibration) -> str:
    if not found.scaled:
        return DASH
    return f"{interval(found.scaled.macro_brier)} [{found.temperature:.2f}]"


def _thresholds(part: Configuration) -> Table:
    images, calibration = part.representative.images, _of(part)
    chosen = [found.thresholds for found in calibration.findings.values()]
    rules = list(dict.fromkeys(rule for points in chosen for rule in points))
    columns = ["Finding"]
    for rule in rules:
        columns += [_named(rule), "Sensitivity (95%)", "Specificity (95%)"]
    rows = []
    for name, found in calibration.findings.items():
        points = [found.thresholds.get(rule) for rule in rules]
        rows.append([name, *(cell for point in points for cell in _point(point))])
    return Table(
        f"Thresholds of {part.label}, chosen on {images.validation:,} validation "
        "images; sensitivity and specificity as they are on the test set",
        columns,
        rows,
        [
            "A finding is called present from the threshold on. Youden's has the "
            "largest sensitivity + specificity − 1 on the validation images (Youden, "
            "Cancer 3, 1950); the other one the fewest false positives there of those "
            "that reach the given sensitivity. The test set chose neither. "
            f"{DASH}: only one value occurs. Wilson's intervals, by image.",
        ],
    )


def _finding(part: Configuration, name: str) -> FindingCalibration:
    return _of(part).findings.get(name, FindingCalibration())


def _named(rule: str) -> str:
    """`sensitivity_0.9` as Threshold, sensitivity 0.9."""
    return f"Threshold, {rule.replace('_', ' ').replace('youden', 'Youden')}"


def _point(point: OperatingPoint | None) -> list[str]:
    if point is None:
        return [DASH] * 3
    reached = interval(point.sensitivity), interval(point.specificity)
    return [f"{point.threshold:.3g}", *reached]
