"""A model of Elephas' time from measured records, for numbers of workers not measured.

A run of N workers on n training and m test images for E epochs takes

    startup + warmup + other                            the same for every N
    + load:      a + b n/N                              each worker reads its shard
    + E epochs:  c n/N (1 + v z(N))                     the slowest worker decides
                 + R (d + f N)                          R rounds through the driver
    + evaluate:  g + h m/N

c is the median seconds per image and worker, v the spread of the workers within an
epoch and z(N) the expected largest of N standard normal values (Blom 1958). The other
pairs are fitted by least squares without negative values (Lawson and Hanson 1974). Work
done by workers is slowed by N threads/cores where a machine has fewer cores than that.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from xray.errors import UserError
from xray.record import RunRecord

NIH_IMAGES = 112_120
"""Images of ChestX-ray14."""
DRAWS = 400
SEED = 0
MIN_ERROR = 0.05
"""Smallest relative standard error: that of a model with as many points as numbers."""
BOTTOM, TOP = 2.5, 97.5


class Job(NamedTuple):
    """What is asked of the model."""

    workers: int
    train: int
    test: int
    epochs: int
    rounds: int
    """Averages in each epoch."""
    crowding: float = 1.0
    """Threads a core; 1 where every worker has its own."""


@dataclass(frozen=True)
class Point:
    """One record in the model's terms; all seconds."""

    job: Job
    fixed: float
    load: float
    image: float
    """Training seconds of one image on one worker that has its core to itself."""
    spread: float | None
    """Standard deviation of the workers' seconds over their mean; None for one."""
    exchange: float
    """One exchange of weights through the driver."""
    evaluate: float
    total: float


class Prediction(NamedTuple):
    """Seconds of a whole run with a 95% interval, and of its parts."""

    job: Job
    seconds: float
    low: float
    high: float
    parts: dict[str, float]


def family(record: RunRecord) -> tuple[Any, ...]:
    """Equal for records whose steps cost the same: only N, n, m and E may differ."""
    config = record.config
    data, training, runner = (config[k] for k in ("data", "training", "runner"))
    return (
        record.runner,
        record.engine,
        record.threads_per_worker,
        record.machine.get("cpu_model"),
        record.machine.get("instance_type"),
        data.get("images"),
        data.get("image_size"),
        str(sorted(config["model"].items())),
        training.get("batch_size"),
        training.get("optimizer"),
        runner.get("optimizer_state"),
        runner.get("sync_every"),
    )


def families(records: Iterable[RunRecord]) -> list[list[RunRecord]]:
    """Predictable Elephas runs by family, the one with most worker counts first."""
    found: dict[tuple[Any, ...], list[RunRecord]] = {}
    for record in records:
        if _is_predictable(record):
            found.setdefault(family(record), []).append(record)
    return sorted(found.values(), key=lambda group: (-len(_counts(group)), -len(group)))


def _is_predictable(record: RunRecord) -> bool:
    parts = ("data", "model", "training", "runner")
    return (
        record.status == "success"
        and record.runner == "elephas"
        and record.engine == "resident"
        and bool(record.workers and record.epochs and record.images.train)
        and all(epoch.worker_seconds for epoch in record.epochs)
        and all(isinstance(record.config.get(part), dict) for part in parts)
    )


def _counts(records: Sequence[RunRecord]) -> set[int]:
    return {record.workers or 0 for record in records}


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
        (epoch.seconds - max(epoch.worker_seconds) + (epoch.sync_gap_seconds or 0))
        / job.rounds
        for epoch in epochs
    ]
    known = phases.load + phases.fit + phases.evaluate
    return Point(
        job=job,
        fixed=phases.total - known,
        load=phases.load,
        image=image,
        spread=_spread(epochs, means) if job.workers > 1 else None,
        exchange=max(0.0, statistics.median(rounds)),
        evaluate=phases.evaluate,
        total=phases.total,
    )


def job_of(record: RunRecord) -> Job:
    """What the record's run was asked to do."""
    workers, epochs = record.workers or 1, len(record.epochs)
    rounds = (record.exchange or {}).get("rounds", epochs)
    machine = record.machine
    cores = (machine.get("cores") or 1) * (machine.get("nodes") or 1)
    crowding = max(1.0, workers * (record.threads_per_worker or 1) / cores)
    return Job(
        workers,
        record.images.train,
        record.images.test,
        epochs,
        max(1, round(rounds / epochs)),
        crowding,
    )


def _spread(epochs: Sequence[Any], means: Sequence[float]) -> float:
    """Median over epochs of the workers' standard deviation over their mean."""
    return statistics.median(
        statistics.stdev(epoch.worker_seconds) / mean
        for epoch, mean in zip(epochs, means, strict=True)
    )


@dataclass(frozen=True)
class Model:
    """The fitted numbers of the module's formula."""

    fixed: float
    load: tuple[float, float]
    image: float
    spread: float
    exchange: tuple[float, float]
    evaluate: tuple[float, float]

    def parts(self, job: Job) -> dict[str, float]:
        """Seconds of each part of `job`."""
        shard = math.ceil(job.train / job.workers)
        slowest = 1 + self.spread * largest_of(job.workers)
        crowded, n = job.crowding, job.workers
        exchange = self.exchange[0] + self.exchange[1] * n
        return {
            "fixed": self.fixed,
            "load": crowded * (self.load[0] + self.load[1] * shard),
            "compute": job.epochs * crowded * self.image * shard * slowest,
            "exchange": job.epochs * job.rounds * exchange,
            "evaluate": crowded * (self.evaluate[0] + self.evaluate[1] * job.test / n),
        }

    def seconds(self, job: Job) -> float:
        """Seconds of the whole run."""
        return sum(self.parts(job).values())


def fit_model(points: Sequence[Point]) -> Model:
    """The model that fits the points best; two worker counts at least.

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
    return Model(
        fixed=statistics.median(point.fixed for point in points),
        load=_line(shards, np.array([p.load for p in points]) / crowding),
        image=statistics.median(point.image for point in points),
        spread=statistics.median(spreads) if spreads else 0.0,
        exchange=_line([job.workers for job in jobs], [p.exchange for p in points]),
        evaluate=_line(
            [job.test / job.workers for job in jobs],
            np.array([p.evaluate for p in points]) / crowding,
        ),
    )


def _line(x: Sequence[float], y: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Intercept and slope of the least-squares line, neither below zero."""
    from scipy.optimize import nnls

    x = np.asarray(x, dtype=float)
    (intercept, slope), _ = nnls(np.column_stack([np.ones_like(x), x]), np.asarray(y))
    return float(intercept), float(slope)


def largest_of(count: int) -> float:
    """Expected largest of `count` standard normal values; 0 for one.

    Source: Blom, Statistical Estimates and Transformed Beta-Variables, 1958.
    """
    if count < 2:
        return 0.0
    return statistics.NormalDist().inv_cdf((count - 0.375) / (count + 0.25))


class Predictor:
    """Predicts with an interval from the records of one family.

    The interval draws the records anew within each worker count, fits again, and adds
    the relative error of the fit: at least 5%, once more for each doubling of the
    workers beyond those that were measured.

    Args:
        records: of one family, with two worker counts at least.

    Raises:
        UserError: fewer than two worker counts.
    """

    def __init__(self, records: Sequence[RunRecord]) -> None:
        self.records = list(records)
        self.points = [point_of(record) for record in records]
        self.model = fit_model(self.points)
        self.largest = max(point.job.workers for point in self.points)
        errors = [math.log(p.total / self.model.seconds(p.job)) for p in self.points]
        free = max(1, len(errors) - 1)
        self.error = max(MIN_ERROR, math.sqrt(sum(e * e for e in errors) / free))
        generator = np.random.default_rng(SEED)
        self._models = [self._redrawn(generator) for _ in range(DRAWS)]
        self._noise = generator.standard_normal(DRAWS)

    def _redrawn(self, generator: np.random.Generator) -> Model:
        points: list[Point] = []
        for count in sorted({point.job.workers for point in self.points}):
            same = [point for point in self.points if point.job.workers == count]
            points += [same[i] for i in generator.integers(len(same), size=len(same))]
        return fit_model(points)

    def predict(self, job: Job) -> Prediction:
        """Seconds of `job` with a 95% interval."""
        beyond = max(0.0, math.log2(job.workers / self.largest))
        factors = np.exp(self.error * (1 + beyond) * self._noise)
        drawn = np.array([model.seconds(job) for model in self._models]) * factors
        low, high = np.percentile(drawn, [BOTTOM, TOP])
        seconds = self.model.seconds(job)
        parts = self.model.parts(job)
        return Prediction(
            job, seconds, min(float(low), seconds), max(float(high), seconds), parts
        )

    def job(self, workers: int, images: int | None = None) -> Job:
        """The measured job with another number of workers, each with its own core.

        Args:
            workers: N.
            images: of training and test together; None as measured.
        """
        like = self.points[-1].job
        measured = like.train + like.test
        share = like.train / measured
        total = measured if images is None else images
        train = round(total * share)
        shards = train / like.train * like.workers / workers
        rounds = 1 if like.rounds == 1 else max(1, round(like.rounds * shards))
        return Job(workers, train, total - train, like.epochs, rounds)


def knee(seconds_by_workers: dict[int, float]) -> int:
    """The workers beyond which more gain less than they cost.

    The maximum of efficiency over time, which is that of S(N)^2 / N.

    Source: Eager, Zahorjan and Lazowska, Speedup versus efficiency in parallel
    systems, IEEE Transactions on Computers 38(3), 1989.
    """
    return min(seconds_by_workers, key=lambda n: n * seconds_by_workers[n] ** 2)


class HeldOut(NamedTuple):
    """A measured worker count beside what the others predict for it."""

    workers: int
    runs: int
    measured: float
    """Median seconds."""
    predicted: Prediction

    @property
    def error(self) -> float:
        """Predicted less measured, over measured."""
        return self.predicted.seconds / self.measured - 1

    @property
    def inside(self) -> bool:
        """Whether the measured median lies in the interval."""
        return self.predicted.low <= self.measured <= self.predicted.high


def hold_out(records: Sequence[RunRecord]) -> list[HeldOut]:
    """Each worker count predicted from the records of the others.

    Raises:
        UserError: fewer than three worker counts.
    """
    counts = sorted(_counts(records))
    if len(counts) < 3:
        raise UserError(
            "To hold one out, records of three worker counts are needed. Got "
            f"{', '.join(map(str, counts)) or 'none'}."
        )
    found = []
    for count in counts:
        others = [record for record in records if record.workers != count]
        held = [record for record in records if record.workers == count]
        predicted = Predictor(others).predict(job_of(held[0]))
        measured = statistics.median(record.phases.total for record in held)
        found.append(HeldOut(count, len(held), measured, predicted))
    return found
