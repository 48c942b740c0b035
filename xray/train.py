"""Load, fit and evaluate in this process: what the two local runners share."""

import time
from typing import TYPE_CHECKING

import numpy as np

from xray.config import RunConfig
from xray.credentials import load_access
from xray.dataset import Subset, check_bad_images, find_dataset
from xray.errors import UserError
from xray.feed import Feed, predict, training_pipeline
from xray.journal import Journal
from xray.labels import FINDINGS
from xray.metrics import macro_auc, score_predictions
from xray.model import build_model, trace, weights_digest
from xray.pixels import PixelFile
from xray.progress import progress_bar
from xray.reader import ImageReader
from xray.record import RunRecord, Scores
from xray.storage import Storage

if TYPE_CHECKING:
    import keras


def train_locally(config: RunConfig, journal: Journal) -> RunRecord:
    """The record of training on the device that the runner has prepared.

    Raises:
        UserError: the data, the weights or the settings cannot be used.
    """
    timer = journal.timer
    with timer.phase("load"):
        access = load_access(config.data)
        storage = Storage(access, config.data.read_threads)
        journal.dataset = find_dataset(config.data, storage)
        check_batch_size(config, len(journal.dataset.train), journal.workers)
        journal.check_resume(loaded=False)
        reader = ImageReader.of(config.data, access)
        train, train_images = _load(journal.dataset.train, reader, journal)
        test, test_images = _load(journal.dataset.test, reader, journal)
        check_skipped(journal)
    with timer.phase("warmup"):
        model = build_model(config, storage)
        journal.initial_weights = weights_digest(model.get_weights())
        journal.check_resume(loaded=True)
        feed = Feed(
            train_images,
            train.labels,
            config.training.batch_size * journal.workers,
            config.training.seed,
            devices=journal.workers,
        )
        pipeline = training_pipeline(feed, timed=journal.runner == "gpu")
        trace(model, training_pipeline(feed.sample(model.jit_compile)))
        state = model.variables + model.optimizer.variables
        shapes = [variable.shape for variable in state]
        for variable, array in zip(state, journal.take_up(shapes), strict=False):
            variable.assign(array)
    for epoch in range(len(journal.epochs), config.training.epochs):
        feed.epoch = epoch
        with timer.phase("fit"):
            _fit_epoch(model, pipeline, feed, journal)
        if config.training.evaluate_every_epoch and epoch + 1 < config.training.epochs:
            with timer.phase("evaluate"):
                scores = predict(model, test_images)
                journal.epochs[-1].auc_macro = macro_auc(test.labels, scores)
        journal.save([np.array(variable) for variable in state])
    with timer.phase("evaluate"):
        scores = predict(model, test_images)
        journal.epochs[-1].auc_macro = macro_auc(test.labels, scores)
        journal.scores = score_test_set(test, scores, config)
    return journal.record()


def check_batch_size(config: RunConfig, images: int, devices: int = 1) -> None:
    """Refuse a batch of all devices together that is larger than the training set.

    Raises:
        UserError: it is.
    """
    size = config.training.batch_size
    if size * devices > images:
        each = f" on each of {devices} GPUs" if devices > 1 else ""
        raise UserError(
            f"training.batch_size must be at most the {images} training images. Got "
            f"{size}{each}. Lower it or use more images."
        )


def check_loss(loss: float | None, epoch: int, config: RunConfig) -> None:
    """Stop a run that diverged in `epoch`, counted from 1.

    Raises:
        UserError: the loss is NaN or infinite.
    """
    if loss is not None and not np.isfinite(loss):
        raise UserError(
            f"The loss is {loss} after epoch {epoch}. Lower "
            f"training.learning_rate={config.training.learning_rate}."
        )


def check_skipped(journal: Journal) -> None:
    """Warn of or refuse the images that `journal` lists as skipped.

    Raises:
        UserError: more than `data.max_bad_fraction` of all.
    """
    total = len(journal.dataset.train) + len(journal.dataset.test)
    check_bad_images(journal.skipped, total, journal.config.data.max_bad_fraction)


def _load(
    subset: Subset, reader: ImageReader, journal: Journal
) -> tuple[Subset, np.ndarray | PixelFile]:
    """The readable images of `subset`, uint8 (N, H, W, 1); the others are noted."""
    with progress_bar(len(subset), "load") as bar:
        pixels, good, bad = reader.load(subset.uris, subset.etags, bar.update)
    for row, reason in bad.items():
        journal.skipped[str(subset.names[row])] = reason
    return subset.take(good), pixels


def _fit_epoch(
    model: "keras.Model", pipeline: object, feed: Feed, journal: Journal
) -> None:
    journal.note_first_step()
    start = time.perf_counter()
    epoch, epochs = feed.epoch + 1, journal.config.training.epochs
    with progress_bar(len(feed.images), f"epoch {epoch}/{epochs}") as bar:
        feed.on_batch = bar.update
        history = model.fit(pipeline, shuffle=False, verbose=0)
    loss = history.history["loss"][0]
    seconds = time.perf_counter() - start
    journal.add_epoch(seconds, loss, wait_seconds=feed.wait_seconds)
    check_loss(loss, epoch, journal.config)


def score_test_set(test: Subset, scores: np.ndarray, config: RunConfig) -> Scores:
    """The AUC table of the run, the same function for every runner.

    Args:
        test: the readable test images.
        scores: (N, 15), in their order.
        config: the run; its data seed draws the resamples.

    Raises:
        UserError: a score is NaN or infinite.
    """
    if not np.isfinite(scores).all():
        raise UserError(
            "The trained model gives scores that are not finite: it diverged. Lower "
            f"training.learning_rate={config.training.learning_rate}."
        )
    return score_predictions(
        test.labels, scores, test.patients, FINDINGS, config.data.seed
    )
