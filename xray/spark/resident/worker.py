"""Elephas' synchronous training in workers that stay alive for the whole fit.

Stock Elephas starts a Spark job an epoch, and in each rebuilds, compiles and traces the
model. Here one barrier task per worker reads its partitions, traces once and trains
every epoch, exchanging weights with the driver's `WeightServer` after each round.
Importing TensorFlow and tracing run beside the driver's listing, and reading and
decoding here.
"""

import json
import pickle
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from xray.common.background import in_background
from xray.common.errors import UserError
from xray.data.partition import read_partition, reread_partition
from xray.model.cpu_step import quicken
from xray.model.keras_import import import_keras
from xray.model.losses import choose_loss, class_weights, training_targets
from xray.model.network import freeze, make_optimizer, trace, unfreeze
from xray.model.predict import predict
from xray.spark.environment import describe_worker
from xray.spark.resident.client import Link
from xray.spark.resident.epoch import Tally
from xray.spark.resident.messages import (
    Done,
    End,
    Hello,
    Loaded,
    Predicted,
    PredictSet,
    Ready,
    Recut,
    RoundLost,
    Share,
    Stopped,
    Task,
    TrainEpoch,
)
from xray.spark.resident.weight_vector import WeightVector
from xray.training.batches import Feed, training_pipeline
from xray.training.schedule import follow_schedule

if TYPE_CHECKING:
    import keras
    from elephas.spark_model import SparkModel
    from elephas.worker import SparkWorker
    from pyspark import RDD


def make_resident_model(model: "keras.Model", task: Task) -> "SparkModel":
    """An Elephas SparkModel whose `fit` is one barrier stage.

    `fit` takes an RDD with a partition a worker, whose content does not matter: the
    workers ask the server for their shares. The trained weights are in the server;
    `model` stays as it is.
    """
    from elephas.spark_model import SparkModel
    from elephas.worker import SparkWorker

    class ResidentModel(SparkModel):
        def fit(self, rdd: "RDD", **_: Any) -> None:
            self._fit(rdd)  # Elephas' own would print, and cut the partitions anew

        def _fit(self, rdd: "RDD", **_: Any) -> None:
            from pyspark import cloudpickle

            network = json.loads(self._master_network.to_json())
            # Without its optimizer: each worker makes its own of the recipe.
            network.pop("compile_config", None)
            worker = SparkWorker(
                json.dumps(network),
                None,  # the weights come from the server, also after a failure
                {},
                None,
                self.master_loss,
                self.master_metrics,
                self.custom_objects,
            )
            whole = replace(task, network=cloudpickle.dumps(worker))
            # Spark starts a barrier stage again after a failure only if it is no last
            # stage: hence an (empty) shuffle after it.
            stage = rdd.barrier().mapPartitions(partial(run_worker, whole))
            stage.repartition(1).collect()

    return ResidentModel(model)


def run_worker(task: Task, _: Iterator[Any]) -> Iterator[None]:
    """Runs on an executor for the whole fit; yields nothing."""
    from pyspark import BarrierTaskContext

    unpickling = in_background(_unpickle, task.network)
    context = BarrierTaskContext.get()
    number = context.partitionId()
    # Task ids only grow: the smallest tells one try of all workers from the next. Spark
    # looks for the answer once a second.
    attempt = min(map(int, context.allGather(str(context.taskAttemptId()))))
    link = Link(task.server, number, attempt, task.team)
    try:
        ResidentTraining(link, number, task).run(unpickling)
    except Stopped:
        pass
    except RoundLost:
        raise  # Spark starts all workers again
    except UserError as error:
        link.fail(error)
    except Exception as error:  # noqa: BLE001 - the driver is to say what happened
        link.fail(RuntimeError(f"{type(error).__name__}: {error}"))
    finally:
        link.close()
    return iter(())


def _unpickle(network: bytes) -> "SparkWorker":
    import_keras()
    return pickle.loads(network)


class ResidentTraining:
    """One worker's whole fit."""

    def __init__(self, link: Link, number: int, task: Task) -> None:
        self.link, self.number, self.task = link, number, task

    def run(self, unpickling: Future) -> None:
        """Read, trace, and do what the driver orders until it has what it wants."""
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(self._read)
            self._prepare_model(unpickling)
            share, self.sets = reading.result()
        bad = {name: unreadable for name, (_, _, unreadable) in self.sets.items()}
        self.link.gather(Loaded(bad, self.cached))
        self.link.meet()  # before anything is trained
        self._take_weights()
        self.feed, self.parts = self._feed(share), share.parts
        self.pipeline = training_pipeline(self.feed)
        order = self.link.gather(Ready())
        while not isinstance(order, End):
            self._do(order)
            order = self.link.gather(Done())

    def _do(self, order: TrainEpoch | PredictSet | Recut) -> None:
        match order:
            case TrainEpoch():
                self._train(order)
            case Recut():
                self._recut()
            case PredictSet("test"):
                self._take_weights()  # the best or the last ones
                self.link.gather(self._predict("test"))
            case PredictSet(name):
                self.link.gather(self._predict(name))

    def _read(self) -> tuple[Share, dict[str, tuple[Any, ...]]]:
        """The share, and each of its partitions as `read_partition` gives it."""
        self.link.gather(Hello(describe_worker()))
        share = self.link.share()
        names, partitions = zip(*share.partitions.items(), strict=True)
        count = self.task.reader.count_cached
        self.cached = sum(count(partition.etags) for partition in partitions)
        with ThreadPoolExecutor(len(names)) as pool:
            outcomes = pool.map(partial(read_partition, self.task.reader), partitions)
            return share, dict(zip(names, outcomes, strict=True))

    def _recut(self) -> None:
        """Train another share from now on; read those of its images that are new."""
        share, before = self.link.share(), self.sets["train"]
        after = reread_partition(
            self.task.reader, share.partitions["train"], *before[:2]
        )
        self.sets["train"] = after
        self.link.gather(Loaded({"train": after[2]}, 0))
        self.feed, self.parts = self._feed(share), share.parts
        self.pipeline = training_pipeline(self.feed)

    def _feed(self, share: Share) -> Feed:
        train, pixels, _ = self.sets["train"]
        return Feed(
            pixels,
            training_targets(train.labels, share.class_weights),
            self.task.training.batch_size,
            self.task.training.seed,
            self.number,
            share.parts,
        )

    def _prepare_model(self, unpickling: Future) -> None:
        """Build, compile and trace, on blank images: the real ones still arrive."""
        worker = unpickling.result()
        import keras

        # Before Keras meets its name in the JSON.
        choose_loss(self.task.training, self.task.weighted)
        model = keras.models.model_from_json(worker.json, worker.custom_objects)
        quicken(model, self.task.precision)
        freeze(model, self.task.training)
        optimizer = make_optimizer(self.task.training)
        model.compile(optimizer, worker.master_loss, metrics=worker.master_metrics)
        self.model, self.frozen = model, self.task.training.frozen_epochs > 0
        self._trace()
        averaged = self.task.optimizer_state == "averaged"
        self.vector = WeightVector(model, averaged)

    def _trace(self) -> None:
        size, findings = self.task.reader.image_size, self.model.output_shape[-1]
        blank = np.zeros((1, size, size, 1), np.uint8)
        labels = np.zeros((1, findings), np.float32)
        weights = class_weights(self.task.training, self.task.weighted, labels)
        targets = training_targets(labels, weights)
        trace(self.model, training_pipeline(Feed(blank, targets, 1, 0)))
        predict(self.model, blank)
        self.fresh_optimizer = [np.array(v) for v in self.model.optimizer.variables]

    def _train(self, order: TrainEpoch) -> None:
        """Train an epoch, or what is left of it, with its averages."""
        recipe, feed = self.task.training, self.feed
        if self.frozen and order.epoch >= recipe.frozen_epochs:
            unfreeze(self.model, make_optimizer(recipe))
            self.frozen = False
            self._trace()
        feed.epoch, feed.parts, feed.left = order.epoch, self.parts, None
        if order.rest:
            feed.parts = order.rest.parts
            feed.left = np.isin(self.sets["train"][0].rows, order.rest.rows)
        tally = Tally(self.number, order.epoch)
        for part in range(order.part, feed.parts):
            feed.part = part
            rate = follow_schedule(
                self.model, feed, recipe, self.task.workers, order.factor
            )
            images = tally.fit(self.model, self.pipeline, feed)
            if part == feed.parts - 1:
                self.link.gather(tally.report(rate))
            self._average(images)

    def _take_weights(self) -> None:
        self.link.weights(self.vector.values)
        self.vector.restore()

    def _average(self, images: int) -> None:
        self.vector.collect()
        self.link.average(self.vector.values, images)
        self.vector.restore()
        if self.task.optimizer_state == "reset":
            variables = self.model.optimizer.variables
            for variable, value in zip(variables, self.fresh_optimizer, strict=True):
                variable.assign(value)

    def _predict(self, name: str) -> Predicted:
        part, pixels, _ = self.sets[name]
        if not len(pixels):
            return Predicted(part.rows, np.empty((0, self.model.output_shape[-1])))
        return Predicted(part.rows, predict(self.model, pixels))
