"""Elephas' synchronous training in workers that stay alive for the whole fit.

Stock Elephas starts a Spark job an epoch, and in each rebuilds, compiles and traces the
model. Here one barrier task per worker reads its shard, traces once and trains every
epoch, exchanging weights with the driver's `WeightServer` after each round. Importing
TensorFlow and tracing run beside the driver's listing, and reading and decoding here.
"""

import pickle
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from xray.common.background import in_background
from xray.common.errors import UserError
from xray.data.partition import read_part
from xray.model.losses import choose_loss, training_targets
from xray.model.network import find_backbone, make_optimizer, trace, unfreeze
from xray.model.predict import predict
from xray.spark.environment import describe_worker
from xray.spark.resident.client import Link
from xray.spark.resident.epoch import Tally
from xray.spark.resident.messages import (
    Loaded,
    Order,
    Plan,
    RoundLost,
    ServerKey,
    Shard,
    Stopped,
)
from xray.spark.resident.weight_vector import WeightVector
from xray.training.batches import Feed, training_pipeline
from xray.training.schedule import follow_schedule

if TYPE_CHECKING:
    import keras
    from elephas.spark_model import SparkModel
    from pyspark import RDD


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
    unpickling = in_background(pickle.loads, worker)  # it imports TensorFlow: seconds
    context = BarrierTaskContext.get()
    number = context.partitionId()
    # Task ids only grow: the smallest tells one try of all workers from the next. Spark
    # looks for the answer once a second.
    attempt = min(map(int, context.allGather(str(context.taskAttemptId()))))
    link = Link(server, number, attempt)
    try:
        ResidentTraining(link, number, plan).run(unpickling)
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

    def run(self, unpickling: Future) -> None:
        """Read, trace, and do what the driver orders until it has what it wants."""
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(self._read)
            self._prepare_model(unpickling)
            shard, self.sets = reading.result()
        rows = {name: part.rows for name, (part, _, _) in self.sets.items()}
        bad = {name: unreadable for name, (_, _, unreadable) in self.sets.items()}
        self.link.gather("loaded", Loaded(len(rows["train"]), bad))
        self._take_weights()
        train, pixels, _ = self.sets["train"]
        self.feed = Feed(
            pixels,
            training_targets(train.labels, shard.class_weights),
            self.plan.training.batch_size,
            self.plan.training.seed,
            self.number,
            shard.parts,
        )
        self.pipeline = training_pipeline(self.feed)
        order = self.link.gather("ready", None)
        while order.task != "end":
            order = getattr(self, f"_{order.task}")(order)

    def _read(self) -> tuple[Shard, dict[str, tuple[Any, ...]]]:
        """The shard, and each of its sets as `read_part` gives it."""
        self.link.gather("hello", describe_worker())
        shard = self.link.ask()
        sets = shard.sets()
        with ThreadPoolExecutor(len(sets)) as pool:
            outcomes = pool.map(partial(read_part, self.plan.reader), sets.values())
            return shard, dict(zip(sets, outcomes, strict=True))

    def _prepare_model(self, unpickling: Future) -> None:
        """Build, compile and trace, on blank images: the real ones still arrive."""
        worker = unpickling.result()
        import keras

        choose_loss(self.plan.training)  # before Keras meets its name in the JSON
        model = keras.models.model_from_json(worker.json, worker.custom_objects)
        if self.plan.training.frozen_epochs:
            find_backbone(model).trainable = False
        optimizer = keras.optimizers.deserialize(worker.master_optimizer)
        model.compile(optimizer, worker.master_loss, metrics=worker.master_metrics)
        self.model, self.frozen = model, self.plan.training.frozen_epochs > 0
        self._trace()
        averaged = self.plan.optimizer_state == "averaged"
        self.vector = WeightVector(model, averaged)

    def _trace(self) -> None:
        size, findings = self.plan.reader.image_size, self.model.output_shape[-1]
        blank = np.zeros((1, size, size, 1), np.uint8)
        labels = np.zeros((1, findings), np.float32)
        balanced = self.plan.training.class_weights == "balanced"
        weights = np.ones((2, findings), np.float32) if balanced else None
        targets = training_targets(labels, weights)
        trace(self.model, training_pipeline(Feed(blank, targets, 1, 0)))
        predict(self.model, blank)
        self.fresh_optimizer = [np.array(v) for v in self.model.optimizer.variables]

    def _train(self, order: Order) -> Order:
        """Train an epoch, or what is left of it, with its averages."""
        recipe, feed = self.plan.training, self.feed
        if self.frozen and order.epoch >= recipe.frozen_epochs:
            unfreeze(self.model, make_optimizer(recipe))
            self.frozen = False
            self._trace()
        feed.epoch = order.epoch
        tally = Tally(self.number, order.epoch)
        for part in range(order.part, feed.parts):
            feed.part = part
            callbacks = follow_schedule(
                self.model, feed, recipe, self.plan.workers, order.factor
            )
            images = tally.fit(self.model, self.pipeline, feed, callbacks)
            if part == feed.parts - 1:
                self.link.gather("epoch", tally.report(self.model))
            self._average(images)
        return self.link.gather("trained", None)

    def _validate(self, _: Order) -> Order:
        return self.link.gather("validated", self._predict("validation"))

    def _score(self, _: Order) -> Order:
        """Score the test set with the driver's weights: the best or the last ones."""
        self._take_weights()
        return self.link.gather("scored", self._predict("test"))

    def _take_weights(self) -> None:
        self.link.weights(self.vector.values)
        self.vector.restore()

    def _average(self, images: int) -> None:
        self.vector.collect()
        self.link.average(self.vector.values, images)
        self.vector.restore()
        if self.plan.optimizer_state == "reset":
            variables = self.model.optimizer.variables
            for variable, value in zip(variables, self.fresh_optimizer, strict=True):
                variable.assign(value)

    def _predict(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers in the set `name` and their scores."""
        part, pixels, _ = self.sets[name]
        if not len(pixels):
            return part.rows, np.empty((0, self.model.output_shape[-1]))
        return part.rows, predict(self.model, pixels)
