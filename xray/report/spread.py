"""Median and range of one number over repeats."""

import statistics
from collections.abc import Iterable
from typing import NamedTuple


class Spread(NamedTuple):
    """Median and range over the repeats that have a value."""

    median: float
    low: float
    high: float
    runs: int

    def overlaps(self, other: "Spread") -> bool:
        """Whether the two ranges share a value."""
        return self.low <= other.high and other.low <= self.high


def spread_of(values: Iterable[float | None]) -> Spread | None:
    """Median and range of the values that are not None; None if all are."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(statistics.median(known), min(known), max(known), len(known))
