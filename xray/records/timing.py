"""Named, non-overlapping phases of a run, on a monotonic clock."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

PHASES = ("startup", "load", "warmup", "fit", "evaluate")


class Timer:
    """Wall and CPU seconds per phase, and the whole since `age_seconds` ago.

    A phase may be entered many times (fit and evaluate alternate when every epoch is
    scored) and phases never nest, so they add up to no more than the total.

    Args:
        age_seconds: how long the program ran before this timer was made; counted in
            the total and in `startup`.
    """

    def __init__(self, age_seconds: float = 0.0) -> None:
        self._start = time.perf_counter() - age_seconds
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.cpu_seconds = dict.fromkeys(PHASES, 0.0)
        self.seconds["startup"] = age_seconds
        self._current: str | None = None

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time spent in the block to phase `name`.

        Raises:
            ValueError: an unknown phase, or a phase inside another one.
        """
        if name not in PHASES:
            raise ValueError(f"phase must be one of {PHASES}. Got {name!r}.")
        if self._current:
            raise ValueError(f"phases do not nest. Got {name!r} in {self._current!r}.")
        self._current = name
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - wall
            self.cpu_seconds[name] += time.process_time() - cpu
            self._current = None

    def add(self, name: str, seconds: float) -> None:
        """Add wall seconds to phase `name`, measured elsewhere while none was open."""
        self.seconds[name] += seconds

    def add_earlier(
        self, seconds: dict[str, float], cpu_seconds: dict[str, float], total: float
    ) -> None:
        """Count an earlier try of the same run: its phases and its total."""
        for name in PHASES:
            self.seconds[name] += seconds[name]
            self.cpu_seconds[name] += cpu_seconds[name]
        self._start -= total

    def elapsed_seconds(self) -> float:
        """Seconds since the program started, those of earlier tries added."""
        return time.perf_counter() - self._start

    def phases(self) -> dict[str, float]:
        """Seconds per phase with `total`, which is measured on its own."""
        return {**self.seconds, "total": self.elapsed_seconds()}


def program_age_seconds(under_spark_submit: bool) -> float:
    """Seconds since this program was started, Python's own start included.

    Under spark-submit the Java process that started this Python is the program.
    """
    import psutil

    process = psutil.Process()
    if under_spark_submit:
        process = process.parent() or process
    return max(0.0, time.time() - process.create_time())
