"""Predicts Elephas runs that were not measured from those that were, with intervals.

The formula and how its numbers are found are in xray/report/time_model.py.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from xray.common.errors import UserError
from xray.config.runners import runner_of
from xray.records.record import RunRecord
from xray.report.configurations import FLOAT32, pixel_source
from xray.report.hosts import working_hosts
from xray.report.time_model import (
    ForecastJob,
    TimeModel,
    fit_model,
    job_of,
    point_of,
    test_scorings,
)

NIH_IMAGES = 112_120
"""Images of ChestX-ray14."""
DRAWS = 400
SEED = 0
MIN_ERROR = 0.05
"""Smallest relative standard error: that of a model with as many points as numbers."""
BOTTOM, TOP = 2.5, 97.5


class Forecast(NamedTuple):
    """Seconds of a whole run with a 95% interval, and of its parts."""

    job: ForecastJob
    seconds: float
    low: float
    high: float
    parts: dict[str, float]


def family(record: RunRecord) -> tuple[Any, ...]:
    """Equal for records whose steps cost the same: only N, n, m and E may differ."""
    config = record.config
    training, runner = config["training"], config["runner"]
    return (
        record.runner,
        record.engine,
        record.threads_per_worker,
        *_hardware(record),
        *_source(record),
        str(sorted(config["model"].items())),
        training.get("batch_size"),
        training.get("optimizer"),
        test_scorings(config),
        config["data"].get("validation_fraction", 0.0),
        runner.get("optimizer_state"),
        runner.get("sync_every"),
        bool(runner.get("balance")),
        bool(runner.get("outer_momentum")),
        runner.get("precision", FLOAT32),
    )


def _hardware(record: RunRecord) -> tuple[frozenset[str | None], ...]:
    """CPU models and instance types of what trained."""
    hosts = working_hosts(record)
    models = frozenset(host.cpu_model for host in hosts)
    return models, frozenset(host.instance_type for host in hosts)


def _source(record: RunRecord) -> tuple[Any, ...]:
    """Equal for records that read the same pixels from the same place."""
    data = record.config["data"]
    place = data.get("images"), data.get("staged"), data.get("image_size")
    return *place, pixel_source(record)


def reading_seconds(records: Iterable[RunRecord], like: RunRecord) -> float | None:
    """Seconds of reading for each training image, by a sequential run of the same data.

    Args:
        records: among which a sequential run on the same CPU model is looked for.
        like: an Elephas run.

    Returns:
        The median; None without such a run.
    """
    found = [
        record.phases.load / record.images.train
        for record in records
        if record.status == "success"
        and runner_of(record.runner).is_baseline
        and record.threads_per_worker in (None, 1)
        and not record.resumed
        and record.images.train
        and _hardware(record)[0] == _hardware(like)[0]
        and _source(record) == _source(like)
    ]
    return statistics.median(found) if found else None


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
        and runner_of(record.runner).has_workers
        and record.engine == "resident"
        and not record.interrupted
        and bool(record.workers and record.epochs and record.images.train)
        and all(len(e.worker_seconds) == record.workers for e in record.epochs)
        and all(sum(e.worker_seconds) > 0 for e in record.epochs)
        and all(isinstance(record.config.get(part), dict) for part in parts)
    )


def _counts(records: Sequence[RunRecord]) -> set[int]:
    return {record.workers or 0 for record in records}


class Predictor:
    """Predicts with an interval from the records of one family.

    The interval draws the records anew within each worker count, fits again, and adds
    the relative error of the fit: at least 5%, once more for each doubling of the
    workers and for each tenfold of the images beyond those that were measured.

    Args:
        records: of one family, with two worker counts at least.
        others: where sequential runs of the same data may be, whose reading is known.

    Raises:
        UserError: fewer than two worker counts.
    """

    def __init__(
        self, records: Sequence[RunRecord], others: Iterable[RunRecord] = ()
    ) -> None:
        self.records, self.others = list(records), list(others)
        self.points = [point_of(record) for record in records]
        like = self.records[0] if records else None
        self.reading = reading_seconds(self.others, like) if like else None
        self.model = fit_model(self.points, self.reading)
        self.largest = max(point.job.workers for point in self.points)
        self.most_images = max(point.job.train for point in self.points)
        errors = [math.log(p.total / self.model.seconds(p.job)) for p in self.points]
        free = max(1, len(errors) - 1)
        self.error = max(MIN_ERROR, math.sqrt(sum(e * e for e in errors) / free))
        generator = np.random.default_rng(SEED)
        self._models = [self._redrawn(generator) for _ in range(DRAWS)]
        self._noise = generator.standard_normal(DRAWS)

    def _redrawn(self, generator: np.random.Generator) -> TimeModel:
        points = []
        for count in sorted({point.job.workers for point in self.points}):
            same = [point for point in self.points if point.job.workers == count]
            points += [same[i] for i in generator.integers(len(same), size=len(same))]
        return fit_model(points, self.reading)

    def predict(self, job: ForecastJob) -> Forecast:
        """Seconds of `job` with a 95% interval."""
        beyond = max(0.0, math.log2(job.workers / self.largest))
        beyond += max(0.0, math.log10(job.train / self.most_images))
        factors = np.exp(self.error * (1 + beyond) * self._noise)
        drawn = np.array([model.seconds(job) for model in self._models]) * factors
        low, high = np.percentile(drawn, [BOTTOM, TOP])
        seconds = self.model.seconds(job)
        parts = self.model.parts(job)
        return Forecast(
            job, seconds, min(float(low), seconds), max(float(high), seconds), parts
        )

    def job(
        self,
        workers: int,
        images: int | None = None,
        bytes_per_second: float = math.inf,
    ) -> ForecastJob:
        """The measured job with another number of workers, each with its own core.

        Args:
            workers: N.
            images: of all sets together; None as measured.
            bytes_per_second: of the network that each worker has.
        """
        like = self.points[-1].job
        measured = like.train + like.validation + like.test
        total = measured if images is None else images
        train = round(total * like.train / measured)
        validation = round(total * like.validation / measured)
        shards = train / like.train * like.workers / workers
        rounds = 1 if like.rounds == 1 else max(1, round(like.rounds * shards))
        return ForecastJob(
            workers,
            train,
            total - train - validation,
            like.epochs,
            rounds,
            bytes_per_second=bytes_per_second,
            validation=validation,
            test_scorings=like.test_scorings,
        )


def knee(seconds_by_workers: dict[int, float]) -> int:
    """The workers beyond which more gain less than they cost.

    The maximum of efficiency over time, which is that of S(N)^2 / N.

    Source: Eager, Zahorjan and Lazowska, Speedup versus efficiency in parallel
    systems, IEEE Transactions on Computers 38(3), 1989.
    """
    return min(seconds_by_workers, key=lambda n: n * seconds_by_workers[n] ** 2)


def knee_sentence(seconds_by_workers: dict[int, float]) -> str:
    """What `knee` says, also where it lies beyond the numbers that were asked for."""
    best, most = knee(seconds_by_workers), max(seconds_by_workers)
    if best == most:
        return f"Up to {most} workers, more of them gain more than they cost."
    return f"Beyond {best} worker(s), more of them gain less than they cost."


class HeldOut(NamedTuple):
    """A measured worker count beside what the others predict for it."""

    workers: int
    runs: int
    measured: float
    """Median seconds."""
    predicted: Forecast

    @property
    def error(self) -> float:
        """Predicted less measured, over measured."""
        return self.predicted.seconds / self.measured - 1

    @property
    def inside(self) -> bool:
        """Whether the measured median lies in the interval."""
        return self.predicted.low <= self.measured <= self.predicted.high


def hold_out(
    records: Sequence[RunRecord], others: Iterable[RunRecord] = ()
) -> list[HeldOut]:
    """Each worker count predicted from the records of the others.

    Args:
        records: of one family.
        others: as in `Predictor`.

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
        rest = [record for record in records if record.workers != count]
        held = [record for record in records if record.workers == count]
        predicted = Predictor(rest, others).predict(job_of(held[0]))
        measured = statistics.median(record.phases.total for record in held)
        found.append(HeldOut(count, len(held), measured, predicted))
    return found
