"""How long, over how many images and for how much until a model is as good as asked.

Speed alone says little: equal epochs on more workers is another algorithm. The curve of
AUC against time is what both can be read from.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from xray.records.record import Epoch, RunRecord
from xray.report.spread import Spread, spread_of


class CurvePoint(NamedTuple):
    """A point of a run's curve.

    Attributes:
        seconds: from the program's start to the end of the epoch's training.
        images: trained by then, each as often as it was.
        auc: macro, on the validation set where there is one, else on the test set.
    """

    seconds: float
    images: float
    auc: float


class Until(NamedTuple):
    """What it takes to reach a target.

    Attributes:
        seconds: from the program's start.
        images: trained by then.
    """

    seconds: float
    images: float


class ToTarget(NamedTuple):
    """What the repeats of one configuration took.

    Attributes:
        seconds: of those that reached it; None where none did.
        images: likewise.
        usd: likewise; None also without a price.
        reached: repeats that did.
        fell: repeats that did and were below it again later.
        runs: repeats that have a curve.
        best: the highest AUC of any of them; None without a curve.
    """

    seconds: Spread | None
    images: Spread | None
    usd: Spread | None
    reached: int
    fell: int
    runs: int
    best: float | None


def curve(record: RunRecord) -> list[CurvePoint]:
    """The scored points of a run, by time; its end alone where no epoch was scored."""
    on_validation = any(epoch.auc_validation is not None for epoch in record.epochs)
    points = [
        CurvePoint(epoch.elapsed_seconds, epoch.epoch * record.images.train, auc)
        for epoch in record.epochs
        if (auc := _auc(epoch, on_validation)) is not None
    ]
    if not points and record.scores and record.scores.macro_auc.value is not None:
        total, trained = record.phases.total, record.images_trained
        points = [CurvePoint(total, trained, record.scores.macro_auc.value)]
    return points


def _auc(epoch: Epoch, on_validation: bool) -> float | None:
    return epoch.auc_validation if on_validation else epoch.auc_macro


def until(points: Sequence[CurvePoint], target: float) -> Until | None:
    """When the curve first reaches `target`, on the line between two scored points.

    Before the first point nothing is known: a curve that starts above the target has
    reached it there, at the latest. None where it is never reached.
    """
    before = None
    for point in points:
        if point.auc >= target:
            if before is None:
                return Until(point.seconds, point.images)
            share = (target - before.auc) / (point.auc - before.auc)
            return Until(
                before.seconds + share * (point.seconds - before.seconds),
                before.images + share * (point.images - before.images),
            )
        before = point
    return None


def falls_again(points: Sequence[CurvePoint], target: float) -> bool:
    """Whether the curve is below `target` at a scored point after it has reached it."""
    above = [point.auc >= target for point in points]
    return any(after < before for before, after in pairwise(above))


def default_target(records: Sequence[RunRecord]) -> float | None:
    """The lowest of the runs' final AUCs, which all of them have reached."""
    finals = [points[-1].auc for record in records if (points := curve(record))]
    return min(finals, default=None)


def to_target(
    records: Sequence[RunRecord], usd_per_hour: float | None, target: float
) -> ToTarget:
    """What the repeats of one configuration took to reach `target`.

    Args:
        records: the repeats.
        usd_per_hour: of all machines of one run; None without a price.
        target: macro AUC.
    """
    curves = [points for record in records if (points := curve(record))]
    found = [each for points in curves if (each := until(points, target))]
    seconds = [each.seconds for each in found]
    usd = [usd_per_hour * s / 3600 for s in seconds] if usd_per_hour else []
    return ToTarget(
        spread_of(seconds),
        spread_of(each.images for each in found),
        spread_of(usd),
        len(found),
        sum(falls_again(points, target) for points in curves),
        len(curves),
        max((point.auc for points in curves for point in points), default=None),
    )
