"""What driver and resident workers say to each other."""

from dataclasses import dataclass, field

import numpy as np

from xray.config.recipe import TrainingConfig
from xray.data.partition import ShardPart
from xray.data.reader import ImageReader

CLOSED = (EOFError, OSError)  # the other side is gone


@dataclass(frozen=True)
class ServerKey:
    """Where the weight server listens, and the key that opens it."""

    host: str
    port: int
    key: bytes = field(repr=False)


class RoundLost(Exception):
    """A worker is gone; Spark will start all of them again."""


class Stopped(Exception):
    """The driver has ended the job and knows why."""


@dataclass(frozen=True)
class Plan:
    """What every worker is told besides the model.

    Attributes:
        reader: how to read images.
        training: the recipe.
        optimizer_state: kept (each worker's own), averaged, or reset after each round.
        workers: how many train.
    """

    reader: ImageReader
    training: TrainingConfig
    optimizer_state: str
    workers: int


@dataclass(frozen=True)
class Shard:
    """What one worker trains and scores.

    Attributes:
        train: its training images.
        test: its share of the test set.
        parts: averages per epoch, the same for all workers.
        validation: its share of the validation set, if there is one.
        class_weights: what each finding's images weigh; None weighs them alike.
    """

    train: ShardPart
    test: ShardPart
    parts: int
    validation: ShardPart | None = None
    class_weights: np.ndarray | None = None

    def sets(self) -> dict[str, ShardPart]:
        """What is to be read, by name."""
        sets = {"train": self.train, "test": self.test, "validation": self.validation}
        return {name: part for name, part in sets.items() if part is not None}


@dataclass(frozen=True)
class Loaded:
    """What a worker tells of its shard once it is read.

    Attributes:
        train_images: readable ones to train.
        bad: (row, reason) of the unreadable ones in each set.
    """

    train_images: int
    bad: dict[str, list[tuple[int, str]]]


@dataclass(frozen=True)
class Order:
    """What all workers do next.

    Attributes:
        task: train, validate, score or end.
        epoch: to train, from 0.
        part: of the epoch, to begin with.
        factor: of the learning rate, after the plateaus so far.
    """

    task: str
    epoch: int = 0
    part: int = 0
    factor: float = 1.0


@dataclass(frozen=True)
class EpochReport:
    """One worker's part of one epoch.

    Attributes:
        worker: from 0.
        epoch: from 0.
        images: trained.
        loss: mean over them; NaN without images.
        learning_rate: of the last step.
        fit_seconds: of training alone.
        cpu_seconds: of the process meanwhile.
        started: of the first step, seconds since 1970.
        ended: of the last step, seconds since 1970.
        peak_memory_bytes: largest resident set so far.
    """

    worker: int
    epoch: int
    images: int
    loss: float
    learning_rate: float
    fit_seconds: float
    cpu_seconds: float
    started: float
    ended: float
    peak_memory_bytes: int
