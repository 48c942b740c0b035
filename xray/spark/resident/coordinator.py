"""Between the loop, which orders an epoch, and the workers, who train it together."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np

from xray.data.dataset import Subset
from xray.spark.environment import Attendance, WorkerEnvironment, check_workers
from xray.spark.resident.messages import (
    Done,
    End,
    EpochReport,
    Hello,
    Loaded,
    Order,
    Predicted,
    PredictSet,
    Ready,
    Recut,
    Share,
    TrainEpoch,
)
from xray.spark.resident.outer import OuterMomentum
from xray.spark.resident.retries import note_retry
from xray.spark.resident.team import Team
from xray.training.checks import check_loss, check_skipped
from xray.training.epoch_log import TrainedEpoch
from xray.training.journal import Journal
from xray.training.resuming import check_resume


class Abandoned(Exception):
    """The job has ended under the loop; whoever ended it knows why."""


class Coordinator:
    """The loop's engine on one side, the weight server's handler on the other.

    The loop's thread orders and waits; the server's threads hand the order to the
    workers and bring back what they did. Workers who start anew ask for an order and
    get the one under way, from the first average that is missing: the loop does not
    notice.

    Args:
        journal: of the run.
        values: the vector that the server averages into.
        shares: what each worker is to do, once the data set is known.
        bar: of progress, in images.
        last_failure: why Spark started the workers anew, in one line.
        room: for how many workers there is, where their number may change.
        outer: momentum on the averages; None is without.
    """

    def __init__(
        self,
        journal: Journal,
        values: np.ndarray,
        shares: "Future[list[Share]]",
        bar: Any,
        last_failure: Callable[[], str | None] = lambda: None,
        room: Callable[[], int] = lambda: 0,
        outer: OuterMomentum | None = None,
    ) -> None:
        self.journal, self.values, self.bar = journal, values, bar
        self.team = Team(journal, shares)
        self._last_failure, self._room = last_failure, room
        self._outer = outer
        self._changed = threading.Condition()
        self._order: Order | None = None
        self._outcome: Any = None
        self._ended: Exception | None = None
        self._reason: str | None = None
        self._attendance = Attendance()
        self._images = 0  # in the averages of the epoch under way
        self._rounds = (journal.exchange or {}).get("rounds", 0)
        self._begun = self._rounds  # those before the epoch under way, or its rest
        self._reports: list[EpochReport] = []
        self._mark = time.perf_counter()
        self._idle_since = 0.0  # seconds since 1970; 0 before a try's first epoch

    # --- For the loop.

    def train_epoch(self, epoch: int, factor: float) -> TrainedEpoch:
        """Have the workers train an epoch, and average."""
        return self._do(TrainEpoch(epoch, factor))

    def predict(self, subset: str) -> tuple[Subset, np.ndarray]:
        """The readable images of a set, and the workers' probabilities for them."""
        return self._collect(subset, self._do(PredictSet(subset)))

    def state(self) -> list[np.ndarray]:
        """The vector of the last average, and the momentum of the averages."""
        momentum = [self._outer.velocity.copy()] if self._outer else []
        return [*self.weights(), *momentum]

    def weights(self) -> list[np.ndarray]:
        """The vector of the last average."""
        return [self.values.copy()]

    def set_weights(self, weights: list[np.ndarray]) -> None:
        """Have the workers predict with such a vector."""
        self.values[:] = weights[0]

    def end(self, error: Exception | None = None) -> None:
        """Send the workers home, or stop them because of `error`."""
        with self._changed:
            self._order, self._ended = End(), self._ended or error
            self._changed.notify_all()

    def regroup(self, workers: int, reason: str | None) -> None:
        """Cut the images anew over so many workers, those left of the epoch too.

        Nobody else may be at work: the workers before these are gone.

        Args:
            workers: from now on.
            reason: why those before were lost; None where nobody knows, or was lost.
        """
        self._reason = reason
        with self._changed:
            self.team.regroup(workers, self._order_left())
            self._begun, self._reports = self._rounds, []

    @property
    def ended(self) -> bool:
        """Whether the loop has no more orders."""
        return bool(self._ended) or isinstance(self._order, End)

    def abandon(self) -> None:
        """Have the loop give up, if it still waits for workers that are gone."""
        self.end(Abandoned("The job has ended."))

    def _do(self, order: Order) -> Any:
        with self._changed:
            self._order, self._outcome = order, None
            self._images, self._begun, self.team.rest = 0, self._rounds, None
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._outcome is not None or self._ended)
            if self._ended:
                raise Abandoned from self._ended
            return self._outcome

    # --- For the server.

    def share(self, worker: int) -> Share:
        """What the worker is to do; waits for the data set."""
        return self.team.shares.result()[worker]

    def on_gather(self, messages: list[Any]) -> Any:
        """The answer to one message of each worker."""
        match messages[0]:
            case Hello():
                self._note_environments([hello.environment for hello in messages])
            case Loaded():
                self._note_unreadable(messages)
            case Ready():
                self._spend("warmup")
                return self._next_order()
            case EpochReport():
                self._note_reports(messages)
            case Predicted():
                self._spend("evaluate")
                self._idle_since = time.time()
                self._finish(messages)
            case Done():
                return self._prepare(self._next_order(), len(messages))
        return None

    def on_average(self, counts: dict[str, int], images: int) -> bool:
        """Step from the average, and close the epoch when its last one is done."""
        moved = bool(self._outer and images)
        if moved:
            self._outer.step(self.values)
        self._images += images
        self.journal.exchange, self._rounds = counts, counts["rounds"]
        if self._rounds - self._begun == self.team.parts():
            self._finish(self._close_epoch(self._reports))
        return moved

    def on_retry(self, rounds: int, worker: int | None) -> None:
        """Note that all workers start again."""
        if self.team.balanced:
            self.regroup(len(self.team.shares.result()), self._reason)
        self._reports = []  # a number may be another machine's now
        told, self._reason = self._reason or self._last_failure() or "", None
        note_retry(self.journal, rounds, worker, told)

    def _next_order(self) -> Order:
        """The order under way, or the next one when the loop gives it."""
        with self._changed:
            self._changed.wait_for(lambda: self._order or self._ended)
            if self._ended:
                raise self._ended
            return self._order_left()

    def _order_left(self) -> Order | None:
        """The order under way, of an epoch what is left of it."""
        if not isinstance(self._order, TrainEpoch):
            return self._order
        part = self._rounds - self._begun
        return replace(self._order, part=part, rest=self.team.rest)

    def _prepare(self, order: Order, workers: int) -> Order:
        """What so many workers do before a whole epoch, or the order itself."""
        if not isinstance(order, TrainEpoch) or order.part or order.rest:
            return order
        if self._room() > workers:
            return End()  # more of them start anew
        wanted = self.journal.config.runner.balance
        return Recut() if wanted and self.team.balance(self._reports) else order

    def _finish(self, outcome: Any) -> None:
        """Give the loop what its order has come to."""
        with self._changed:
            self._order, self._outcome = None, outcome
            self._changed.notify_all()

    def _spend(self, phase: str) -> float:
        """Seconds since the last mark, added to `phase`."""
        now = time.perf_counter()
        seconds, self._mark = now - self._mark, now
        self.journal.timer.add(phase, seconds)
        return seconds

    def _note_environments(self, environments: list[WorkerEnvironment]) -> None:
        self._spend("startup")
        runner, timer = self.journal.config.runner, self.journal.timer
        if runner.min_workers is None:
            found = check_workers(environments, runner.precision)
        else:  # a machine that is gone was paid for as well
            found = self._attendance.check(
                environments, runner.precision, timer.elapsed_seconds()
            )
        self.journal.machine |= found
        self.journal.tell(f"{len(environments)} worker(s) have started")

    def _note_unreadable(self, messages: list[Loaded]) -> None:
        self._spend("load")
        journal = self.journal
        if journal.cached is None:  # a later start finds what an earlier one kept
            journal.cached = sum(loaded.cached for loaded in messages)
        for loaded in messages:
            for name, unreadable in loaded.bad.items():
                names = getattr(journal.dataset, name).names
                for row, reason in unreadable:
                    journal.skipped[str(names[row])] = reason
        check_skipped(journal)
        check_resume(journal, loaded=True)
        images = journal.train_images()
        journal.tell_loaded()
        self.bar.reset(images * journal.config.training.epochs)
        self.bar.update(images * len(journal.log.epochs))

    def _note_reports(self, reports: list[EpochReport]) -> None:
        """What the workers say of an epoch, before its last average."""
        for report in reports:
            if report.images:
                check_loss(report.loss, report.epoch + 1, self.journal.config)
        self._reports = reports

    def _close_epoch(self, reports: list[EpochReport]) -> TrainedEpoch:
        seconds, journal = self._spend("fit"), self.journal
        trained = [report for report in reports if report.images]
        images = [report.images for report in trained]
        started = min(report.started for report in trained)
        journal.note_first_step(time.time() - started)
        gap = max(0.0, started - self._idle_since) if self._idle_since else None
        self._idle_since = max(report.ended for report in trained)
        journal.log.add_workers(reports)
        self.bar.update(sum(images))
        return TrainedEpoch(
            seconds,
            float(np.average([report.loss for report in trained], weights=images)),
            trained[0].learning_rate,
            sync_gap_seconds=gap,
            worker_seconds=[report.fit_seconds for report in reports],
            images=self._images,
        )

    def _collect(self, name: str, parts: list[Predicted]) -> tuple[Subset, np.ndarray]:
        """The readable images of a set, and their probabilities of all workers."""
        subset: Subset = getattr(self.journal.dataset, name)
        probabilities = np.full(subset.labels.shape, np.nan)
        for part in parts:
            probabilities[part.rows] = part.probabilities
        good = self.journal.readable_rows(subset)
        return subset.take(good), probabilities[good]
