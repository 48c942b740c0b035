"""Elephas' synchronous training in workers that stay alive for the whole fit.

Stock Elephas starts a Spark job an epoch, and in each rebuilds, compiles and traces the
model. Here one barrier task per worker reads its shard, traces once and trains every
epoch, exchanging weights with the driver's `WeightServer` after each round. Importing
TensorFlow and tracing run beside the driver's listing, and reading and decoding here.
"""

import pickle
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from xray.environment import describe_worker
from xray.errors import UserError
from xray.feed import Feed, predict, training_pipeline
from xray.link import Link, RoundLost, ServerKey, Stopped
from xray.model import trace
from xray.pixels import PixelFile
from xray.reader import ImageReader
from xray.shards import ShardPart, read_part
from xray.tally import Tally
from xray.weights import WeightVector

if TYPE_CHECKING:
    import keras
    from elephas.spark_model import SparkModel
    from pyspark import RDD


@dataclass(frozen=True)
class Plan:
    """What every worker is told besides the model.

    Attributes:
        reader: how to read images.
        epochs: in all.
        batch_size: of each worker.
        seed: of the order of the images.
        optimizer_state: kept (each worker's own), averaged, or reset after each round.
        score_every_epoch: whether the test set is scored after every epoch.
    """

    reader: ImageReader
    epochs: int
    batch_size: int
    seed: int
    optimizer_state: str
    score_every_epoch: bool


@dataclass(frozen=True)
class Shard:
    """What one worker trains and scores.

    Attributes:
        train: its training images.
        test: its share of the test set.
        parts: averages per epoch, the same for all workers.
    """

    train: ShardPart
    test: ShardPart
    parts: int


@dataclass(frozen=True)
class Loaded:
    """What a worker tells of its shard once it is read.

    Attributes:
        train_images: readable ones.
        bad_train: (row, reason) of the others.
        bad_test: the same of its share of the test set.
    """

    train_images: int
    bad_train: list[tuple[int, str]]
    bad_test: list[tuple[int, str]]


def make_resident_model(
    model: "keras.Model", plan: Plan, server: ServerKey
) -> "SparkModel":
    """An Elephas SparkModel whose `fit` is one barrier stage.

    `fit` takes an RDD with a partition a worker, whose content does not matter: the
    workers ask the server for their shards. The trained weights are in the server;
    `model` stays as it is.
    """
    from elephas.spark_model import SparkModel
    from elephas.worker import SparkWorker

    class ResidentModel(SparkModel):
        def fit(self, rdd: "RDD", **_: Any) -> None:
            self._fit(rdd)  # Elephas' own would print, and cut the partitions anew

        def _fit(self, rdd: "RDD", **_: Any) -> None:
            from keras import optimizers
            from pyspark import cloudpickle

            worker = SparkWorker(
                self._master_network.to_json(),
                None,  # the weights come from the server, also after a failure
                {},
                optimizers.serialize(self.master_optimizer),
                self.master_loss,
                self.master_metrics,
                self.custom_objects,
            )
            # Pickled apart: unpickling imports TensorFlow, and takes seconds.
            run = partial(run_worker, cloudpickle.dumps(worker), plan, server)
            # Spark starts a barrier stage again after a failure only if it is no last
            # stage: hence an (empty) shuffle after it.
            rdd.barrier().mapPartitions(run).repartition(1).collect()

    return ResidentModel(model)


def run_worker(
    worker: bytes, plan: Plan, server: ServerKey, _: Iterator[Any]
) -> Iterator[None]:
    """Runs on an executor for the whole fit; yields nothing.

    Args:
        worker: Elephas' SparkWorker, pickled.
        plan: of all workers.
        server: of this job.
    """
    from pyspark import BarrierTaskContext

    warnings.filterwarnings("ignore", message="Your input ran out of data")
    context = BarrierTaskContext.get()
    number = context.partitionId()
    # Task ids only grow: the smallest tells one try of all workers from the next.
    attempt = min(map(int, context.allGather(str(context.taskAttemptId()))))
    link = Link(server, number, attempt)
    try:
        ResidentTraining(link, number, plan).run(worker)
    except Stopped:
        pass
    except RoundLost:
        raise  # Spark starts all workers again
    except UserError as error:
        link.fail(error)
    except Exception as error:  # noqa: BLE001 - the driver is to say what happened
        link.fail(RuntimeError(f"{type(error).__name__}: {error}"))
    return iter(())


class ResidentTraining:
    """One worker's whole fit."""

    def __init__(self, link: Link, number: int, plan: Plan) -> None:
        self.link, self.number, self.plan = link, number, plan

    def run(self, worker: bytes) -> None:
        """Read, trace, and train until the driver has what it wants."""
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(self._read)
            self._prepare_model(worker)
            shard, train_read, test_read = reading.result()
        loaded = Loaded(len(train_read[0].rows), train_read[2], test_read[2])
        first_round = self.link.gather("loaded", loaded)
        self.link.weights(self.vector.values)
        self.vector.restore()
        feed = Feed(
            train_read[1],
            train_read[0].labels,
            self.plan.batch_size,
            self.plan.seed,
            self.number,
            shard.parts,
        )
        self.link.gather("ready", None)
        self._train(feed, test_read[0].rows, test_read[1], first_round)

    def _read(self) -> tuple[Any, ...]:
        """The shard, and its training and test images as `read_part` gives them."""
        self.link.gather("hello", describe_worker())
        shard = self.link.ask()
        with ThreadPoolExecutor(2) as pool:
            parts = (shard.train, shard.test)
            return shard, *pool.map(partial(read_part, self.plan.reader), parts)

    def _prepare_model(self, pickled: bytes) -> None:
        """Build, compile and trace, on blank images: the real ones still arrive."""
        import keras

        worker, size = pickle.loads(pickled), self.plan.reader.image_size
        model = keras.models.model_from_json(worker.json, worker.custom_objects)
        optimizer = keras.optimizers.deserialize(worker.master_optimizer)
        model.compile(optimizer, worker.master_loss, metrics=worker.master_metrics)
        blank = np.zeros((1, size, size, 1), np.uint8)
        labels = np.zeros((1, model.output_shape[-1]), np.float32)
        trace(model, training_pipeline(Feed(blank, labels, 1, 0)))
        predict(model, blank)
        averaged = self.plan.optimizer_state == "averaged"
        self.model, self.vector = model, WeightVector(model, averaged)
        self.fresh_optimizer = [np.array(v) for v in model.optimizer.variables]

    def _train(
        self,
        feed: Feed,
        test_rows: np.ndarray,
        test: np.ndarray | PixelFile,
        first_round: int,
    ) -> None:
        plan, pipeline = self.plan, training_pipeline(feed)
        for number in range(first_round, plan.epochs * feed.parts):
            feed.epoch, feed.part = divmod(number, feed.parts)
            if feed.part == 0 or number == first_round:
                tally = Tally(self.number, feed.epoch)
            images = tally.fit(self.model, pipeline, feed)
            last_part = feed.part == feed.parts - 1
            if last_part:
                self.link.gather("epoch", tally.report())
            self._average(images)
            last_epoch = feed.epoch == plan.epochs - 1
            if last_part and plan.score_every_epoch and not last_epoch:
                self.link.gather("scores", (test_rows, self._predict(test)))
        self.link.gather("scores", (test_rows, self._predict(test)))

    def _average(self, images: int) -> None:
        self.vector.collect()
        self.link.average(self.vector.values, images)
        self.vector.restore()
        if self.plan.optimizer_state == "reset":
            variables = self.model.optimizer.variables
            for variable, value in zip(variables, self.fresh_optimizer, strict=True):
                variable.assign(value)

    def _predict(self, images: np.ndarray | PixelFile) -> np.ndarray:
        if not len(images):
            return np.empty((0, self.model.output_shape[-1]))
        return predict(self.model, images)
