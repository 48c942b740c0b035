"""The epochs of a run, whatever trains them: train, choose, keep, and score at the end.

An engine trains: this process (`training.local`), stock Elephas (`spark.stock.driver`)
or resident workers (`spark.resident.driver`).
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from xray.data.dataset import Subset
from xray.records.metrics import macro_auc
from xray.training.checks import check_loss
from xray.training.epoch_log import TrainedEpoch
from xray.training.journal import Journal
from xray.training.resuming import Saver, keep_epoch

Weights = list[np.ndarray]
"""A model's weights, in whatever form an engine exchanges them."""


class Engine(Protocol):
    """What trains and predicts; each spends its seconds on the journal's timer."""

    def train_epoch(self, epoch: int, factor: float) -> TrainedEpoch:
        """Train `epoch`, counted from 0, at `factor` times the learning rate."""

    def predict(self, subset: str) -> tuple[Subset, np.ndarray]:
        """The readable images of `validation` or `test`, and (N, 15) probabilities."""

    def state(self) -> Weights:
        """What training goes on from, for a checkpoint; it does not change any more."""

    def weights(self) -> Weights:
        """The model's weights as they are; they do not change any more."""

    def set_weights(self, weights: Weights) -> None:
        """Have `predict` use such weights."""


def run_epochs(
    journal: Journal, engine: Engine, best: Sequence[np.ndarray], saver: Saver | None
) -> Weights | None:
    """Train until the course has ended, and score the test set, if there is one.

    Args:
        journal: to fill in; it may hold epochs of earlier tries already.
        engine: stands where those epochs ended.
        best: weights of the best epoch so far; empty before one, or without a
            validation set.
        saver: of a checkpoint an epoch; None keeps none.

    Returns:
        The last epoch's weights where those of the best one were scored instead; the
        engine has the scored ones.

    Raises:
        UserError: training diverged.
    """
    recipe, log = journal.config.training, journal.log
    while not log.course.ended(recipe):
        _train(journal, engine)
        if _advance(journal, engine):
            best = engine.weights()
        if _scores_test(journal):
            subset, probabilities = engine.predict("test")
            log.epochs[-1].auc_macro = macro_auc(subset.labels, probabilities)
        keep_epoch(journal, [*engine.state(), *best], saver)
        if not log.course.ended(recipe):
            journal.tell_epoch()
    last = _finish(journal, engine, best)
    journal.tell_epoch()  # the last one, with its score
    return last


def _scores_test(journal: Journal) -> bool:
    """Whether the test set is scored before training goes on, for the curve alone."""
    recipe, log = journal.config.training, journal.log
    if journal.dataset.test is None or log.course.ended(recipe):
        return False
    due = recipe.is_scored(len(log.epochs))
    chosen = journal.config.data.validation_fraction
    return recipe.evaluate_every_epoch or (due and not chosen)


def _train(journal: Journal, engine: Engine) -> None:
    epoch = len(journal.log.epochs)
    trained = engine.train_epoch(epoch, journal.log.course.factor)
    journal.add_epoch(trained)
    check_loss(trained.loss, epoch + 1, journal.config)


def _advance(journal: Journal, engine: Engine) -> bool:
    """Whether the epoch is the best so far on a validation set."""
    if journal.config.data.validation_fraction:
        return journal.advance(*engine.predict("validation"))
    journal.advance()
    return False


def _finish(
    journal: Journal, engine: Engine, best: Sequence[np.ndarray]
) -> Weights | None:
    last = None
    if best:
        last = engine.weights()
        engine.set_weights([*best])
    if journal.dataset.test is not None:
        journal.score(*engine.predict("test"))
    return last
