"""Elephas' SparkModel and AsynchronousSparkModel, seeded, measured and made right."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from xray.common.progress import progress_bar, watch
from xray.records.machine import peak_memory_bytes
from xray.spark.stock.parameter_server import choose_address, make_client, make_server

if TYPE_CHECKING:
    import keras
    from elephas.spark_model import AsynchronousSparkModel, SparkModel
    from elephas.worker import AsynchronousSparkWorker
    from pyspark import RDD


@dataclass(frozen=True)
class WorkerReport:
    """What one worker did in one Spark task.

    Attributes:
        worker: its partition.
        images: in its partition.
        fit_seconds: in Elephas' train, model building included.
        cpu_seconds: of its process meanwhile.
        peak_memory_bytes: largest resident set of its process so far.
        losses: per epoch, where Elephas trains by epoch.
        update_times: when it updated the parameter server, seconds since 1970.
    """

    worker: int
    images: int
    fit_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    losses: list[float] = field(default_factory=list)
    update_times: list[float] = field(default_factory=list)


@dataclass
class MeasuredWorker:
    """Runs one of Elephas' workers on an executor, seeded and measured.

    Args:
        worker: a SparkWorker or AsynchronousSparkWorker.
        seed: of this round; the partition's number joins it.
    """

    worker: Any
    seed: tuple[int, ...]

    def train(self, rows: Iterator[tuple]) -> Iterator[tuple[list, WorkerReport]]:
        """Elephas' outcome for this partition, [] for a worker that sends none."""
        import keras
        from pyspark import TaskContext

        partition = TaskContext.get().partitionId()
        state = np.random.SeedSequence([*self.seed, partition]).generate_state(1)
        keras.utils.set_random_seed(int(state[0]))
        losses: list[float] = []
        self.worker.train_config["callbacks"] = [
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda _, logs: losses.append(float(logs["loss"]))
            )
        ]
        wall, cpu = time.perf_counter(), time.process_time()
        rows = list(rows)
        outcomes = list(self.worker.train(iter(rows)))
        client = getattr(self.worker, "client", None)
        yield (
            outcomes[0] if outcomes else [],
            WorkerReport(
                worker=partition,
                images=len(rows),
                fit_seconds=time.perf_counter() - wall,
                cpu_seconds=time.process_time() - cpu,
                peak_memory_bytes=peak_memory_bytes(),
                losses=losses,
                update_times=client.update_times if client else [],
            ),
        )


def make_synchronous_model(model: "keras.Model", seed: int) -> "SparkModel":
    """Elephas' synchronous model: one Spark job an epoch, then a plain average.

    `fit` may be called again to go on; `epoch` counts the epochs of all calls and
    `reports` holds what the workers reported of the last one.

    Args:
        model: compiled; it holds the averaged weights after every epoch.
        seed: of the workers' shuffling and dropout.
    """
    from elephas.spark_model import SparkModel
    from elephas.utils import average_and_subtract
    from elephas.worker import SparkWorker

    class SynchronousModel(SparkModel):
        epoch = 0
        reports: Sequence[WorkerReport] = ()

        def fit(self, rdd: "RDD", **train_config: Any) -> None:
            # Elephas' own would print, and cut our equal partitions anew.
            self._fit(rdd, **train_config)

        def _fit(self, rdd: "RDD", epochs: int, **train_config: Any) -> None:
            for _ in range(epochs):
                self.reports = self._fit_epoch(rdd, train_config)
                self.epoch += 1

        def _fit_epoch(
            self, rdd: "RDD", train_config: dict[str, Any]
        ) -> list[WorkerReport]:
            before = self._master_network.get_weights()
            shared = rdd.context.broadcast(before)
            worker = SparkWorker(
                self._master_network.to_json(),
                shared,
                {**train_config, "epochs": 1},
                _serialized_optimizer(self),
                self.master_loss,
                self.master_metrics,
                self.custom_objects,
            )
            measured = MeasuredWorker(worker, (seed, self.epoch))
            try:
                outcomes = rdd.mapPartitions(measured.train).collect()
            finally:
                shared.destroy()
            deltas = [outcome[0] for outcome, _ in outcomes]
            self._master_network.set_weights(average_and_subtract(before, deltas))
            return [report for _, report in outcomes]

    return SynchronousModel(model)


def make_asynchronous_model(
    model: "keras.Model",
    seed: int,
    mode: str,
    frequency: str,
    host: str,
    workers: int,
    images: int,
) -> "AsynchronousSparkModel":
    """Elephas' asynchronous or hogwild model on a parameter server of its own.

    After `fit`, `reports` holds what the workers report.

    Args:
        model: compiled; it holds the server's weights after `fit`.
        seed: of the workers' shuffling and dropout.
        mode: asynchronous or hogwild.
        frequency: epoch or batch.
        host: this machine's address as the executors see it.
        workers: how many.
        images: training images, for progress.
    """
    address = choose_address(host)
    statistics = frozenset(
        index for index, weight in enumerate(model.weights) if not weight.trainable
    )
    spark_model = _parameter_server_model()(
        model, mode=mode, frequency=frequency, port=address.port
    )
    spark_model.seed, spark_model.workers, spark_model.images = seed, workers, images
    spark_model.parameter_server = make_server(
        spark_model.serialized_model, address, mode, statistics, workers
    )
    spark_model.client = make_client(address, statistics)
    return spark_model


def _parameter_server_model() -> type["AsynchronousSparkModel"]:
    from elephas.spark_model import AsynchronousSparkModel

    class ParameterServerModel(AsynchronousSparkModel):
        seed = workers = images = 0
        reports: Sequence[WorkerReport] = ()

        def fit(self, rdd: "RDD", **train_config: Any) -> None:
            self._fit(rdd, **train_config)  # as in the synchronous model

        def _fit(self, rdd: "RDD", **train_config: Any) -> None:
            worker = _asynchronous_worker(self, rdd, train_config)
            measured = MeasuredWorker(worker, (self.seed,))
            updates = _updates(self.images, self.workers, train_config, self.frequency)
            trained = self.images * train_config["epochs"]
            with (
                self.run_parameter_server() as counter,
                _watch(counter, updates, trained),
            ):
                outcomes = rdd.mapPartitions(measured.train).collect()
                self._master_network.set_weights(self.client.get_parameters())
            self.reports = [report for _, report in outcomes]

        @contextmanager
        def run_parameter_server(self) -> Iterator[Any]:
            try:
                self.parameter_server.start()
                yield self.parameter_server.updates
            finally:
                self.parameter_server.stop()

    return ParameterServerModel


def _asynchronous_worker(
    spark_model: "AsynchronousSparkModel", rdd: "RDD", train_config: dict[str, Any]
) -> "AsynchronousSparkWorker":
    from elephas.worker import AsynchronousSparkWorker

    network = spark_model.master_network
    return AsynchronousSparkWorker(
        network.to_json(),
        rdd.context.broadcast(network.get_weights()),
        spark_model.client,
        train_config,
        spark_model.frequency,
        _serialized_optimizer(spark_model),
        spark_model.master_loss,
        spark_model.master_metrics,
        spark_model.custom_objects,
    )


def _serialized_optimizer(model: "SparkModel") -> dict[str, Any]:
    from keras import optimizers

    return optimizers.serialize(model.master_optimizer)


def _updates(images: int, workers: int, config: dict[str, Any], frequency: str) -> int:
    """Updates that the server receives in the whole fit, to within a batch a worker."""
    each_epoch = workers
    if frequency == "batch":
        each_epoch *= -(-(images // workers) // config["batch_size"])
    return each_epoch * config["epochs"]


@contextmanager
def _watch(counter: Any, updates: int, images: int) -> Iterator[None]:
    """Show the server's updates as images trained while the block runs."""

    def trained() -> int:
        return min(images, counter.value * images // updates)

    with progress_bar(images, "fit") as bar, watch(trained, bar.update):
        yield
