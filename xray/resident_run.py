"""The driver's side of resident training: phases, epochs and scores as they come."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from xray.background import in_background
from xray.checkpoint import BackgroundSaver
from xray.cluster import Cluster
from xray.credentials import S3Access
from xray.environment import WorkerEnvironment, check_workers
from xray.errors import UserError
from xray.exchange import WeightServer
from xray.journal import Journal
from xray.metrics import macro_auc
from xray.progress import progress_bar
from xray.reader import ImageReader
from xray.record import Retry
from xray.resident import Loaded, Plan, Shard, make_resident_model
from xray.shards import cut_shards
from xray.tally import EpochReport
from xray.train import check_loss, check_skipped, score_test_set
from xray.weights import WeightVector

if TYPE_CHECKING:
    import keras
    from elephas.spark_model import SparkModel


def parts_per_epoch(journal: Journal, workers: int) -> int:
    """Averages in an epoch: one, or one for every `runner.sync_every` steps."""
    every = journal.config.runner.sync_every
    if every == "epoch":
        return 1
    largest_shard = -(-len(journal.dataset.train) // workers)
    steps = -(-largest_shard // journal.config.training.batch_size)
    return -(-steps // every)


def train_resident(
    journal: Journal,
    cluster: Cluster,
    model: "keras.Model",
    access: S3Access,
    find_dataset: Callable[[], None],
) -> None:
    """Fill the journal with a whole resident fit, and `model` with its weights.

    Args:
        journal: of the run.
        cluster: to train on.
        model: compiled.
        access: to the images.
        find_dataset: fills in the journal's data set, or raises; the workers start
            meanwhile.

    Raises:
        UserError: the images or the settings cannot be used, or training diverged.
        RuntimeError: a worker failed.
    """
    plan = _plan(journal, access)
    vector = WeightVector(model, plan.optimizer_state == "averaged")
    for array in journal.take_up([vector.values.shape]):
        vector.values[:] = array
    shards = in_background(_cut, journal, cluster.workers, find_dataset)
    with (
        progress_bar(None, "fit") as bar,
        BackgroundSaver(journal.checkpoint_file) as saver,
    ):

        def keep() -> None:
            journal.log()
            if journal.checkpoint_file:
                saver.save(journal.checkpoint([vector.values.copy()]))

        listener = RoundListener(journal, plan, bar, keep)
        server = WeightServer(
            cluster.driver_address(),
            cluster.workers,
            vector.values,
            listener.on_gather,
            lambda worker: shards.result()[worker],
            listener.on_average,
            partial(listener.on_retry, cluster),
            earlier=journal.exchange,
        )
        try:
            _fit(
                cluster,
                make_resident_model(model, plan, server.address),
                server,
                shards,
            )
        finally:
            server.close()
    journal.exchange = server.counts()
    vector.restore()
    _score(journal, listener.scores)


def _plan(journal: Journal, access: S3Access) -> Plan:
    data, training = journal.config.data, journal.config.training
    return Plan(
        reader=ImageReader.of(data, access),
        epochs=training.epochs,
        batch_size=training.batch_size,
        seed=training.seed,
        optimizer_state=journal.config.runner.optimizer_state,
        score_every_epoch=training.evaluate_every_epoch,
    )


def _cut(
    journal: Journal, workers: int, find_dataset: Callable[[], None]
) -> list[Shard]:
    """Each worker's shard, once the data set is known."""
    find_dataset()
    parts = parts_per_epoch(journal, workers)
    pairs = zip(
        cut_shards(journal.dataset.train, workers),
        cut_shards(journal.dataset.test, workers),
        strict=True,
    )
    return [Shard(train, test, parts) for train, test in pairs]


def _fit(
    cluster: Cluster, model: "SparkModel", server: WeightServer, shards: Future
) -> None:
    """Run the barrier job; without data it ends before its workers are ready."""

    def cancel(shards: Future) -> None:
        if shards.exception():
            server.fail(shards.exception())
            cluster.context.cancelAllJobs()

    shards.add_done_callback(cancel)
    try:
        if not server.error:
            model.fit(
                cluster.context.parallelize(range(cluster.workers), cluster.workers)
            )
    except Exception as error:  # noqa: BLE001 - the server knows the cause better
        raise (server.error or error) from None
    if server.error:
        raise server.error


class RoundListener:
    """Turns what the workers send into phases, epochs and scores of the journal.

    Called by the server's threads, one at a time, while the driver waits for Spark.

    Args:
        journal: to fill in.
        plan: of the workers.
        bar: of progress, in images.
        keep: called when an epoch is finished, while the workers wait.

    Attributes:
        scores: float (N, 15) of the whole test set, NaN where an image is unreadable.
    """

    def __init__(
        self,
        journal: Journal,
        plan: Plan,
        bar: Any,
        keep: Callable[[], None] = lambda: None,
    ) -> None:
        self.journal, self.plan, self.bar = journal, plan, bar
        self._keep = keep
        self.scores = np.empty(0)
        self._mark = time.perf_counter()
        self._rounds = (journal.exchange or {}).get("rounds", 0)
        self._parts = 1
        self._reports: list[EpochReport] = []
        self._ended = 0.0  # when the last worker ended this try's epoch before

    def on_gather(self, kind: str, contents: list[Any]) -> Any:
        """The driver's answer to one object of each worker."""
        return getattr(self, f"_on_{kind}")(contents)

    def on_average(self, counts: dict[str, int]) -> None:
        """Close the epoch when its last average is done, and keep a checkpoint."""
        self.journal.exchange, self._rounds = counts, counts["rounds"]
        if self._rounds % self._parts == 0:
            self._add_epoch(self._reports)
            if self._last_epoch() or not self.plan.score_every_epoch:
                self._keep()

    def on_retry(self, cluster: Cluster, rounds: int, worker: int | None) -> None:
        """Note that all workers start again."""
        epoch = min(len(self.journal.epochs) + 1, self.plan.epochs)
        reason = cluster.last_failure()
        self.journal.retries.append(
            Retry(epoch=epoch, rounds=rounds, worker=worker, reason=reason)
        )

    def _last_epoch(self) -> bool:
        return len(self.journal.epochs) == self.plan.epochs

    def _spend(self, phase: str) -> float:
        """Seconds since the last mark, added to `phase`."""
        now = time.perf_counter()
        seconds, self._mark = now - self._mark, now
        self.journal.timer.add(phase, seconds)
        return seconds

    def _on_hello(self, environments: list[WorkerEnvironment]) -> None:
        self._spend("startup")
        self.journal.machine["nodes"] = check_workers(environments)

    def _on_loaded(self, contents: list[Loaded]) -> int:
        self._spend("load")
        dataset = self.journal.dataset
        self.scores = np.full(dataset.test.labels.shape, np.nan)
        self._parts = parts_per_epoch(self.journal, len(contents))
        for subset, name in ((dataset.train, "bad_train"), (dataset.test, "bad_test")):
            for loaded in contents:
                for row, reason in getattr(loaded, name):
                    self.journal.skipped[str(subset.names[row])] = reason
        check_skipped(self.journal)
        self.journal.check_resume(loaded=True)
        self.bar.reset(self.journal.train_images() * self.plan.epochs)
        self.bar.update(self.journal.train_images() * len(self.journal.epochs))
        return self._rounds

    def _on_ready(self, _: list[None]) -> None:
        self._spend("warmup")

    def _on_epoch(self, reports: list[EpochReport]) -> None:
        for report in reports:
            if report.images:
                check_loss(report.loss, report.epoch + 1, self.journal.config)
        self._reports = reports

    def _add_epoch(self, reports: list[EpochReport]) -> None:
        seconds = self._spend("fit")
        trained = [report for report in reports if report.images]
        weights = [report.images for report in trained]
        loss = np.average([report.loss for report in trained], weights=weights)
        self.journal.add_epoch(seconds, float(loss))
        last = self.journal.epochs[-1]
        started = min(report.started for report in trained)
        self.journal.note_first_step(time.time() - started)
        if self._ended:
            last.sync_gap_seconds = max(0.0, started - self._ended)
        last.worker_seconds = [report.fit_seconds for report in reports]
        self._ended = max(r.ended for r in trained)
        self.journal.add_workers(reports)
        self.bar.update(sum(weights))

    def _on_scores(self, contents: list[tuple[np.ndarray, np.ndarray]]) -> None:
        for rows, scores in contents:
            self.scores[rows] = scores
        subset, scores = readable(self.journal, self.scores)
        self.journal.epochs[-1].auc_macro = macro_auc(subset.labels, scores)
        self._spend("evaluate")
        self._ended = time.time()
        if not self._last_epoch():
            self._keep()


def readable(journal: Journal, scores: np.ndarray) -> tuple[Any, np.ndarray]:
    """The test images that could be read, and their rows of `scores`."""
    test = journal.dataset.test
    good = np.array([name not in journal.skipped for name in test.names])
    return test.take(good), scores[good]


def _score(journal: Journal, scores: np.ndarray) -> None:
    if not journal.epochs:
        raise UserError("No epoch was finished. See the executors' logs.")
    with journal.timer.phase("evaluate"):
        subset, scores = readable(journal, scores)
        journal.scores = score_test_set(subset, scores, journal.config)
