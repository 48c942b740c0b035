"""Answers of S3 that trickle are broken off.

The timeout of a socket is for a single piece of an answer, however small: bytes that
come one by one would be waited for as long as there are any.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.response import StreamingBody

READ_SECONDS = 30
"""For one piece of an answer; the whole has as long, and longer by its size."""
LEAST_BYTES_PER_SECOND = 10_000
POLL_SECONDS = 1.0


def read_in_time(body: "StreamingBody", size: int) -> bytes:
    """All of an answer of `size` bytes.

    Raises:
        BotoCoreError: it breaks off, or is broken off because it comes too slowly.
    """
    seconds = READ_SECONDS + size / LEAST_BYTES_PER_SECOND
    with body as stream, _watch.until(time.monotonic() + seconds, stream):
        return body.read()


class _Watch:
    """One thread that hangs up on what is late, while anything is read at all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._deadlines: dict[int, tuple[float, Any]] = {}
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def until(self, deadline: float, stream: Any) -> Iterator[None]:
        """Hang up on `stream` at `deadline`, unless the block has ended."""
        with self._lock:
            self._deadlines[id(stream)] = deadline, stream
            if not (self._thread and self._thread.is_alive()):  # as after a fork
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                del self._deadlines[id(stream)]

    def _run(self) -> None:
        while True:
            time.sleep(POLL_SECONDS)
            with self._lock:
                if not self._deadlines:
                    self._thread = None
                    return
                for deadline, stream in self._deadlines.values():
                    if deadline < time.monotonic():
                        with contextlib.suppress(OSError, ValueError):  # it is closed
                            stream.shutdown()


_watch = _Watch()
