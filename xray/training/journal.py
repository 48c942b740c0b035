"""Journal: what a run is, has found and has scored so far, even if it fails."""

import time
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from xray.common.errors import UserError
from xray.common.progress import clock, tell
from xray.config.recipe import UNWORKED
from xray.config.run import RunConfig
from xray.data.dataset import Dataset, Subset
from xray.records.calibration import choose_thresholds, score_calibration
from xray.records.machine import peak_memory_bytes
from xray.records.metrics import macro_auc, score_predictions
from xray.records.predictions import TestPredictions, predictions_of
from xray.records.scores import Calibration, Scores
from xray.records.subgroups import score_subgroups
from xray.records.temperature import fit_temperature
from xray.records.timing import Timer
from xray.training.checkpoint import Tries
from xray.training.epoch_log import EpochLog, TrainedEpoch
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
        runner: a name in RUNNERS.
        config: the run.
        timer: its phases.
        store: where the images are, in words; None before that is known.
        cached: images that a cache of earlier runs held; None where nobody counts.
        skipped: unreadable images, by name, and why.
        initial_weights: their hash; None before the model is built.
        log: of the epochs.
        tries: how the run goes on after an earlier try, and a later one after this.
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
    machine: dict[str, Any] = field(default_factory=dict)
    store: str | None = None
    cached: int | None = None
    dataset: Dataset | None = None
    skipped: dict[str, str] = field(default_factory=dict)
    initial_weights: str | None = None
    log: EpochLog = field(default_factory=EpochLog)
    tries: Tries = field(default_factory=Tries)
    scores: Scores | None = None
    predictions: TestPredictions | None = None
    calibration: Calibration | None = None
    events: TensorBoardLog | None = None
    model: "keras.Model | None" = None
    models: dict[str, TrainedWeights] = field(default_factory=dict)

    def add_epoch(self, trained: TrainedEpoch) -> None:
        """Note a finished epoch."""
        images, elapsed = self.train_images(), self.timer.elapsed_seconds()
        self.log.add(trained, images, elapsed)
        self.show_epochs()

    def tell(self, words: str) -> None:
        """Say how far the run is, in a line that stays."""
        tell(words, self.timer.elapsed_seconds())

    def tell_loaded(self) -> None:
        """Say that the images are read, and how many there are to train on."""
        self.tell(f"{self.train_images()} images to train on are read")

    def tell_epoch(self) -> None:
        """Say what the last epoch came to, and how long those left will train."""
        epochs, recipe = self.log.epochs, self.config.training
        last, planned = epochs[-1], recipe.epochs
        to_come = 0 if self.log.course.ended(recipe) else planned - len(epochs)
        left = fmean(epoch.seconds for epoch in epochs) * to_come
        figures = (
            ("loss {:.4f}", last.loss),
            ("validation AUC {:.3f}", last.auc_validation),
            ("test AUC {:.3f}", last.auc_macro),
            ("{:.1f} images/s", last.images_per_second),
        )
        said = ", ".join(text.format(x) for text, x in figures if x is not None)
        more = f", {clock(left)} left to train" if left else ""
        self.tell(f"epoch {len(epochs)}/{planned}: {said}{more}")

    def show_epochs(self) -> None:
        """Tell TensorBoard what is new of the epochs, where that is wanted."""
        if self.events:
            started = time.time() - self.timer.elapsed_seconds()
            self.events.add_epochs(self.log.epochs, started)

    def note_first_step(self, seconds_ago: float = 0.0) -> None:
        """Note when the run's first training step began; later calls do nothing."""
        if self.log.first_step_seconds is None:
            elapsed = self.timer.elapsed_seconds()
            self.log.first_step_seconds = elapsed - seconds_ago

    def advance(
        self, validation: Subset | None = None, scores: np.ndarray | None = None
    ) -> bool:
        """Note what the last epoch means for the course; whether it is the best so far.

        Args:
            validation: the readable validation images; None without such a set.
            scores: (N, 15), in their order.
        """
        last, chosen = self.log.epochs[-1], ()
        value = -(last.loss or 0.0)
        if validation is not None:
            value = last.auc_validation = macro_auc(validation.labels, scores)
            chosen = (
                choose_thresholds(
                    *(validation.labels, scores, self.config.data.findings),
                    self.config.output.sensitivity,
                ),
                fit_temperature(validation.labels, scores),
            )
        course = self.log.course.after(value, self.config.training, *chosen)
        self.log.course = course
        return course.best_epoch == course.epochs

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights are scored in the end; None is the last."""
        chosen = self.config.data.validation_fraction
        return self.log.course.best_epoch if chosen else None

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
        epochs = self.log.epochs
        scored = epochs[(self.best_epoch or len(epochs)) - 1]
        scored.auc_macro = macro_auc(test.labels, scores)
        findings = self.config.data.findings
        found = (test.labels, scores, test.patients, findings)
        seed, course = self.config.data.seed, self.log.course
        self.scores = score_predictions(*found, seed)
        self.scores.subgroups = score_subgroups(*found, self._groups(test.names), seed)
        self.predictions = predictions_of(
            test.names, test.patients, test.labels, scores, findings
        )
        self.calibration = score_calibration(
            *found, course.thresholds or {}, seed, temperature=course.temperature
        )

    def _groups(self, names: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
        groups = self.dataset.subgroups if self.dataset else ()
        return {(one.column, one.condition): one.among(names) for one in groups}

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
        self.model, epochs = model, len(self.log.epochs)
        scored = TrainedWeights(model.get_weights(), self.best_epoch or epochs, True)
        if last is None:
            self.models = {"last": scored}
        else:
            unscored = TrainedWeights(last, epochs, scored.epoch == epochs)
            self.models = {"best": scored, "last": unscored}

    def train_images(self) -> int:
        """Readable training images; 0 before the data set is known."""
        return self.readable(self.dataset.train) if self.dataset else 0

    def readable(self, subset: Subset | None) -> int:
        """Images of `subset` that could be read; 0 without one."""
        return int(self.readable_rows(subset).sum()) if subset else 0

    def readable_rows(self, subset: Subset) -> np.ndarray:
        """Whether each image of `subset` could be read, bool (N,)."""
        return np.array([name not in self.skipped for name in subset.names], bool)

    def peak_memory_bytes(self) -> int:
        """Of this process, or of an earlier try's."""
        return max(self.tries.earlier_peak_bytes, peak_memory_bytes())

    def work(self) -> dict[str, Any]:
        """What makes two runs the same work; empty before the data is known."""
        if not self.dataset:
            return {}
        parts = self.dataset.identity(self.config.data)
        parts["dataset"]["skipped"] = sorted(self.skipped)
        model = self.config.model.model_dump(mode="json")
        if model["weights"] not in (None, "imagenet"):
            model["weights"] = self.initial_weights  # what the file holds, not its name
        training = self.config.training.model_dump(mode="json")
        for name in UNWORKED:
            del training[name]
        return {**parts, "model": model, "training": training}
