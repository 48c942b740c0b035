"""Progress of long work on standard error: a bar, and lines that stay."""

import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from tqdm import tqdm

from xray.common.background import beside

POLL_SECONDS = 0.5


def progress_bar(total: int | None, description: str, unit: str = "img") -> tqdm:
    """A bar over `total` images on standard error; a line every 10 s in a log file.

    A total that is not known yet can be given to `reset`.

    Args:
        total: how many; None is not known yet.
        description: before the bar.
        unit: of what is counted; B counts in kB, MB, ...
    """
    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        unit_scale=unit == "B",
        mininterval=0.5 if terminal else 10,
        dynamic_ncols=terminal,
        leave=False,
        file=sys.stderr,
    )


def tell(words: str, seconds: float) -> None:
    """A line that stays, above whatever bar there is.

    Args:
        words: of the line.
        seconds: since the start of the work, which begin it.
    """
    tqdm.write(f"[{clock(seconds)}] {words}", file=sys.stderr)


def clock(seconds: float) -> str:
    """Such as 01:05, or 2:00:07."""
    return tqdm.format_interval(seconds)


def watch(
    count: Callable[[], int], update: Callable[[int], object]
) -> AbstractContextManager[None]:
    """Tell `update` how much `count` has grown, now and then while the block runs."""

    def poll(ended: threading.Event) -> None:
        told, last = 0, False
        while not last:
            last = ended.wait(POLL_SECONDS)
            now = count()
            update(now - told)
            told = now

    return beside(poll)
