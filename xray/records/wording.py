"""Numbers as people read them; what is undefined is a dash, never 0."""

from xray.records.scores import Interval

DASH = "–"


def number(value: float | None, digits: int = 2) -> str:
    """A number with fixed digits and thousands separated."""
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return DASH if value is None else f"{round(value, digits) + 0.0:,.{digits}f}"


def scaled(value: float | None) -> str:
    """A number with about three significant digits."""
    if value is None:
        return DASH
    size = abs(value)
    return number(value, 0 if size >= 100 else 1 if size >= 10 else 2)


def interval(found: Interval | None, digits: int = 3) -> str:
    """A score with its 95% interval.

    Args:
        found: the score.
        digits: of its value; the ends of the interval have three.
    """
    if found is None or found.value is None:
        return DASH
    text = number(found.value, digits)
    if found.low is not None and found.high is not None:
        text += f" ({number(found.low, 3)}–{number(found.high, 3)})"
    return text


def plain_interval(found: Interval, digits: int) -> str:
    """What `interval` gives, in the characters that every terminal shows."""
    return interval(found, digits).replace(DASH, "-")


def duration(seconds: float) -> str:
    """Seconds in words that can be read aloud."""
    if seconds < 120:
        return f"{scaled(seconds)} s"
    if seconds < 7200:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def plural(count: int, noun: str, many: str | None = None) -> str:
    """A count with its noun: 1 run, 2 runs; `many` where an s does not make it."""
    return f"{count:,} {noun if count == 1 else many or f'{noun}s'}"
