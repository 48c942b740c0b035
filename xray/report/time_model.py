"""The seconds of an Elephas run as a formula, and its numbers from measured records.

A run of N workers on n training images for E epochs that scores m images in all takes

    startup + warmup + other                            the same for every N
    + load:      a + b n/N                              each worker reads its shard
    + E epochs:  c n/N (1 + v z(N))                     the slowest worker decides
                 + R (d + f N + (2 - 1/N) W/B)          R averages of the weights
    + evaluate:  g + h m/N

c is the median seconds per image and worker, v the spread of the workers within an
epoch and z(N) the expected largest of N standard normal values (Blom 1958). The other
pairs are fitted by least squares without negative values (Lawson and Hanson 1974),
except that b is what a sequential run of the same data needed for each image, where
there is one: workers read beside TensorFlow's start, which hides b in small runs. W is
the bytes of the weights, of which every worker sends (N-1)/N to the others twice, and
1/N to the driver, over B bytes a second; B is infinite on one machine, where f has all
there is.
Work done by workers is slowed by N threads/cores where a machine has fewer cores.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from xray.common.errors import UserError
from xray.records.record import RunRecord
from xray.report.hosts import crowding

MANY = 2**31
"""Scorings of a run that scores after every epoch, however many there are."""


class ForecastJob(NamedTuple):
    """What is asked of the model."""

    workers: int
    train: int
    test: int
    epochs: int
    rounds: int
    """Averages in each epoch."""
    crowding: float = 1.0
    """Threads a core; 1 where every worker has its own."""
    bytes_per_second: float = math.inf
    """Of the network that each worker has; infinite where all share one machine."""
    validation: int = 0
    """Images that are scored after every epoch."""
    test_scorings: int = 1
    """How often the test images are, at most: once an epoch."""

    @property
    def scored(self) -> int:
        """Images scored in the whole run, each time it happens."""
        tests = min(self.test_scorings, self.epochs)
        return self.test * tests + self.validation * self.epochs


@dataclass(frozen=True)
class Point:
    """One record in the model's terms; all seconds."""

    job: ForecastJob
    fixed: float
    load: float
    image: float
    """Training seconds of one image on one worker that has its core to itself."""
    spread: float | None
    """Standard deviation of the workers' seconds over their mean; None for one."""
    exchange: float
    """One average of the weights."""
    weight_bytes: float
    """Of the weights of one worker."""
    evaluate: float
    total: float


def point_of(record: RunRecord) -> Point:
    """A record of `families` in the model's terms.

    Compute, straggling and exchange are medians over the epochs from the second on.
    """
    job, phases = job_of(record), record.phases
    epochs = record.epochs[1:] or record.epochs
    shard = job.train / job.workers
    means = [statistics.fmean(epoch.worker_seconds) for epoch in epochs]
    image = statistics.median(means) / shard / job.crowding
    rounds = [
        (epoch.seconds - max(epoch.worker_seconds)) / job.rounds  # the gap included
        for epoch in epochs
    ]
    known = phases.load + phases.fit + phases.evaluate
    return Point(
        job=job,
        fixed=max(0.0, phases.total - known),
        load=phases.load,
        image=image,
        spread=_spread(epochs, means) if job.workers > 1 else None,
        exchange=max(0.0, statistics.median(rounds)),
        weight_bytes=_weight_bytes(record),
        evaluate=phases.evaluate,
        total=phases.total,
    )


def job_of(record: RunRecord) -> ForecastJob:
    """What the record's run was asked to do."""
    workers, epochs = record.workers or 1, len(record.epochs)
    rounds = (record.exchange or {}).get("rounds", epochs)
    return ForecastJob(
        workers,
        record.images.train,
        record.images.test,
        epochs,
        max(1, round(rounds / epochs)),
        crowding(record),
        validation=record.images.validation,
        test_scorings=test_scorings(record.config),
    )


def test_scorings(config: Mapping[str, Any]) -> int:
    """How often a run scores its test images, at most: once an epoch."""
    training = config["training"]
    if training.get("evaluate_every_epoch"):
        return MANY
    if config["data"].get("validation_fraction"):
        return 1
    return training.get("scored_epochs", 1)  # older versions: at the end alone


def _weight_bytes(record: RunRecord) -> float:
    found = record.exchange or {}
    messages = found.get("rounds") or 1
    if "bytes_between_workers" not in found:  # the driver got the weights of each
        messages *= record.workers or 1
    return found.get("bytes_received", 0) / messages


def _spread(epochs: Sequence[Any], means: Sequence[float]) -> float:
    """Median over epochs of the workers' standard deviation over their mean."""
    return statistics.median(
        statistics.stdev(epoch.worker_seconds) / mean
        for epoch, mean in zip(epochs, means, strict=True)
    )


@dataclass(frozen=True)
class TimeModel:
    """The fitted numbers of the module's formula."""

    fixed: float
    load: tuple[float, float]
    image: float
    spread: float
    exchange: tuple[float, float]
    weight_bytes: float
    evaluate: tuple[float, float]

    def parts(self, job: ForecastJob) -> dict[str, float]:
        """Seconds of each part of `job`."""
        shard = math.ceil(job.train / job.workers)
        slowest = 1 + self.spread * largest_of(job.workers)
        crowded, n = job.crowding, job.workers
        exchange = self.exchange[0] + self.exchange[1] * n
        evaluate = self.evaluate[0] + self.evaluate[1] * job.scored / n
        exchange += (2 - 1 / n) * self.weight_bytes / job.bytes_per_second
        return {
            "fixed": self.fixed,
            "load": crowded * (self.load[0] + self.load[1] * shard),
            "compute": job.epochs * crowded * self.image * shard * slowest,
            "exchange": job.epochs * job.rounds * exchange,
            "evaluate": crowded * evaluate,
        }

    def seconds(self, job: ForecastJob) -> float:
        """Seconds of the whole run."""
        return sum(self.parts(job).values())


def fit_model(points: Sequence[Point], reading: float | None = None) -> TimeModel:
    """The model that fits the points best; two worker counts at least.

    Args:
        points: of one family of runs.
        reading: b, seconds of reading for each training image; None fits it.

    Raises:
        UserError: there are fewer, so nothing tells what grows with the workers.
    """
    counts = sorted({point.job.workers for point in points})
    if len(counts) < 2:
        raise UserError(
            "A prediction needs Elephas records (engine resident) of two worker "
            f"counts at least. Got {', '.join(map(str, counts)) or 'none'}."
        )
    jobs = [point.job for point in points]
    crowding = np.array([job.crowding for job in jobs])
    shards = [math.ceil(job.train / job.workers) for job in jobs]
    spreads = [point.spread for point in points if point.spread is not None]
    return TimeModel(
        fixed=statistics.median(point.fixed for point in points),
        load=_line(shards, np.array([p.load for p in points]) / crowding, reading),
        image=statistics.median(point.image for point in points),
        spread=statistics.median(spreads) if spreads else 0.0,
        exchange=_line([job.workers for job in jobs], [p.exchange for p in points]),
        weight_bytes=statistics.median(point.weight_bytes for point in points),
        evaluate=_line(
            [job.scored / job.workers for job in jobs],
            np.array([p.evaluate for p in points]) / crowding,
        ),
    )


def _line(
    x: Sequence[float], y: Sequence[float] | np.ndarray, slope: float | None = None
) -> tuple[float, float]:
    """Intercept and slope of the least-squares line, neither below zero.

    A `slope` that is known leaves the intercept alone to be found.
    """
    from scipy.optimize import nnls

    x = np.asarray(x, dtype=float)
    if slope is not None:
        return max(0.0, float(np.mean(np.asarray(y) - slope * x))), slope
    (intercept, slope), _ = nnls(np.column_stack([np.ones_like(x), x]), np.asarray(y))
    return float(intercept), float(slope)


def largest_of(count: int) -> float:
    """Expected largest of `count` standard normal values; 0 for one.

    Source: Blom, Statistical Estimates and Transformed Beta-Variables, 1958.
    """
    if count < 2:
        return 0.0
    return statistics.NormalDist().inv_cdf((count - 0.375) / (count + 0.25))
