"""What driver and resident workers say to each other."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xray.config.recipe import TrainingConfig
from xray.data.partition import Partition
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


class DriverUnreachable(Exception):
    """A worker cannot connect to the weight server; Spark brings this to the driver."""


class Stopped(Exception):
    """The driver has ended the job and knows why."""


# --- From the driver, before anything is trained.


@dataclass(frozen=True)
class Task:
    """What every worker is told when it starts; the data is not known by then.

    Attributes:
        server: to connect to.
        reader: how to read images.
        training: the recipe.
        optimizer_state: kept (each worker's own), averaged, or reset after each round.
        workers: how many train.
        team: number of this choice of workers, larger than that of any before.
        precision: float32 or mixed_bfloat16.
        weighted: whether labels weigh differently.
        network: Elephas' SparkWorker, which holds the model without weights. Pickled
            apart: unpickling imports TensorFlow, and takes seconds.
    """

    server: ServerKey
    reader: ImageReader
    training: TrainingConfig
    optimizer_state: str
    workers: int
    team: int = 0
    precision: str = "float32"
    weighted: bool = False
    network: bytes = b""


@dataclass(frozen=True)
class Share:
    """What one worker trains and predicts: its partition of each set.

    Attributes:
        partitions: by the set's name, train and those of test and validation that
            there are.
        parts: averages per epoch, the same for all workers.
        class_weights: what each finding's images weigh; None weighs them alike.
    """

    partitions: dict[str, Partition]
    parts: int
    class_weights: np.ndarray | None = None


# --- From a worker, apart from the others.


@dataclass(frozen=True)
class Join:
    """The first word on a connection.

    Attributes:
        worker: its number, from 0.
        attempt: number of this try, larger than that of any before.
        team: of its Task.
        peer: where it lets the other workers in.
    """

    worker: int
    attempt: int
    team: int = 0
    peer: ServerKey | None = None


@dataclass(frozen=True)
class WantShare:
    """Answered by the worker's Share, once it is known."""


@dataclass(frozen=True)
class WantPeers:
    """Answered by the ServerKeys of all workers of the try, once all have come."""


@dataclass(frozen=True)
class WantWeights:
    """Answered by the vector of the last finished average."""


@dataclass(frozen=True)
class Failed:
    """Ends the job for all: trying again would fail again.

    Attributes:
        error: a UserError or RuntimeError, raised again on the driver.
    """

    error: Exception


# --- From all workers together: each sends one, and all get the same answer.


@dataclass(frozen=True)
class Average:
    """The workers have averaged, and one's part of the mean follows.

    Answered by whether the driver has made other weights of the mean; they follow then.

    Attributes:
        images: that the worker has trained since the last average.
        start: of the part in the vector.
        stop: of the part in the vector.
    """

    images: int
    start: int
    stop: int


@dataclass(frozen=True)
class Hello:
    """A worker has started; what it runs on and with."""

    environment: Any


@dataclass(frozen=True)
class Loaded:
    """A worker has read its images.

    Attributes:
        bad: (row, reason) of the unreadable ones in each set.
        cached: images that a cache of earlier runs held.
    """

    bad: dict[str, list[tuple[int, str]]]
    cached: int


@dataclass(frozen=True)
class Ready:
    """A worker can train; answered by the first Order."""


@dataclass(frozen=True)
class EpochReport:
    """One worker's part of one epoch, before its last average.

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


@dataclass(frozen=True)
class Predicted:
    """A worker's part of a set.

    Attributes:
        rows: of the set.
        probabilities: (n, 15), of these rows.
    """

    rows: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True)
class Done:
    """A worker has done what was ordered; answered by the next Order."""


# --- From the driver, to all workers: their answers, and what they do next.


@dataclass(frozen=True)
class Answer:
    """To what a worker sent, or all of them."""

    content: Any


@dataclass(frozen=True)
class Stop:
    """In place of an answer: the driver has ended the job and knows why."""


@dataclass(frozen=True)
class Rest:
    """What other workers, of whom some are gone, have left of an epoch.

    Attributes:
        rows: of the training set, still to be trained in the epoch.
        parts: averages in which that is done.
    """

    rows: np.ndarray
    parts: int


@dataclass(frozen=True)
class TrainEpoch:
    """An Order: train an epoch, or what is left of it, with its averages.

    Attributes:
        epoch: from 0.
        factor: of the learning rate, after the plateaus so far.
        part: of the epoch, or of its rest, to begin with.
        rest: in place of the whole epoch.
    """

    epoch: int
    factor: float = 1.0
    part: int = 0
    rest: Rest | None = None


@dataclass(frozen=True)
class PredictSet:
    """An Order: predict a set, validation or test, with the driver's weights."""

    name: str


@dataclass(frozen=True)
class Recut:
    """An Order: ask for another share of the training set, and read what is new."""


@dataclass(frozen=True)
class End:
    """An Order: there is nothing more to do."""


Order = TrainEpoch | PredictSet | Recut | End
