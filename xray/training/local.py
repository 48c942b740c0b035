"""Load, fit and evaluate in this process: what the two local runners share."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xray.common.progress import progress_bar
from xray.config.run import RunConfig
from xray.config.runners import runner_of
from xray.data.dataset import Subset, find_dataset
from xray.data.pixels import PixelFile
from xray.data.reader import ImageReader
from xray.model.cpu_step import quicken, slacken
from xray.model.losses import class_weights, training_targets
from xray.model.network import (
    build_model,
    make_optimizer,
    trace,
    unfreeze,
    weights_digest,
)
from xray.model.predict import predict
from xray.records.record import RunRecord
from xray.storage.credentials import data_access, store_name
from xray.storage.s3 import Storage
from xray.training.batches import Feed, training_pipeline
from xray.training.checks import check_batch_size, check_skipped
from xray.training.epoch_log import TrainedEpoch
from xray.training.journal import Journal
from xray.training.loop import run_epochs
from xray.training.recording import build_record
from xray.training.resuming import check_resume, take_up
from xray.training.schedule import follow_schedule

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class LoadedSubset:
    """The readable images of one set.

    Attributes:
        subset: names, patients and labels.
        images: uint8 (N, H, W, 1), in the same order.
    """

    subset: Subset
    images: np.ndarray | PixelFile


def train_locally(config: RunConfig, journal: Journal) -> RunRecord:
    """The record of training on the device that the runner has prepared.

    Raises:
        UserError: the data, the weights or the settings cannot be used.
    """
    with journal.timer.phase("load"):
        access = data_access(config.data)
        journal.store = store_name(access, config.data.images)
        storage = Storage(access, config.data.read_threads)
        dataset = journal.dataset = find_dataset(config.data, storage)
        check_batch_size(config, len(dataset.train), journal.workers or 1)
        check_resume(journal, loaded=False)
        reader = ImageReader.of(config.data, access)
        train, *others = (_load(s, reader, journal) for s in dataset.subsets())
        check_skipped(journal)
    journal.tell_loaded()
    with journal.timer.phase("warmup"):
        model = build_model(config, storage)
        on_cpu = not runner_of(journal.runner).has_gpu  # nothing was measured on one
        if on_cpu:
            quicken(model, config.runner.precision)
        engine = LocalEngine(journal, model, train, *others)
    last = run_epochs(journal, engine, engine.best, journal.tries.file)
    if on_cpu:
        slacken(model)  # what is saved is plain Keras
    journal.keep_models(model, last)
    return build_record(journal)


class LocalEngine:
    """Trains a model in this process.

    Args:
        journal: of the run.
        model: compiled, with its initial weights.
        train: to train.
        test: to score.
        validation: to choose the best epoch by; None without such a set.

    Attributes:
        best: weights of the best epoch of an earlier try; empty without.
    """

    def __init__(
        self,
        journal: Journal,
        model: "keras.Model",
        train: LoadedSubset,
        test: LoadedSubset,
        validation: LoadedSubset | None = None,
    ) -> None:
        self.journal, self.model = journal, model
        self.recipe = journal.config.training
        self.sets = {"test": test, "validation": validation}
        self.feed = self._feed(train)
        has_gpu = runner_of(journal.runner).has_gpu
        self.pipeline = training_pipeline(self.feed, timed=has_gpu)
        journal.initial_weights = weights_digest(model.get_weights())
        check_resume(journal, loaded=True)
        self._enter_stage(journal.tries.epochs_before())
        self.best = self._take_up()

    def train_epoch(self, epoch: int, factor: float) -> TrainedEpoch:
        """Train one epoch, the first of a stage once it is traced anew."""
        timer = self.journal.timer
        if epoch and epoch == self.recipe.frozen_epochs:
            with timer.phase("warmup"):
                self._enter_stage(epoch)
        with timer.phase("fit"):
            self.journal.note_first_step()
            return self._fit(epoch, factor)

    def predict(self, subset: str) -> tuple[Subset, np.ndarray]:
        """The readable images of a set, and (N, 15) probabilities."""
        with self.journal.timer.phase("evaluate"):
            loaded = self.sets[subset]
            return loaded.subset, predict(self.model, loaded.images)

    def state(self) -> list[np.ndarray]:
        """Weights and the optimizer's state."""
        return [*map(np.array, self._variables())]

    def weights(self) -> list[np.ndarray]:
        """As Keras gives them."""
        return self.model.get_weights()

    def set_weights(self, weights: list[np.ndarray]) -> None:
        """Have the model predict with `weights`."""
        self.model.set_weights(weights)

    def _feed(self, train: LoadedSubset) -> Feed:
        labels, recipe = train.subset.labels, self.recipe
        devices = self.journal.workers or 1
        weights = class_weights(recipe, self.journal.config.weighs_labels, labels)
        return Feed(
            train.images,
            training_targets(labels, weights),
            recipe.batch_size * devices,
            recipe.seed,
            devices=devices,
        )

    def _enter_stage(self, epoch: int) -> None:
        """Have the model ready for `epoch`, counted from 0, frozen or not."""
        if epoch >= self.recipe.frozen_epochs > 0:
            unfreeze(self.model, make_optimizer(self.recipe))
        sample = self.feed.sample(self.model.jit_compile)
        trace(self.model, training_pipeline(sample))

    def _variables(self) -> list[Any]:
        return self.model.variables + self.model.optimizer.variables

    def _take_up(self) -> list[np.ndarray]:
        """Go on from a checkpoint, if there is one; its best epoch's weights."""
        variables = self._variables()
        best = self.model.weights if self.sets["validation"] else []
        shapes = [variable.shape for variable in (*variables, *best)]
        arrays = take_up(self.journal, shapes)
        for variable, array in zip(variables, arrays, strict=False):
            variable.assign(array)
        return arrays[len(variables) :]

    def _fit(self, epoch: int, factor: float) -> TrainedEpoch:
        feed, model = self.feed, self.model
        feed.epoch = epoch
        start = time.perf_counter()
        rate = follow_schedule(model, feed, self.recipe, feed.devices, factor)
        text = f"epoch {epoch + 1}/{self.recipe.epochs}"
        with progress_bar(len(feed.images), text) as bar:
            feed.on_batch = bar.update
            history = model.fit(self.pipeline, shuffle=False, verbose=0)
        seconds, loss = time.perf_counter() - start, history.history["loss"][0]
        return TrainedEpoch(seconds, loss, rate, feed.wait_seconds)


def _load(subset: Subset, reader: ImageReader, journal: Journal) -> LoadedSubset:
    """The readable images of `subset`; the others are noted."""
    journal.cached = (journal.cached or 0) + reader.count_cached(subset.etags)
    with progress_bar(len(subset), "load") as bar:
        pixels, good, bad = reader.load(subset.uris, subset.etags, bar.update)
    for row, reason in bad.items():
        journal.skipped[str(subset.names[row])] = reason
    return LoadedSubset(subset.take(good), pixels)
