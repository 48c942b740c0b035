"""The driver's side of training with Elephas as it comes, all modes."""

import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np

from xray.common.progress import progress_bar
from xray.data.dataset import Dataset, Subset
from xray.data.partition import check_partitions
from xray.data.reader import ImageReader
from xray.spark.cluster import Cluster
from xray.spark.environment import import_on_workers
from xray.spark.stock.elephas_models import (
    WorkerReport,
    make_asynchronous_model,
    make_synchronous_model,
)
from xray.spark.stock.rows import load_rows, pixels_and_labels
from xray.spark.stock.test_set import TestSet
from xray.storage.credentials import S3Access
from xray.training.checks import check_loss, check_skipped, take_dataset
from xray.training.epoch_log import TrainedEpoch
from xray.training.journal import Journal
from xray.training.loop import run_epochs
from xray.training.resuming import check_resume, take_up

if TYPE_CHECKING:
    import keras
    from pyspark import RDD


def train_stock(
    journal: Journal,
    cluster: Cluster,
    model: "keras.Model",
    access: S3Access,
    dataset: "Future[Dataset]",
) -> None:
    """Fill the journal with a whole fit and `model` with its weights.

    Args:
        journal: of the run.
        cluster: to train on.
        model: compiled.
        access: to the images.
        dataset: what is found while the cluster starts.

    Raises:
        UserError: the images or the settings cannot be used, or training diverged.
    """
    timer = journal.timer
    with timer.phase("warmup"):
        journal.machine |= import_on_workers(cluster)
    with timer.phase("load"):
        take_dataset(journal, dataset, cluster.workers)
        rows, test_set = _load(journal, cluster, access)
    journal.tell_loaded()
    if journal.mode == "synchronous":
        images = journal.train_images() * journal.config.training.epochs
        with progress_bar(images, "fit") as bar:
            engine = StockEngine(journal, model, rows, test_set, bar)
            run_epochs(journal, engine, (), journal.tries.file)
    else:
        _fit_asynchronous(journal, cluster, model, rows)
        with timer.phase("evaluate"):
            journal.score(test_set.subset, test_set.predict(model))
    journal.keep_models(model)


class StockEngine:
    """Trains by a Spark job an epoch, as Elephas' synchronous mode does.

    Args:
        journal: of the run.
        model: compiled.
        rows: to train, as Elephas takes them.
        test_set: to predict.
        bar: of progress, in images.
    """

    def __init__(
        self,
        journal: Journal,
        model: "keras.Model",
        rows: "RDD",
        test_set: TestSet,
        bar: Any,
    ) -> None:
        self.journal, self.model, self.rows = journal, model, rows
        self.test_set, self.bar = test_set, bar
        if arrays := take_up(journal, [weight.shape for weight in model.weights]):
            model.set_weights(arrays)
        recipe = journal.config.training
        self.options = {"epochs": 1, "batch_size": recipe.batch_size, "verbose": 0}
        self.spark_model = make_synchronous_model(model, recipe.seed)

    def train_epoch(self, epoch: int, factor: float) -> TrainedEpoch:
        """Train an epoch; stock Elephas knows no `factor` of the learning rate."""
        start = time.perf_counter()
        self.spark_model.epoch = epoch
        with self.journal.timer.phase("fit"):
            self.spark_model.fit(self.rows, **self.options)
            reports = self.spark_model.reports
        self.journal.log.add_workers(reports)
        self.bar.update(self.journal.train_images())
        return TrainedEpoch(time.perf_counter() - start, _mean_loss(reports, -1))

    def predict(self, subset: str) -> tuple[Subset, np.ndarray]:
        """The readable test images, and (N, 15) probabilities."""
        with self.journal.timer.phase("evaluate"):
            return self.test_set.subset, self.test_set.predict(self.model)

    def weights(self) -> list[np.ndarray]:
        """As Keras gives them."""
        return self.model.get_weights()

    state = weights

    def set_weights(self, weights: list[np.ndarray]) -> None:
        """Have the model predict with `weights`."""
        self.model.set_weights(weights)


def _load(
    journal: Journal, cluster: Cluster, access: S3Access
) -> tuple["RDD", TestSet]:
    """Training rows as Elephas wants them, and the test set, both on the executors."""
    config, dataset = journal.config, journal.dataset
    reader, seed = ImageReader.of(config.data, access), config.training.seed
    train_rows, bad = load_rows(cluster, dataset.train, reader, seed)
    test_rows, bad_test = load_rows(cluster, dataset.test, reader, seed)
    journal.skipped = {**bad, **bad_test}
    check_skipped(journal)
    check_resume(journal, loaded=True)
    sizes = train_rows.mapPartitions(lambda rows: [sum(1 for _ in rows)]).collect()
    batch_size = config.training.batch_size
    check_partitions(min(sizes) * len(sizes), cluster.workers, batch_size)
    good = np.array([name not in bad_test for name in dataset.test.names])
    return train_rows.map(pixels_and_labels), TestSet(dataset.test, good, test_rows)


def _fit_asynchronous(
    journal: Journal, cluster: Cluster, model: "keras.Model", rows: "RDD"
) -> None:
    training = journal.config.training
    spark_model = make_asynchronous_model(
        model,
        training.seed,
        journal.mode,
        journal.frequency,
        cluster.driver_address(),
        cluster.workers,
        journal.train_images(),
    )
    started, before = time.time(), journal.timer.elapsed_seconds()
    with journal.timer.phase("fit"):
        spark_model.fit(
            rows, epochs=training.epochs, batch_size=training.batch_size, verbose=0
        )
    journal.log.add_workers(spark_model.reports)
    _add_asynchronous_epochs(journal, spark_model.reports, started, before)
    last = journal.log.epochs[-1]
    check_loss(last.loss, last.epoch, journal.config)


def _mean_loss(reports: Sequence[WorkerReport], epoch: int) -> float | None:
    """Mean loss over the images of one epoch, where the workers report it."""
    if not all(report.losses for report in reports):
        return None
    weights = [report.images for report in reports]
    return float(np.average([r.losses[epoch] for r in reports], weights=weights))


def _add_asynchronous_epochs(
    journal: Journal, reports: Sequence[WorkerReport], started: float, before: float
) -> None:
    """An epoch ends when its slowest worker has sent its last update of it.

    Args:
        journal: to add to.
        reports: of the workers; their clocks must agree with the driver's.
        started: when fit began, seconds since 1970.
        before: seconds from the program's start to then.
    """
    epochs, previous = journal.config.training.epochs, started
    for epoch in range(epochs):
        end = max(
            report.update_times[len(report.update_times) * (epoch + 1) // epochs - 1]
            for report in reports
        )
        seconds, elapsed = max(end - previous, 1e-6), before + end - started
        loss = _mean_loss(reports, epoch)
        journal.add_epoch(TrainedEpoch(seconds, loss, elapsed_seconds=elapsed))
        previous = end
    journal.tell_epoch()  # no epoch is known to have ended before the last
