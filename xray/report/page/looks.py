"""One colour for a scaling curve and one marker for a configuration, on every chart."""

from typing import NamedTuple

from xray.report.group import Configuration, Group
from xray.report.page.drawing import markers, shades


class Look(NamedTuple):
    """How a configuration is drawn."""

    colour: str | tuple[float, ...]
    marker: str


def looks(group: Group) -> dict[int, Look]:
    """The look of each configuration of a group, by its `id`.

    Curves of one runner share its hue, from dark to light; where there are more
    configurations than markers these start again, in another colour.
    """
    curves = group.curves()
    runners = [curve.parts[0].key.runner for curve in curves]
    paints = {name: iter(shades(name, runners.count(name))) for name in runners}
    found, place = {}, 0
    for curve, runner in zip(curves, runners, strict=True):
        paint = next(paints[runner])
        for part in curve.parts:
            found[id(part)] = Look(paint, markers()[place % len(markers())])
            place += 1
    return found


def name_of(part: Configuration) -> str:
    """A label that is short enough to stand beside a point."""
    return part.label + ("" if part.same_cpu or not part.baseline else " †")
