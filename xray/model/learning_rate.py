"""The learning rate of every step: one formula, for Python and for Keras' graphs."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from xray.config.recipe import TrainingConfig

if TYPE_CHECKING:
    import keras

PLACE = "place"  # name of the optimizer's variable


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
    multiplier = rate_multiplier(training, workers, factor)
    return float(multiplier * _relative_rate(training, progress, np))


def rate_multiplier(training: TrainingConfig, workers: int, factor: float) -> float:
    """What the rate is multiplied by that no step changes."""
    scale = workers if training.scale_learning_rate else 1
    return training.learning_rate * factor * scale


def _relative_rate(training: TrainingConfig, progress: Any, ops: Any) -> Any:
    """Of `rate_multiplier`; `ops` is numpy or keras.ops, as `progress` needs."""
    rate = ops.ones_like(progress)
    if training.schedule == "cosine":
        span = max(training.epochs - training.warmup_epochs, 1e-9)
        done = ops.minimum(1.0, (progress - training.warmup_epochs) / span)
        rate = 0.5 * (1 + ops.cos(math.pi * done))
    if training.warmup_epochs:
        warm = progress / training.warmup_epochs
        rate = ops.where(progress < training.warmup_epochs, warm, rate)
    if training.frozen_epochs:
        unfrozen = training.unfrozen_factor * rate
        rate = ops.where(progress > training.frozen_epochs, unfrozen, rate)
    return rate


def make_schedule(training: TrainingConfig) -> Any:
    """A LearningRateSchedule of a recipe whose rate changes within an epoch.

    It counts by the optimizer's iterations, so that no callback sets the rate before
    every batch; with JAX that would copy all state there and back. Where the iterations
    stand in the epochs is one of the optimizer's variables, set by `start_schedule`: a
    graph would keep whatever else it saw first.
    """
    import keras
    from keras import ops

    class ImageSchedule(keras.optimizers.schedules.LearningRateSchedule):
        def attach(self, optimizer: "keras.Optimizer") -> None:
            """Have `optimizer` keep the place; before it is set, the rate is 0."""
            self.place = optimizer.add_variable((5,), dtype="float32", name=PLACE)
            self.place.assign([0, 1, 1, 1, 0])

        def __call__(self, step: Any) -> Any:
            place = ops.convert_to_tensor(self.place)  # else JAX keeps the variable
            before, steps, images, batch_size, multiplier = ops.unstack(place, 5)
            step = before + ops.cast(step, "float32")
            epoch = ops.floor((step + 0.5) / steps)  # half: a quotient may round down
            seen = ops.minimum((step - epoch * steps + 1) * batch_size, images)
            return multiplier * _relative_rate(training, epoch + seen / images, ops)

        def get_config(self) -> dict[str, Any]:
            return training.model_dump(mode="json")

    return ImageSchedule()


def start_schedule(
    optimizer: "keras.Optimizer",
    step: int,
    steps_per_epoch: int,
    images: int,
    batch_size: int,
    multiplier: float,
) -> None:
    """Set where the next step of an optimizer with `make_schedule` stands.

    Args:
        optimizer: of the schedule.
        step: its number, from 0, counted over all epochs.
        steps_per_epoch: of this worker.
        images: that it trains in an epoch; the last batch may be smaller.
        batch_size: of the others.
        multiplier: of `rate_multiplier`.
    """
    before = step - int(optimizer.iterations)
    place = next(v for v in optimizer.variables if v.name == PLACE)
    place.assign([before, steps_per_epoch, images, batch_size, multiplier])
