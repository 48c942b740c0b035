"""The page in a process of its own, for benchmarks, screenshots and tests."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from xray.common.errors import UserError
from xray.common.processes import die_with_parent, stop


@dataclass(frozen=True)
class Page:
    """A page that is served.

    Attributes:
        address: http://127.0.0.1:PORT/
        pid: of its process.
    """

    address: str
    pid: int


@contextmanager
def serve_page(*arguments: object) -> Iterator[Page]:
    """Serve the page on a free port of this machine while the block runs.

    Args:
        *arguments: of `python -m xray.webapp`.

    Raises:
        UserError: it does not start; what it says goes to standard error.
    """
    command = [sys.executable, "-m", "xray.webapp", "--port", "0", *map(str, arguments)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent
    )
    try:
        address = process.stdout.readline().strip()
        if not address:
            raise UserError("The page did not start, for the reason above.")
        yield Page(address, process.pid)
    finally:
        stop(process)
        process.stdout.close()
