"""Conditions on a column of the label file: `PA`, `F|M`, `18..64`, `18..`."""

import re
from typing import NamedTuple

NUMBER = r"\d+(?:\.\d+)?"
SPAN = re.compile(rf"({NUMBER})?\.\.({NUMBER})?")


class Condition(NamedTuple):
    """What a field must be.

    Attributes:
        values: one of these texts; None asks for a number.
        low: the least such number.
        high: the greatest.
    """

    values: tuple[str, ...] | None
    low: float = 0.0
    high: float = float("inf")


def parse_condition(text: str) -> Condition:
    """The condition that a setting means.

    Raises:
        ValueError: it allows nothing, or everything.
    """
    if found := SPAN.fullmatch(text.strip()):
        low, high = float(found[1] or 0), float(found[2] or "inf")
        if low > high or found[1] is found[2] is None:
            raise ValueError(f"{text!r} must lead from one number to a higher one")
        return Condition(None, low, high)
    values = tuple(value.strip() for value in text.split("|"))
    if not all(values):
        raise ValueError(f"{text!r} must be values with | between them, or 18..64")
    return Condition(values)
