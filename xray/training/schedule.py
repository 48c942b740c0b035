"""What the epochs so far mean for those to come, and the rate of the next steps."""

from typing import TYPE_CHECKING

from xray.config.recipe import TrainingConfig
from xray.model.learning_rate import learning_rate, rate_multiplier, start_schedule
from xray.records.record import Part
from xray.training.batches import Feed

if TYPE_CHECKING:
    import keras


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
    temperature: float | None = None
    """Fitted on the same scores."""

    def after(
        self,
        value: float | None,
        training: TrainingConfig,
        thresholds: dict[str, dict[str, float]] | None = None,
        temperature: float | None = None,
    ) -> "Course":
        """The course after one more epoch.

        Args:
            value: its validation AUC, null where undefined, or minus its loss.
            training: the recipe.
            thresholds: chosen on its validation scores.
            temperature: fitted on them.
        """
        epochs = self.epochs + 1
        better = value is not None and (self.best is None or value > self.best)
        if better or self.best_epoch is None:
            changes = {
                "best_epoch": epochs,
                "best": value,
                "waited": 0,
                "thresholds": thresholds,
                "temperature": temperature,
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
) -> float:
    """Have the feed's next part trained at its learning rates; that of its last step.

    Args:
        model: to be trained.
        feed: of one worker; without images nothing is set.
        training: the recipe.
        workers: that train at once.
        factor: of the plateaus so far.
    """
    steps, images = len(feed), len(feed.labels)
    if not images:
        return 0.0
    last = learning_rate(training, workers, feed.progress(feed.batches() - 1), factor)
    if training.rate_varies_by_step():
        step = feed.epoch * steps + feed.earlier()
        multiplier = rate_multiplier(training, workers, factor)
        start_schedule(
            model.optimizer, step, steps, images, feed.batch_size, multiplier
        )
    else:
        model.optimizer.learning_rate = last
    return last
