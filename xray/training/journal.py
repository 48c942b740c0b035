"""Journal: what a run has found and measured so far; its record, even if it fails."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from xray.common.errors import UserError
from xray.config.run import RunConfig
from xray.data.dataset import Dataset, Subset
from xray.data.labels import FINDINGS
from xray.records.calibration import choose_thresholds, score_calibration
from xray.records.machine import peak_memory_bytes
from xray.records.metrics import macro_auc, score_predictions
from xray.records.record import Epoch, Resume, Retry, Worker, utc_now
from xray.records.scores import Calibration, Scores
from xray.records.timing import Timer
from xray.training.checkpoint import (
    Checkpoint,
    CheckpointFile,
    Progress,
    check_same_work,
    check_shapes,
)
from xray.training.schedule import Course
from xray.training.tensorboard import TensorBoardLog

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class TrainedWeights:
    """What will be saved as a model.

    Attributes:
        weights: as `model.get_weights()` gives them.
        epoch: after which they were these, from 1.
        scored: whether the run's scores are of these weights.
    """

    weights: list[np.ndarray]
    epoch: int
    scored: bool


@dataclass
class Journal:
    """Filled in by a runner while it works.

    Attributes:
        runner: sequential, gpu or elephas.
        config: the run.
        timer: its phases.
        checkpoint_file: kept after every epoch; None keeps nothing.
        resume: what `--resume` goes on from.
        events: written as epochs finish; None writes none.
        model: trained; its weights are those of any of `models`.
        models: to be saved when the run has succeeded: `last` and maybe `best`.
    """

    runner: str
    config: RunConfig
    timer: Timer = field(default_factory=Timer)
    workers: int | None = None
    threads_per_worker: int | None = None
    mode: str | None = None
    frequency: str | None = None
    engine: str | None = None
    exchange: dict[str, Any] | None = None
    dataset: Dataset | None = None
    skipped: dict[str, str] = field(default_factory=dict)
    initial_weights: str | None = None
    epochs: list[Epoch] = field(default_factory=list)
    per_worker: list[Worker] = field(default_factory=list)
    scores: Scores | None = None
    calibration: Calibration | None = None
    machine: dict[str, Any] = field(default_factory=dict)
    checkpoint_file: CheckpointFile | None = None
    resume: Checkpoint | None = None
    resumed: list[Resume] = field(default_factory=list)
    retries: list[Retry] = field(default_factory=list)
    earlier_peak_bytes: int = 0
    first_step_seconds: float | None = None
    course: Course = field(default_factory=Course)
    events: TensorBoardLog | None = None
    model: "keras.Model | None" = None
    models: dict[str, TrainedWeights] = field(default_factory=dict)

    def add_epoch(
        self,
        seconds: float,
        loss: float | None,
        elapsed_seconds: float | None = None,
        learning_rate: float | None = None,
        wait_seconds: float | None = None,
    ) -> None:
        """Note a finished epoch.

        Args:
            seconds: it took to train.
            loss: mean over its images; None when unknown.
            elapsed_seconds: from the program's start to the epoch's end; None is now.
            learning_rate: of its last step; None when unknown.
            wait_seconds: for which training waited for images; None when unknown.
        """
        images = self.train_images()
        self.epochs.append(
            Epoch(
                epoch=len(self.epochs) + 1,
                seconds=seconds,
                images_per_second=images / seconds,
                loss=loss,
                learning_rate=learning_rate,
                elapsed_seconds=elapsed_seconds or self.timer.elapsed_seconds(),
                data_wait_fraction=None
                if wait_seconds is None
                else wait_seconds / seconds,
            )
        )
        self.log()

    def log(self) -> None:
        """Tell TensorBoard what is new of the epochs, where that is wanted."""
        if self.events:
            started = time.time() - self.timer.elapsed_seconds()
            self.events.add_epochs(self.epochs, started)

    def keep_models(
        self, model: "keras.Model", last: list[np.ndarray] | None = None
    ) -> None:
        """Keep what was trained until the run has succeeded, where models are saved.

        Args:
            model: with the weights that were scored: of the best epoch where there is a
                validation set, or else of the last one.
            last: weights of the last epoch, where those of the best one were scored.
        """
        if self.config.output.models is None:
            return
        self.model, epochs = model, len(self.epochs)
        scored = TrainedWeights(model.get_weights(), self.best_epoch or epochs, True)
        if last is None:
            self.models = {"last": scored}
        else:
            unscored = TrainedWeights(last, epochs, scored.epoch == epochs)
            self.models = {"best": scored, "last": unscored}

    def advance(
        self, validation: Subset | None = None, scores: np.ndarray | None = None
    ) -> bool:
        """Note what the last epoch means for the course; whether it is the best so far.

        Args:
            validation: the readable validation images; None without such a set.
            scores: (N, 15), in their order.
        """
        last, thresholds = self.epochs[-1], None
        value = -(last.loss or 0.0)
        if validation is not None:
            value = last.auc_validation = macro_auc(validation.labels, scores)
            thresholds = choose_thresholds(
                validation.labels, scores, FINDINGS, self.config.output.sensitivity
            )
        self.course = self.course.after(value, self.config.training, thresholds)
        return self.course.best_epoch == self.course.epochs

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights are scored in the end; None is the last."""
        return self.course.best_epoch if self.config.data.validation_fraction else None

    def score(self, test: Subset, scores: np.ndarray) -> None:
        """Note the scores of the run, by the same functions for every runner.

        Args:
            test: the readable test images.
            scores: (N, 15), in their order.

        Raises:
            UserError: a score is NaN or infinite.
        """
        if not np.isfinite(scores).all():
            raise UserError(
                "The trained model gives scores that are not finite: it diverged. "
                f"Lower training.learning_rate={self.config.training.learning_rate}."
            )
        scored = self.epochs[(self.best_epoch or len(self.epochs)) - 1]
        scored.auc_macro = macro_auc(test.labels, scores)
        found = (test.labels, scores, test.patients, FINDINGS)
        seed = self.config.data.seed
        self.scores = score_predictions(*found, seed)
        self.calibration = score_calibration(*found, self.course.thresholds or {}, seed)

    def epochs_before(self) -> int:
        """Epochs that earlier tries finished."""
        return len(self.resume.progress.epochs) if self.resume else 0

    def note_first_step(self, seconds_ago: float = 0.0) -> None:
        """Note when the run's first training step began; later calls do nothing."""
        if self.first_step_seconds is None:
            self.first_step_seconds = self.timer.elapsed_seconds() - seconds_ago

    def add_workers(self, reports: Sequence[Any]) -> None:
        """Add one round of every worker to the table of workers.

        Args:
            reports: one a worker, each with `worker`, `images`, `fit_seconds`,
                `cpu_seconds` and `peak_memory_bytes`.
        """
        before = {worker.worker: worker for worker in self.per_worker}
        for report in reports:
            known = before.get(report.worker)
            before[report.worker] = Worker(
                worker=report.worker,
                images=report.images,
                fit_seconds=report.fit_seconds + (known.fit_seconds if known else 0),
                cpu_seconds=report.cpu_seconds + (known.cpu_seconds if known else 0),
                peak_memory_bytes=max(
                    report.peak_memory_bytes, known.peak_memory_bytes if known else 0
                ),
            )
        self.per_worker = [before[number] for number in sorted(before)]

    def checkpoint(self, arrays: Sequence[np.ndarray]) -> Checkpoint:
        """The run as it stands after an epoch; later changes do not reach it.

        Args:
            arrays: what training goes on from; they must not change any more.
        """
        progress = Progress(
            work=work_of(self),
            workers=self.workers,
            epochs=self.epochs,
            seconds=self.timer.seconds,
            cpu_seconds=self.timer.cpu_seconds,
            total_seconds=self.timer.elapsed_seconds(),
            per_worker=self.per_worker,
            exchange=self.exchange,
            course=self.course,
            peak_memory_bytes=self.peak_memory_bytes(),
            first_step_seconds=self.first_step_seconds,
            resumed=self.resumed,
            retries=self.retries,
        )
        return Checkpoint(progress.model_copy(deep=True), list(arrays))

    def save(self, arrays: Sequence[np.ndarray]) -> None:
        """Keep the run as it stands after an epoch, where that is wanted."""
        self.log()
        if self.checkpoint_file:
            self.checkpoint_file.save(self.checkpoint(arrays))

    def check_resume(self, loaded: bool) -> None:
        """Refuse to resume with other data or another number of workers.

        Args:
            loaded: whether it is known by now which images are unreadable.

        Raises:
            UserError: something differs; it says what.
        """
        if not self.resume:
            return
        before, unknown = self.resume.progress, set()
        if not loaded:
            unknown.add("dataset.skipped")
        if self.initial_weights is None:
            unknown.add("model.weights")
        check_same_work(before.work, work_of(self), unknown)
        if self.workers and self.workers != before.workers:
            raise UserError(
                f"--resume needs the {before.workers} worker(s) of the first try. Got "
                f"{self.workers}. Set runner.workers as before on a cluster with as "
                "many slots, or start without --resume."
            )

    def take_up(self, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
        """Arrays of these shapes to go on from; none when nothing is resumed.

        What the earlier tries did and measured is added to this journal.

        Raises:
            UserError: the checkpoint is of another model.
        """
        if not self.resume:
            return []
        check_shapes(self.resume.arrays, shapes)
        before = self.resume.progress
        self.timer.add_earlier(before.seconds, before.cpu_seconds, before.total_seconds)
        self.epochs = list(before.epochs)
        self.per_worker = list(before.per_worker)
        self.exchange = before.exchange
        self.course = before.course
        self.retries = list(before.retries)
        self.earlier_peak_bytes = before.peak_memory_bytes
        self.first_step_seconds = before.first_step_seconds
        this_try = Resume(
            epoch=len(before.epochs),
            earlier_seconds=before.total_seconds,
            resumed=utc_now(),
        )
        self.resumed = [*before.resumed, this_try]
        return self.resume.arrays

    def train_images(self) -> int:
        """Readable training images; 0 before the data set is known."""
        if not self.dataset:
            return 0
        return self.readable(self.dataset.train)

    def readable(self, subset: Subset | None) -> int:
        """Images of `subset` that could be read; 0 without one."""
        return sum(name not in self.skipped for name in subset.names) if subset else 0

    def peak_memory_bytes(self) -> int:
        """Of this process, or of an earlier try's."""
        return max(self.earlier_peak_bytes, peak_memory_bytes())


def work_of(journal: Journal) -> dict[str, Any]:
    """Everything that makes two runs the same work; empty before the data is known."""
    if not journal.dataset:
        return {}
    parts = journal.dataset.identity(journal.config.data)
    parts["dataset"]["skipped"] = sorted(journal.skipped)
    model = journal.config.model.model_dump(mode="json")
    if model["weights"] not in (None, "imagenet"):
        model["weights"] = journal.initial_weights  # what is in the file, not its name
    training = journal.config.training.model_dump(mode="json")
    del training["evaluate_every_epoch"]
    return {**parts, "model": model, "training": training}
