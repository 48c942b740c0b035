"""How much the page takes: sizes, uploads a minute, and work at a time."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from werkzeug.exceptions import ServiceUnavailable, TooManyRequests

from xray.data.images import MAX_PICTURE_PIXELS

CLIENTS = 10_000  # remembered at once
BUSY_SECONDS = 2  # until a client that was sent away may try again


@dataclass(frozen=True)
class Limits:
    """What one process of the page takes.

    Attributes:
        upload_bytes: of one request.
        pixels: of one picture.
        uploads_per_minute: of one client, all at once or one by one.
        workers: pictures decoded and scored at once.
        waiting: requests that wait for a worker; more are sent away.
        patience_seconds: for which a connection may rest when it is its turn to send or
            to take an answer; half of it before it has begun to.
        bytes_per_second: that it moves, or it uses up that patience.
    """

    upload_bytes: int = 20 * 2**20
    pixels: int = MAX_PICTURE_PIXELS
    uploads_per_minute: int = 120
    workers: int = 2
    waiting: int = 32
    patience_seconds: float = 10
    bytes_per_second: int = 2**15

    @property
    def connections(self) -> int:
        """Open at once; each may hold one whole upload in memory."""
        return 2 * (self.workers + self.waiting)


class RateLimit:
    """So many uploads a minute for each client, in a burst or spread (token bucket).

    Args:
        per_minute: uploads.
        clock: seconds, from any start.
    """

    def __init__(
        self, per_minute: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_minute, self._clock = per_minute, clock
        self._lock = threading.Lock()
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> None:
        """Count one upload of `client`.

        Raises:
            TooManyRequests: 429, with the seconds to wait.
        """
        with self._lock:
            left = self._left(client)
            self._remember(client, left - 1 if left >= 1 else left)
        if left < 1:
            seconds = math.ceil((1 - left) * 60 / self._per_minute)
            raise TooManyRequests(
                f"At most {self._per_minute} uploads a minute are taken from one "
                f"client. Try again in {seconds} s.",
                retry_after=seconds,
            )

    def _left(self, client: str) -> float:
        now = self._clock()
        left, then = self._clients.get(client, (self._per_minute, now))
        return min(self._per_minute, left + (now - then) * self._per_minute / 60)

    def _remember(self, client: str, left: float) -> None:
        self._clients[client] = (left, self._clock())
        self._clients.move_to_end(client)
        if len(self._clients) > CLIENTS:  # forget who came longest ago
            self._clients.popitem(last=False)


class Gate:
    """Lets `workers` requests work and `waiting` more wait; sends away the others."""

    def __init__(self, workers: int, waiting: int) -> None:
        self._places = threading.BoundedSemaphore(workers + waiting)
        self._work = threading.BoundedSemaphore(workers)

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Hold a worker's place for the block.

        Raises:
            ServiceUnavailable: 503 at once, with the seconds to wait.
        """
        if not self._places.acquire(blocking=False):
            raise ServiceUnavailable(
                f"The server is busy. Try again in {BUSY_SECONDS} s.",
                retry_after=BUSY_SECONDS,
            )
        try:
            with self._work:
                yield
        finally:
            self._places.release()
