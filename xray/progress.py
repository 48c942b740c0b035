"""Progress of long work on the terminal: count, rate and time left."""

import sys

from tqdm import tqdm


def progress_bar(total: int | None, description: str) -> tqdm:
    """A bar over `total` images on standard error; a line every 10 s in a log file.

    A total that is not known yet can be given to `reset`.
    """
    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=description,
        unit="img",
        mininterval=0.5 if terminal else 10,
        dynamic_ncols=terminal,
        leave=False,
        file=sys.stderr,
    )
