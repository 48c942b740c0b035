"""Median and range of one number over repeats."""

import statistics
from collections.abc import Iterable
from typing import NamedTuple


class Spread(NamedTuple):
    """Median, range and deviation over the repeats that have a value."""

    median: float
    low: float
    high: float
    runs: int
    deviation: float | None = None
    """Standard deviation of the repeats; None for one."""

    def overlaps(self, other: "Spread") -> bool:
        """Whether the two ranges share a value."""
        return self.low <= other.high and other.low <= self.high


def spread_of(values: Iterable[float | None]) -> Spread | None:
    """Median and range of the values that are not None; None if all are."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    deviation = statistics.stdev(known) if len(known) > 1 else None
    return Spread(
        statistics.median(known), min(known), max(known), len(known), deviation
    )


def ratio_deviation(one: Spread, other: Spread) -> float | None:
    """Standard deviation of one median over another, to first order; None for one run.

    Relative deviations add in squares: what hyperfine prints after its ±.
    """
    if one.deviation is None or other.deviation is None:
        return None
    relative = (one.deviation / one.median) ** 2 + (other.deviation / other.median) ** 2
    return one.median / other.median * relative**0.5
