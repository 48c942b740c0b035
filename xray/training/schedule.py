"""The learning rate at every step, and what a validation set decides on the way."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from xray.config.recipe import TrainingConfig
from xray.records.record import Part
from xray.training.batches import Feed

if TYPE_CHECKING:
    import keras


def learning_rate(
    training: TrainingConfig, workers: int, progress: float, factor: float = 1.0
) -> float:
    """The rate of the step after which `progress` epochs are trained.

    It depends on the images trained so far and not on the number of steps: workers who
    share the images see the rates of a sequential run.

    Args:
        training: the recipe.
        workers: that train at once.
        progress: epochs trained once the step is done, a fraction, above 0.
        factor: of the plateaus so far.
    """
    rate = training.learning_rate * factor
    if training.scale_learning_rate:
        rate *= workers
    if progress > training.frozen_epochs > 0:
        rate *= training.unfrozen_factor
    if progress < training.warmup_epochs:
        return rate * progress / training.warmup_epochs
    if training.schedule == "cosine":
        span = max(training.epochs - training.warmup_epochs, 1e-9)
        done = min(1.0, (progress - training.warmup_epochs) / span)
        rate *= 0.5 * (1 + math.cos(math.pi * done))
    return rate


class Course(Part):
    """What the epochs so far mean for those to come; immutable."""

    epochs: int = 0
    """Seen so far."""
    best_epoch: int | None = None
    """Counted from 1; null before the first."""
    best: float | None = None
    """Its validation AUC, or minus its loss without a validation set."""
    waited: int = 0
    """Epochs since the best or the last plateau."""
    factor: float = 1.0
    """Of the learning rate, after the plateaus so far."""
    thresholds: dict[str, dict[str, float]] | None = None
    """Chosen on the validation scores of the best epoch; null without such a set."""

    def after(
        self,
        value: float | None,
        training: TrainingConfig,
        thresholds: dict[str, dict[str, float]] | None = None,
    ) -> "Course":
        """The course after one more epoch.

        Args:
            value: its validation AUC, null where undefined, or minus its loss.
            training: the recipe.
            thresholds: chosen on its validation scores.
        """
        epochs = self.epochs + 1
        better = value is not None and (self.best is None or value > self.best)
        if better or self.best_epoch is None:
            changes = {
                "best_epoch": epochs,
                "best": value,
                "waited": 0,
                "thresholds": thresholds,
            }
        elif self.waited + 1 >= training.plateau_patience:
            cut = training.plateau_factor if training.schedule == "plateau" else 1.0
            changes = {"factor": self.factor * cut, "waited": 0}
        else:
            changes = {"waited": self.waited + 1}
        return self.model_copy(update={"epochs": epochs, **changes})

    def ended(self, training: TrainingConfig) -> bool:
        """Whether no epoch follows."""
        patience = training.early_stopping
        stale = self.epochs - (self.best_epoch or 0)
        return self.epochs >= training.epochs or (
            patience is not None and stale >= patience
        )


def follow_schedule(
    model: "keras.Model",
    feed: Feed,
    training: TrainingConfig,
    workers: int,
    factor: float,
) -> list[Any]:
    """Set the learning rate of the feed's next part; callbacks if it varies there."""

    def rate(batch: int) -> float:
        return learning_rate(training, workers, feed.progress(batch), factor)

    model.optimizer.learning_rate = rate(0)
    return [_rate_setter(rate)] if training.rate_varies_by_step() else []


def _rate_setter(rate: Callable[[int], float]) -> Any:
    import keras

    class RateSetter(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if hasattr(self.model, "jax_state_sync"):  # else JAX keeps its own copy
                self.model.jax_state_sync()
            self.model.optimizer.learning_rate = rate(batch)

    return RateSetter()
