"""One try of all workers together, and how long the missing ones are waited for."""

import time
from dataclasses import dataclass, field
from typing import Any

from xray.common.errors import UserError
from xray.spark.resident.messages import ServerKey

# Tries without an average between them; each costs a start of all workers.
MAX_FRUITLESS = 10


@dataclass
class Attempt:
    """One try of all workers together; a lost worker ends it for all.

    Attributes:
        number: grows from one try to the next.
        joined: workers that have come.
        lost: whether a worker is gone.
        lost_worker: the first that went, where it is known.
        arrived: what has come in the round under way.
        finished: rounds answered so far.
        images: that the vectors of the round under way were trained on, summed.
        peers: where each worker lets the others in.
        reply: of the last round.
        home_since: when all were told that there is nothing more to do.
    """

    number: int
    joined: int = 0
    lost: bool = False
    lost_worker: int | None = None
    arrived: list[tuple[int, Any]] = field(default_factory=list)
    finished: int = 0
    images: int = 0
    peers: dict[int, ServerKey | None] = field(default_factory=dict)
    reply: Any = None
    home_since: float | None = None


class RollCall:
    """Whether all workers are there, and since when they are not.

    All are missing at the start, and none any more once all were sent home.

    Args:
        workers: how many there are to be.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._since: float | None = time.monotonic()
        self._fruitless = 0  # tries since the last average

    def missing_seconds(self) -> float | None:
        """Since a worker has been missing; None: none is."""
        return None if self._since is None else time.monotonic() - self._since

    def regroup(self, workers: int) -> None:
        """So many others are to come, and are missing until then."""
        self._workers, self._since = workers, time.monotonic()

    def note_start(self) -> None:
        """All start, or start again.

        Raises:
            UserError: they have done so too often without an average.
        """
        self._fruitless += 1
        if self._fruitless > MAX_FRUITLESS:
            raise UserError(
                f"Workers were lost {MAX_FRUITLESS} times without an average between. "
                "Look at the executors' logs, give them more memory, or average more "
                "often (runner.sync_every)."
            )

    def note_average(self) -> None:
        """The tries so far were not in vain."""
        self._fruitless = 0

    def note_joined(self, attempt: Attempt) -> None:
        """A worker has come."""
        attempt.joined += 1
        if attempt.joined == self._workers and not attempt.lost:
            self._since = None

    def note_lost(self, attempt: Attempt) -> None:
        """The first worker of a try is gone."""
        if attempt.home_since is None:
            self._since = time.monotonic()
