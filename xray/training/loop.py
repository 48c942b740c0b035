"""Load, fit and evaluate in this process: what the two local runners share."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xray.common.progress import progress_bar
from xray.config.run import RunConfig
from xray.data.dataset import Subset, find_dataset
from xray.data.pixels import PixelFile
from xray.data.reader import ImageReader
from xray.model.losses import balanced_weights, training_targets
from xray.model.network import (
    build_model,
    make_optimizer,
    trace,
    unfreeze,
    weights_digest,
)
from xray.model.predict import predict
from xray.records.metrics import macro_auc
from xray.records.record import RunRecord
from xray.storage.credentials import load_access
from xray.storage.s3 import Storage
from xray.training.batches import Feed, training_pipeline
from xray.training.checks import check_batch_size, check_loss, check_skipped
from xray.training.journal import Journal
from xray.training.recording import build_record
from xray.training.schedule import follow_schedule

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Loaded:
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
        access = load_access(config.data)
        storage = Storage(access, config.data.read_threads)
        journal.dataset = find_dataset(config.data, storage)
        check_batch_size(config, len(journal.dataset.train), journal.workers or 1)
        journal.check_resume(loaded=False)
        reader = ImageReader.of(config.data, access)
        sets = [_load(subset, reader, journal) for subset in journal.dataset.subsets()]
        check_skipped(journal)
    with journal.timer.phase("warmup"):
        training = LocalTraining(journal, build_model(config, storage), *sets)
    while not journal.course.ended(config.training):
        training.run_epoch()
    training.finish()
    journal.keep_models(training.model, training.last)
    return build_record(journal)


class LocalTraining:
    """The epochs of a run in this process.

    Args:
        journal: of the run.
        model: compiled, with its initial weights.
        train: to train.
        test: to score.
        validation: to choose the best epoch by; None without such a set.

    Attributes:
        model: at the end with the weights that were scored.
        last: weights of the last epoch where those of the best were scored.
    """

    def __init__(
        self,
        journal: Journal,
        model: "keras.Model",
        train: Loaded,
        test: Loaded,
        validation: Loaded | None = None,
    ) -> None:
        self.journal, self.model = journal, model
        self.config, self.recipe = journal.config, journal.config.training
        self.test, self.validation = test, validation
        self.best: list[np.ndarray] = []
        self.last: list[np.ndarray] | None = None
        labels = train.subset.labels
        balanced = self.recipe.class_weights == "balanced"
        weights = balanced_weights(labels) if balanced else None
        targets = training_targets(labels, weights)
        devices = journal.workers or 1
        self.feed = Feed(
            train.images,
            targets,
            self.recipe.batch_size * devices,
            self.recipe.seed,
            devices=devices,
        )
        self.pipeline = training_pipeline(self.feed, timed=journal.runner == "gpu")
        journal.initial_weights = weights_digest(model.get_weights())
        journal.check_resume(loaded=True)
        self._enter_stage(journal.epochs_before())
        self._take_up()

    def run_epoch(self) -> None:
        """Train one epoch, score what is asked for, and keep a checkpoint."""
        journal, epoch = self.journal, len(self.journal.epochs)
        if epoch and epoch == self.recipe.frozen_epochs:
            with journal.timer.phase("warmup"):
                self._enter_stage(epoch)
        self.feed.epoch = epoch
        with journal.timer.phase("fit"):
            self._fit()
        if self.validation:
            with journal.timer.phase("evaluate"):
                scores = predict(self.model, self.validation.images)
                best = journal.advance(self.validation.subset, scores)
            if best:
                self.best = self.model.get_weights()
        else:
            journal.advance()
        ended = journal.course.ended(self.recipe)
        if self.recipe.evaluate_every_epoch and not ended:
            with journal.timer.phase("evaluate"):
                scores = predict(self.model, self.test.images)
                auc = macro_auc(self.test.subset.labels, scores)
                journal.epochs[-1].auc_macro = auc
        journal.save([*map(np.array, self._state()), *self.best])

    def finish(self) -> None:
        """Score the test set with the best weights, or the last without validation."""
        with self.journal.timer.phase("evaluate"):
            if self.best:
                self.last = self.model.get_weights()
                self.model.set_weights(self.best)
            scores = predict(self.model, self.test.images)
            self.journal.score(self.test.subset, scores)

    def _enter_stage(self, epoch: int) -> None:
        """Have the model ready for `epoch`, counted from 0, frozen or not."""
        if epoch >= self.recipe.frozen_epochs > 0:
            unfreeze(self.model, make_optimizer(self.recipe))
        sample = self.feed.sample(self.model.jit_compile)
        trace(self.model, training_pipeline(sample))

    def _state(self) -> list[Any]:
        return self.model.variables + self.model.optimizer.variables

    def _take_up(self) -> None:
        """Go on from a checkpoint, if there is one."""
        state = self._state()
        weights = self.model.weights if self.validation else []
        shapes = [variable.shape for variable in (*state, *weights)]
        arrays = self.journal.take_up(shapes)
        for variable, array in zip(state, arrays, strict=False):
            variable.assign(array)
        self.best = arrays[len(state) :]

    def _fit(self) -> None:
        journal, feed, epochs = self.journal, self.feed, self.recipe.epochs
        journal.note_first_step()
        start, epoch = time.perf_counter(), feed.epoch + 1
        callbacks = follow_schedule(
            self.model, feed, self.recipe, feed.devices, journal.course.factor
        )
        with progress_bar(len(feed.images), f"epoch {epoch}/{epochs}") as bar:
            feed.on_batch = bar.update
            history = self.model.fit(
                self.pipeline, callbacks=callbacks, shuffle=False, verbose=0
            )
        loss = history.history["loss"][0]
        rate = float(self.model.optimizer.learning_rate)
        seconds = time.perf_counter() - start
        journal.add_epoch(
            seconds, loss, learning_rate=rate, wait_seconds=feed.wait_seconds
        )
        check_loss(loss, epoch, self.config)


def _load(subset: Subset, reader: ImageReader, journal: Journal) -> Loaded:
    """The readable images of `subset`; the others are noted."""
    with progress_bar(len(subset), "load") as bar:
        pixels, good, bad = reader.load(subset.uris, subset.etags, bar.update)
    for row, reason in bad.items():
        journal.skipped[str(subset.names[row])] = reason
    return Loaded(subset.take(good), pixels)
