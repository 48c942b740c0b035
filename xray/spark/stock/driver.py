"""The driver's side of training with Elephas as it comes, all modes."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from xray.common.progress import progress_bar
from xray.data.partition import check_shards
from xray.data.reader import ImageReader
from xray.records.metrics import macro_auc
from xray.spark.cluster import Cluster
from xray.spark.environment import import_on_workers
from xray.spark.stock.elephas_models import (
    WorkerReport,
    make_asynchronous_model,
    make_synchronous_model,
)
from xray.spark.stock.rows import load_shards, pixels_and_labels
from xray.spark.stock.test_set import TestSet
from xray.storage.credentials import S3Access
from xray.training.checks import check_loss, check_skipped
from xray.training.journal import Journal

if TYPE_CHECKING:
    import keras
    from pyspark import RDD


def train_stock(
    journal: Journal,
    cluster: Cluster,
    model: "keras.Model",
    access: S3Access,
    find_dataset: Callable[[], None],
) -> None:
    """Fill the journal with a whole fit and `model` with its weights.

    Args:
        journal: of the run.
        cluster: to train on.
        model: compiled.
        access: to the images.
        find_dataset: fills in the journal's data set, or raises.

    Raises:
        UserError: the images or the settings cannot be used, or training diverged.
    """
    timer = journal.timer
    with timer.phase("warmup"):
        journal.machine["nodes"] = import_on_workers(cluster)
    with timer.phase("load"):
        find_dataset()
        rows, test_set = _load(journal, cluster, access)
    if journal.mode == "synchronous":
        _fit_synchronous(journal, model, rows, test_set)
    else:
        _fit_asynchronous(journal, cluster, model, rows)
    with timer.phase("evaluate"):
        scores = test_set.predict(model)
        journal.score(test_set.subset, scores)
    journal.keep_models(model)


def _load(
    journal: Journal, cluster: Cluster, access: S3Access
) -> tuple["RDD", TestSet]:
    """Training rows as Elephas wants them, and the test set, both on the executors."""
    config, dataset = journal.config, journal.dataset
    reader, seed = ImageReader.of(config.data, access), config.training.seed
    train_rows, bad = load_shards(cluster, dataset.train, reader, seed)
    test_rows, bad_test = load_shards(cluster, dataset.test, reader, seed)
    journal.skipped = {**bad, **bad_test}
    check_skipped(journal)
    journal.check_resume(loaded=True)
    sizes = train_rows.mapPartitions(lambda rows: [sum(1 for _ in rows)]).collect()
    batch_size = config.training.batch_size
    check_shards(min(sizes) * len(sizes), cluster.workers, batch_size)
    good = np.array([name not in bad_test for name in dataset.test.names])
    return train_rows.map(pixels_and_labels), TestSet(dataset.test, good, test_rows)


def _fit_synchronous(
    journal: Journal, model: "keras.Model", rows: "RDD", test_set: TestSet
) -> None:
    training = journal.config.training
    if arrays := journal.take_up([weight.shape for weight in model.weights]):
        model.set_weights(arrays)
    spark_model = make_synchronous_model(model, training.seed)
    spark_model.epoch = len(journal.epochs)
    with progress_bar(journal.train_images() * training.epochs, "fit") as bar:
        for epoch in range(len(journal.epochs), training.epochs):
            start = time.perf_counter()
            with journal.timer.phase("fit"):
                spark_model.fit(
                    rows, epochs=1, batch_size=training.batch_size, verbose=0
                )
                reports = spark_model.reports
                seconds = time.perf_counter() - start
                journal.add_epoch(seconds, _mean_loss(reports, -1))
            journal.add_workers(reports)
            check_loss(journal.epochs[-1].loss, epoch + 1, journal.config)
            bar.update(journal.train_images())
            if training.evaluate_every_epoch and epoch < training.epochs - 1:
                with journal.timer.phase("evaluate"):
                    auc = macro_auc(test_set.subset.labels, test_set.predict(model))
                    journal.epochs[-1].auc_macro = auc
            journal.save(model.get_weights())


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
    journal.add_workers(spark_model.reports)
    _add_asynchronous_epochs(journal, spark_model.reports, started, before)
    last = journal.epochs[-1]
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
        journal.add_epoch(
            max(end - previous, 1e-6),
            _mean_loss(reports, epoch),
            before + end - started,
        )
        previous = end
