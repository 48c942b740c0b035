"""What resident workers send, as the journal notes it, and what they do next."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from xray.data.dataset import Subset
from xray.records.metrics import macro_auc
from xray.records.record import Retry
from xray.spark.cluster import Cluster
from xray.spark.environment import WorkerEnvironment, check_workers
from xray.spark.resident.messages import EpochReport, Loaded, Order
from xray.training.checks import check_loss, check_skipped
from xray.training.journal import Journal


def parts_per_epoch(journal: Journal, workers: int) -> int:
    """Averages in an epoch: one, or one for every `runner.sync_every` steps."""
    every = journal.config.runner.sync_every
    if every == "epoch":
        return 1
    largest_shard = -(-len(journal.dataset.train) // workers)
    steps = -(-largest_shard // journal.config.training.batch_size)
    return -(-steps // every)


class RoundListener:
    """Turns what the workers send into phases, epochs and scores of the journal.

    Called by the server's threads, one at a time, while the driver waits for Spark.
    Whatever a worker has finished it reports, and the answer is the next order for all;
    it follows from the journal alone, so that workers who start anew go on right.

    Args:
        journal: to fill in.
        weights: the vector that the server averages into.
        bar: of progress, in images.
        keep: called when an epoch is done with, while the workers wait.

    Attributes:
        best: the vector of the best epoch; None without a validation set.
        last: the vector of the last epoch, where the best one was scored instead.
    """

    def __init__(
        self,
        journal: Journal,
        weights: np.ndarray,
        bar: Any,
        keep: Callable[[], None] = lambda: None,
    ) -> None:
        self.journal, self.weights, self.bar = journal, weights, bar
        self.best: np.ndarray | None = None
        self.last: np.ndarray | None = None
        self._recipe, self._keep = journal.config.training, keep
        self._kept = self._scored = len(journal.epochs)
        self._over = False
        self._mark = time.perf_counter()
        self._rounds = (journal.exchange or {}).get("rounds", 0)
        self._parts = 1
        self._reports: list[EpochReport] = []
        self._ended = 0.0  # when the last worker ended this try's epoch before

    def on_gather(self, kind: str, contents: list[Any]) -> Any:
        """The driver's answer to one object of each worker."""
        return getattr(self, f"_on_{kind}")(contents)

    def on_average(self, counts: dict[str, int]) -> None:
        """Close the epoch when its last average is done."""
        self.journal.exchange, self._rounds = counts, counts["rounds"]
        if self._rounds % self._parts == 0:
            self._add_epoch(self._reports)
            if not self.journal.config.data.validation_fraction:
                self.journal.advance()

    def on_retry(self, cluster: Cluster, rounds: int, worker: int | None) -> None:
        """Note that all workers start again."""
        epoch = min(len(self.journal.epochs) + 1, self._recipe.epochs)
        reason = cluster.last_failure()
        self.journal.retries.append(
            Retry(epoch=epoch, rounds=rounds, worker=worker, reason=reason)
        )

    def _next_order(self) -> Order:
        journal, done = self.journal, len(self.journal.epochs)
        epoch, part = divmod(self._rounds, self._parts)
        if part:
            return Order("train", epoch, part, journal.course.factor)
        if journal.course.epochs < done:
            return Order("validate")
        if journal.course.ended(self._recipe):
            self._keep_epoch(done)
            self._take_best()
            return Order("end" if self._over else "score")
        if self._recipe.evaluate_every_epoch and self._scored < done:
            return Order("score")
        self._keep_epoch(done)
        return Order("train", epoch, 0, journal.course.factor)

    def _keep_epoch(self, done: int) -> None:
        if done > self._kept:
            self._kept = done
            self._keep()

    def _take_best(self) -> None:
        if self.best is not None and self.last is None:
            self.last = self.weights.copy()
            self.weights[:] = self.best

    def _spend(self, phase: str) -> float:
        """Seconds since the last mark, added to `phase`."""
        now = time.perf_counter()
        seconds, self._mark = now - self._mark, now
        self.journal.timer.add(phase, seconds)
        return seconds

    def _on_hello(self, environments: list[WorkerEnvironment]) -> None:
        self._spend("startup")
        self.journal.machine["nodes"] = check_workers(environments)

    def _on_loaded(self, contents: list[Loaded]) -> None:
        self._spend("load")
        self._parts = parts_per_epoch(self.journal, len(contents))
        for loaded in contents:
            for name, unreadable in loaded.bad.items():
                names = getattr(self.journal.dataset, name).names
                for row, reason in unreadable:
                    self.journal.skipped[str(names[row])] = reason
        check_skipped(self.journal)
        self.journal.check_resume(loaded=True)
        self.bar.reset(self.journal.train_images() * self._recipe.epochs)
        self.bar.update(self.journal.train_images() * len(self.journal.epochs))

    def _on_ready(self, _: list[None]) -> Order:
        self._spend("warmup")
        return self._next_order()

    def _on_epoch(self, reports: list[EpochReport]) -> None:
        for report in reports:
            if report.images:
                check_loss(report.loss, report.epoch + 1, self.journal.config)
        self._reports = reports

    def _on_trained(self, _: list[None]) -> Order:
        return self._next_order()

    def _add_epoch(self, reports: list[EpochReport]) -> None:
        seconds = self._spend("fit")
        trained = [report for report in reports if report.images]
        weights = [report.images for report in trained]
        loss = np.average([report.loss for report in trained], weights=weights)
        rate = trained[0].learning_rate
        self.journal.add_epoch(seconds, float(loss), learning_rate=rate)
        last = self.journal.epochs[-1]
        started = min(report.started for report in trained)
        self.journal.note_first_step(time.time() - started)
        if self._ended:
            last.sync_gap_seconds = max(0.0, started - self._ended)
        last.worker_seconds = [report.fit_seconds for report in reports]
        self._ended = max(r.ended for r in trained)
        self.journal.add_workers(reports)
        self.bar.update(sum(weights))

    def _on_validated(self, contents: list[tuple[np.ndarray, np.ndarray]]) -> Order:
        subset, scores = self._collect(self.journal.dataset.validation, contents)
        if self.journal.advance(subset, scores):
            self.best = self.weights.copy()
        self._end_evaluation()
        return self._next_order()

    def _on_scored(self, contents: list[tuple[np.ndarray, np.ndarray]]) -> Order:
        subset, scores = self._collect(self.journal.dataset.test, contents)
        if self.journal.course.ended(self._recipe):
            self._over = True
            self.journal.score(subset, scores)
        else:
            self._scored = len(self.journal.epochs)
            self.journal.epochs[-1].auc_macro = macro_auc(subset.labels, scores)
        self._end_evaluation()
        return self._next_order()

    def _end_evaluation(self) -> None:
        self._spend("evaluate")
        self._ended = time.time()

    def _collect(
        self, subset: Subset, contents: list[tuple[np.ndarray, np.ndarray]]
    ) -> tuple[Subset, np.ndarray]:
        """The readable images of `subset`, and their scores from all workers."""
        scores = np.full(subset.labels.shape, np.nan)
        for rows, part in contents:
            scores[rows] = part
        good = np.array([name not in self.journal.skipped for name in subset.names])
        return subset.take(good), scores[good]
