"""Numbers as the report writes them; what is undefined is a dash, never 0."""

from xray.records.scores import Interval
from xray.records.wording import DASH, scaled
from xray.report.spread import Spread


def spread(found: Spread | None) -> str:
    """The median, and the range where the repeats differ."""
    if found is None:
        return DASH
    text, low, high = map(scaled, (found.median, found.low, found.high))
    return text if low == high else f"{text} ({low}–{high})"


def usd(value: float | None) -> str:
    """US dollars, with the digits that a cheap run needs."""
    if value is None:
        return DASH
    return f"{value:,.2f}" if value >= 10 else f"{value:.4f}"


def times(speedup: float) -> str:
    """A speedup in words; below 1 it says how much longer."""
    if speedup >= 1:
        return f"{scaled(speedup)} times as fast"
    return f"{scaled(1 / speedup)} times as long"


def gibibytes(size: float | None) -> str:
    """Bytes as GiB."""
    return DASH if size is None else f"{size / 2**30:,.2f}"


def difference(found: Interval) -> str:
    """A difference with its interval, each with its sign: +0.020, −0.030 to +0.070."""
    ends = (found.value, found.low, found.high)
    value, low, high = (
        DASH if end is None else f"{end:+.3f}".replace("-", "−") for end in ends
    )
    return f"{value}, {low} to {high}"
