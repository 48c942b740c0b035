"""The driver's side of resident training: shards, weight server and barrier job."""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from xray.common.background import in_background
from xray.common.errors import UserError
from xray.common.progress import progress_bar
from xray.data.partition import ShardPart, cut_shards
from xray.data.reader import ImageReader
from xray.model.losses import balanced_weights
from xray.spark.cluster import Cluster
from xray.spark.resident.coordinator import RoundListener, parts_per_epoch
from xray.spark.resident.messages import Plan, Shard
from xray.spark.resident.server import WeightServer
from xray.spark.resident.weight_vector import WeightVector
from xray.spark.resident.worker import make_resident_model
from xray.storage.credentials import S3Access
from xray.training.checkpoint import BackgroundSaver
from xray.training.journal import Journal

if TYPE_CHECKING:
    import keras
    from elephas.spark_model import SparkModel


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
    runner = journal.config.runner
    vector = WeightVector(model, runner.optimizer_state == "averaged")
    kept = 2 if journal.config.data.validation_fraction else 1
    arrays = journal.take_up([vector.values.shape] * kept)
    for array in arrays[:1]:
        vector.values[:] = array
    shards = in_background(_cut, journal, cluster.workers, find_dataset)
    with (
        progress_bar(None, "fit") as bar,
        BackgroundSaver(journal.checkpoint_file) as saver,
    ):
        listener = _listen(journal, vector.values, bar, saver)
        listener.best = arrays[1] if len(arrays) > 1 else None
        server = _serve(cluster, listener, shards)
        plan = Plan(
            ImageReader.of(journal.config.data, access),
            journal.config.training,
            runner.optimizer_state,
            cluster.workers,
        )
        try:
            resident = make_resident_model(model, plan, server.address)
            _fit(cluster, resident, server, shards)
        finally:
            server.close()
    journal.exchange = server.counts()
    vector.restore()
    if not journal.scores:
        raise UserError("The test set was not scored. See the executors' logs.")
    last = None if listener.last is None else vector.weights(listener.last)
    journal.keep_models(model, last)


def _listen(
    journal: Journal, weights: np.ndarray, bar: Any, saver: BackgroundSaver
) -> RoundListener:
    """A listener that keeps a checkpoint of every epoch, where one is wanted."""

    def keep() -> None:
        journal.log()
        if journal.checkpoint_file:
            best = [] if listener.best is None else [listener.best]
            saver.save(journal.checkpoint([weights.copy(), *best]))

    listener = RoundListener(journal, weights, bar, keep)
    return listener


def _serve(cluster: Cluster, listener: RoundListener, shards: Future) -> WeightServer:
    """The server that averages into the listener's weights and tells it of all."""
    return WeightServer(
        cluster.driver_address(),
        cluster.workers,
        listener.weights,
        listener.on_gather,
        lambda worker: shards.result()[worker],
        listener.on_average,
        partial(listener.on_retry, cluster),
        earlier=listener.journal.exchange,
    )


def _cut(
    journal: Journal, workers: int, find_dataset: Callable[[], None]
) -> list[Shard]:
    """Each worker's shard, once the data set is known."""
    find_dataset()
    dataset, parts = journal.dataset, parts_per_epoch(journal, workers)
    validation: list[ShardPart | None] = [None] * workers
    if dataset.validation:
        validation = cut_shards(dataset.validation, workers)
    balanced = journal.config.training.class_weights == "balanced"
    weights = balanced_weights(dataset.train.labels) if balanced else None
    return [
        Shard(train, test, parts, part, weights)
        for train, test, part in zip(
            cut_shards(dataset.train, workers),
            cut_shards(dataset.test, workers),
            validation,
            strict=True,
        )
    ]


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
