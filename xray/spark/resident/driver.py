"""The driver's side of resident training: shares, weight server, loop, barrier job."""

import logging
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from xray.common.background import in_background
from xray.common.progress import progress_bar
from xray.data.dataset import Dataset
from xray.data.reader import ImageReader
from xray.spark.cluster import Cluster
from xray.spark.resident.ahead import await_imports
from xray.spark.resident.coordinator import Abandoned, Coordinator
from xray.spark.resident.messages import Share, Task
from xray.spark.resident.outer import OuterMomentum
from xray.spark.resident.server import WeightServer
from xray.spark.resident.team import cut_shares
from xray.spark.resident.watch import watched
from xray.spark.resident.weight_vector import WeightVector
from xray.spark.resident.worker import make_resident_model
from xray.storage.credentials import S3Access
from xray.training.checkpoint import BackgroundSaver
from xray.training.checks import take_dataset
from xray.training.journal import Journal
from xray.training.loop import run_epochs
from xray.training.resuming import Saver, take_up

if TYPE_CHECKING:
    import keras


logger = logging.getLogger(__name__)


def train_resident(
    journal: Journal,
    cluster: Cluster,
    model: "keras.Model",
    access: S3Access,
    dataset: "Future[Dataset]",
    imports: Future | None = None,
) -> None:
    """Fill the journal with a whole resident fit, and `model` with its weights.

    Args:
        journal: of the run.
        cluster: to train on.
        model: compiled.
        access: to the images.
        dataset: what is found while the workers start.
        imports: of `import_ahead`, if the workers were told to.

    Raises:
        UserError: the images or the settings cannot be used, or training diverged.
        RuntimeError: a worker failed.
    """
    averaged = journal.config.runner.optimizer_state == "averaged"
    vector = WeightVector(model, averaged)
    outer, best = _take_up(journal, vector)
    workers = cluster.team()
    shares = in_background(_cut, journal, workers, dataset)
    if imports:
        with journal.timer.phase("startup"):
            await_imports(imports, shares, cluster.wait_seconds)
    with (
        progress_bar(None, "fit") as bar,
        BackgroundSaver(journal.tries.file) as saver,
    ):
        asked = cluster.last_failure, cluster.room
        coordinator = Coordinator(journal, vector.values, shares, bar, *asked, outer)
        server = _serve(journal, cluster, workers, coordinator)
        task = _task(journal, workers, access, server)
        loop = in_background(
            run_loop, journal, coordinator, best, saver if journal.tries.file else None
        )
        _end_without(shares, server, cluster)
        try:
            _train(cluster, model, task, server, coordinator)
        finally:
            coordinator.abandon()
            server.close()
    journal.exchange = server.counts()
    last = loop.result()
    vector.restore()
    journal.keep_models(model, vector.weights(last[0]) if last else None)


def _take_up(
    journal: Journal, vector: WeightVector
) -> tuple[OuterMomentum | None, list[np.ndarray]]:
    """Go on from a checkpoint, if there is one.

    Returns:
        The momentum of the averages, if they are to have one, and the best epoch's
        vector, if there is one.
    """
    momentum = journal.config.runner.outer_momentum
    chosen = bool(journal.config.data.validation_fraction)
    kept = 1 + bool(momentum) + chosen
    arrays = take_up(journal, [vector.values.shape] * kept)
    for array in arrays[:1]:
        vector.values[:] = array
    best = arrays[kept - 1 :] if chosen else []
    if not momentum:
        return None, best
    velocity = arrays[1] if arrays else None
    return OuterMomentum(vector.values, vector.learned(), momentum, velocity), best


def _cut(journal: Journal, workers: int, dataset: "Future[Dataset]") -> list[Share]:
    """Each worker's share, once the data set is known."""
    take_dataset(journal, dataset, workers)
    return cut_shares(journal, workers)


def _serve(
    journal: Journal, cluster: Cluster, workers: int, coordinator: Coordinator
) -> WeightServer:
    address, values = cluster.driver_address(), coordinator.values
    return WeightServer(address, workers, values, coordinator, journal.exchange)


def _task(
    journal: Journal, workers: int, access: S3Access, server: WeightServer
) -> Task:
    config = journal.config
    return Task(
        server.address,
        ImageReader.of(config.data, access),
        config.training,
        config.runner.optimizer_state,
        workers,
        precision=config.runner.precision,
        weighted=config.weighs_labels,
    )


def run_loop(
    journal: Journal,
    coordinator: Coordinator,
    best: Sequence[np.ndarray],
    saver: Saver | None,
) -> Any:
    """Run the epochs, and let the workers go however that ends."""
    try:
        last = run_epochs(journal, coordinator, best, saver)
    except Abandoned:
        raise
    except Exception as error:
        coordinator.end(error)
        raise
    coordinator.end()
    return last


def _train(
    cluster: Cluster,
    model: "keras.Model",
    task: Task,
    server: WeightServer,
    coordinator: Coordinator,
) -> None:
    """Run a barrier job, and one more whenever the number of workers changes."""
    while True:
        team = replace(cluster, workers=task.workers)
        reason = _fit(team, model, task, server)
        if coordinator.ended or cluster.min_workers is None:
            return
        workers = cluster.team()
        logger.warning(
            "Going on in epoch %s with %s of %s workers (runner.min_workers).",
            len(coordinator.journal.log.epochs) + 1,
            workers,
            cluster.workers,
        )
        server.regroup(workers)
        coordinator.regroup(workers, reason)
        task = replace(task, workers=workers, team=server.team)


def _fit(
    cluster: Cluster, model: "keras.Model", task: Task, server: WeightServer
) -> str | None:
    """Run one barrier job; why workers were lost, where others are to go on."""
    workers, watch = cluster.workers, None
    try:
        if not server.error:
            rdd = cluster.context.parallelize(range(workers), workers)
            with watched(server, cluster) as watch:
                make_resident_model(model, task).fit(rdd)
    except Exception as error:  # noqa: BLE001 - the server knows the cause better
        if server.error or not (watch and (watch.regroup or watch.over)):
            raise (server.error or error) from None
    if server.error:
        raise server.error
    return watch and watch.reason


def _end_without(shares: Future, server: WeightServer, cluster: Cluster) -> None:
    """Have the job end before its workers are ready when there is nothing to do."""

    def cancel(shares: Future) -> None:
        if shares.exception():
            server.fail(shares.exception())
            cluster.cancel_jobs()

    shares.add_done_callback(cancel)
