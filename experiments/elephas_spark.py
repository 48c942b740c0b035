"""Train with Elephas on Spark: local[N], a standalone cluster, or YARN.

Run it with python, or with spark-submit and any of its options:

    spark-submit --num-executors 2 --executor-cores 4 --driver-memory 5G \
        experiments/elephas_spark.py --config my.yaml
"""

import socket
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from xray.cli import main
from xray.cluster import Cluster, import_on_workers, start_cluster
from xray.config import RunConfig
from xray.credentials import S3Access, load_access
from xray.dataset import find_dataset
from xray.elephas_training import (
    WorkerReport,
    make_asynchronous_model,
    make_synchronous_model,
)
from xray.errors import UserError
from xray.journal import Journal
from xray.metrics import macro_auc
from xray.model import build_model, weights_digest
from xray.progress import progress_bar
from xray.record import RunRecord, Worker
from xray.shards import check_shards, load_shards, pixels_and_labels
from xray.spark_predict import TestSet
from xray.storage import Storage
from xray.train import check_loss, check_skipped, score_test_set

if TYPE_CHECKING:
    import keras
    from pyspark import RDD


def run(config: RunConfig, journal: Journal | None = None) -> RunRecord:
    """The record of training with Elephas on the Spark cluster of the configuration.

    Raises:
        UserError: the data, the settings or the cluster cannot be used.
    """
    journal = journal or Journal("elephas", config)
    journal.mode, journal.frequency = config.runner.mode, config.runner.frequency
    journal.workers = config.runner.workers
    with journal.timer.phase("load"):  # all that can be checked before a cluster
        access = load_access(config.data)
        storage = Storage(access, config.data.read_threads)
        journal.dataset = find_dataset(config.data, storage)
        train_images = len(journal.dataset.train)
        check_shards(train_images, journal.workers or 1, config.training.batch_size)
    with journal.timer.phase("warmup"):
        model = build_model(config, storage)
        journal.initial_weights = weights_digest(model.get_weights())
    with journal.timer.phase("startup"):
        cluster = start_cluster(config.runner)
    try:
        return _train(journal, cluster, model, access)
    finally:
        cluster.stop()


def _train(
    journal: Journal, cluster: Cluster, model: "keras.Model", access: S3Access
) -> RunRecord:
    timer, config = journal.timer, journal.config
    journal.workers = cluster.workers
    journal.threads_per_worker = cluster.threads_per_worker
    batch_size = config.training.batch_size
    check_shards(len(journal.dataset.train), cluster.workers, batch_size)
    journal.machine["spark_master"] = cluster.context.master
    with timer.phase("warmup"):
        journal.machine["nodes"] = import_on_workers(cluster)
    with timer.phase("load"):
        rows, test_set = _load(journal, cluster, access)
    if journal.mode == "synchronous":
        _fit_synchronous(journal, model, rows, test_set)
    else:
        _fit_asynchronous(journal, cluster, model, rows)
    with timer.phase("evaluate"):
        scores = test_set.predict(model)
        journal.epochs[-1].auc_macro = macro_auc(test_set.subset.labels, scores)
        journal.scores = score_test_set(test_set.subset, scores, config)
    return journal.record()


def _load(
    journal: Journal, cluster: Cluster, access: S3Access
) -> tuple["RDD", TestSet]:
    """Training rows as Elephas wants them, and the test set, both on the executors."""
    config, dataset = journal.config, journal.dataset
    train_rows, bad = load_shards(
        cluster, dataset.train, config.data, access, seed=config.training.seed
    )
    test_rows, bad_test = load_shards(
        cluster, dataset.test, config.data, access, seed=None
    )
    journal.skipped = {**bad, **bad_test}
    check_skipped(journal)
    sizes = train_rows.mapPartitions(lambda rows: [sum(1 for _ in rows)]).collect()
    batch_size = config.training.batch_size
    check_shards(min(sizes) * len(sizes), cluster.workers, batch_size)
    good = np.array([name not in bad_test for name in dataset.test.names])
    return train_rows.map(pixels_and_labels), TestSet(dataset.test, good, test_rows)


def _fit_synchronous(
    journal: Journal, model: "keras.Model", rows: "RDD", test_set: TestSet
) -> None:
    training = journal.config.training
    spark_model = make_synchronous_model(model, training.seed)
    with progress_bar(journal.train_images() * training.epochs, "fit") as bar:
        for epoch in range(training.epochs):
            start = time.perf_counter()
            with journal.timer.phase("fit"):
                spark_model.fit(
                    rows, epochs=1, batch_size=training.batch_size, verbose=0
                )
                reports = spark_model.reports
                seconds = time.perf_counter() - start
                journal.add_epoch(seconds, _mean_loss(reports, -1))
            _add_reports(journal, reports)
            check_loss(journal)
            bar.update(journal.train_images())
            if training.evaluate_every_epoch and epoch < training.epochs - 1:
                with journal.timer.phase("evaluate"):
                    auc = macro_auc(test_set.subset.labels, test_set.predict(model))
                    journal.epochs[-1].auc_macro = auc


def _fit_asynchronous(
    journal: Journal, cluster: Cluster, model: "keras.Model", rows: "RDD"
) -> None:
    training = journal.config.training
    spark_model = make_asynchronous_model(
        model,
        training.seed,
        journal.mode,
        journal.frequency,
        driver_address(cluster),
        cluster.workers,
        journal.train_images(),
    )
    started, before = time.time(), journal.timer.elapsed_seconds()
    with journal.timer.phase("fit"):
        spark_model.fit(
            rows, epochs=training.epochs, batch_size=training.batch_size, verbose=0
        )
    _add_reports(journal, spark_model.reports)
    _add_asynchronous_epochs(journal, spark_model.reports, started, before)
    check_loss(journal)


def driver_address(cluster: Cluster) -> str:
    """This machine's address as the executors reach it: only there do we listen.

    Raises:
        UserError: the driver's name has no address.
    """
    if cluster.context.master.startswith("local["):
        return "127.0.0.1"
    host = cluster.context.getConf().get("spark.driver.host")
    try:
        return socket.gethostbyname(host)
    except OSError as error:
        raise UserError(
            f"The driver's name {host!r} has no address ({error}). Set "
            "spark.driver.host to an address the executors can reach."
        ) from None


def _mean_loss(reports: Sequence[WorkerReport], epoch: int) -> float | None:
    """Mean loss over the images of one epoch, where the workers report it."""
    if not all(report.losses for report in reports):
        return None
    weights = [report.images for report in reports]
    return float(np.average([r.losses[epoch] for r in reports], weights=weights))


def _add_reports(journal: Journal, reports: Sequence[WorkerReport]) -> None:
    """Add one round's seconds to the journal's table of workers."""
    table = {worker.worker: worker for worker in journal.per_worker}
    for report in reports:
        known = table.get(report.worker)
        table[report.worker] = Worker(
            worker=report.worker,
            images=report.images,
            fit_seconds=report.fit_seconds + (known.fit_seconds if known else 0),
            cpu_seconds=report.cpu_seconds + (known.cpu_seconds if known else 0),
            peak_memory_bytes=max(
                report.peak_memory_bytes, known.peak_memory_bytes if known else 0
            ),
        )
    journal.per_worker = [table[worker] for worker in sorted(table)]


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


if __name__ == "__main__":
    sys.exit(main("elephas", run, __doc__))
