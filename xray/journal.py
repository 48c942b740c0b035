"""Journal: what a run has found and measured so far; its record, even if it fails."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from xray.checkpoint import (
    Checkpoint,
    CheckpointFile,
    Progress,
    check_same_work,
    check_shapes,
)
from xray.config import RunConfig
from xray.dataset import Dataset
from xray.errors import UserError
from xray.machine import (
    describe_machine,
    git_state,
    package_versions,
    peak_memory_bytes,
)
from xray.record import (
    Epoch,
    Images,
    Phases,
    Rates,
    Resume,
    Retry,
    RunRecord,
    Scores,
    Worker,
    new_run_id,
    utc_now,
    work_id,
)
from xray.timing import Timer


@dataclass
class Journal:
    """Filled in by a runner while it works.

    Attributes:
        runner: sequential, gpu or elephas.
        config: the run.
        timer: its phases.
        checkpoint_file: kept after every epoch; None keeps nothing.
        resume: what `--resume` goes on from.
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
    machine: dict[str, Any] = field(default_factory=dict)
    checkpoint_file: CheckpointFile | None = None
    resume: Checkpoint | None = None
    resumed: list[Resume] = field(default_factory=list)
    retries: list[Retry] = field(default_factory=list)
    peak_memory_bytes: int = 0
    first_step_seconds: float | None = None

    def add_epoch(
        self,
        seconds: float,
        loss: float | None,
        elapsed_seconds: float | None = None,
        wait_seconds: float | None = None,
    ) -> None:
        """Note a finished epoch.

        Args:
            seconds: it took to train.
            loss: mean over its images; None when unknown.
            elapsed_seconds: from the program's start to the epoch's end; None is now.
            wait_seconds: for which training waited for images; None when unknown.
        """
        images = self.train_images()
        self.epochs.append(
            Epoch(
                epoch=len(self.epochs) + 1,
                seconds=seconds,
                images_per_second=images / seconds,
                loss=loss,
                elapsed_seconds=elapsed_seconds or self.timer.elapsed_seconds(),
                data_wait_fraction=None
                if wait_seconds is None
                else wait_seconds / seconds,
            )
        )

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
            work=self._work(),
            workers=self.workers,
            epochs=self.epochs,
            seconds=self.timer.seconds,
            cpu_seconds=self.timer.cpu_seconds,
            total_seconds=self.timer.elapsed_seconds(),
            per_worker=self.per_worker,
            exchange=self.exchange,
            peak_memory_bytes=self._peak_memory_bytes(),
            first_step_seconds=self.first_step_seconds,
            resumed=self.resumed,
            retries=self.retries,
        )
        return Checkpoint(progress.model_copy(deep=True), list(arrays))

    def save(self, arrays: Sequence[np.ndarray]) -> None:
        """Keep the run as it stands after an epoch, where that is wanted."""
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
        check_same_work(before.work, self._work(), unknown)
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
        self.retries = list(before.retries)
        self.peak_memory_bytes = before.peak_memory_bytes
        self.first_step_seconds = before.first_step_seconds
        this_try = Resume(
            epoch=len(before.epochs),
            earlier_seconds=before.total_seconds,
            resumed=utc_now(),
        )
        self.resumed = [*before.resumed, this_try]
        return self.resume.arrays

    def record(
        self,
        status: Literal["success", "failed", "aborted"] = "success",
        error: str | None = None,
    ) -> RunRecord:
        """The record of the run as far as it came."""
        created, git = utc_now(), git_state()
        work = self._work()
        return RunRecord(
            run_id=new_run_id(created, self.runner, self.workers, git["commit"] or ""),
            created=created,
            status=status,
            error=error,
            runner=self.runner,
            workers=self.workers,
            threads_per_worker=self.threads_per_worker,
            mode=self.mode,
            frequency=self.frequency,
            engine=self.engine,
            exchange=self.exchange,
            resumed=self.resumed,
            retries=self.retries,
            global_batch_size=self._global_batch_size(),
            seed=self.config.training.seed,
            config=self.config.to_dict(),
            work_id=work_id(work) if work else None,
            work=work,
            initial_weights=self.initial_weights,
            first_step_seconds=self.first_step_seconds,
            phases=Phases(**self.timer.phases()),
            epochs=self.epochs,
            images=self._images(),
            images_trained=self.train_images() * len(self.epochs),
            images_per_second=self._rates(),
            cpu_seconds=self._cpu_seconds(),
            driver_peak_memory_bytes=self._peak_memory_bytes(),
            per_worker=self.per_worker,
            scores=self.scores,
            machine={**describe_machine(), **self.machine},
            packages=package_versions(),
            git=git,
        )

    def train_images(self) -> int:
        """Readable training images; 0 before the data set is known."""
        if not self.dataset:
            return 0
        return sum(name not in self.skipped for name in self.dataset.train.names)

    def _global_batch_size(self) -> int | None:
        return self.workers and self.workers * self.config.training.batch_size

    def _images(self) -> Images:
        if not self.dataset:
            return Images()
        train, test = self.dataset.train, self.dataset.test
        return Images(
            listed=self.dataset.listed,
            matched=len(train) + len(test),
            train=self.train_images(),
            test=sum(name not in self.skipped for name in test.names),
            skipped=[{"image": n, "reason": r} for n, r in self.skipped.items()],
        )

    def _rates(self) -> Rates:
        images = self.train_images()
        firsts = {1, *(resume.epoch + 1 for resume in self.resumed)}
        later = [epoch for epoch in self.epochs if epoch.epoch not in firsts]
        fit_seconds = self.timer.seconds["fit"]
        return Rates(
            overall=images * len(self.epochs) / fit_seconds if self.epochs else None,
            steady=images * len(later) / sum(e.seconds for e in later)
            if later
            else None,
        )

    def _cpu_seconds(self) -> dict[str, float]:
        """The driving process by phase; in `fit`, the workers' seconds are added."""
        seconds = dict(self.timer.cpu_seconds)
        seconds["fit"] += sum(worker.cpu_seconds for worker in self.per_worker)
        return seconds

    def _peak_memory_bytes(self) -> int:
        """Of this process, or of an earlier try's."""
        return max(self.peak_memory_bytes, peak_memory_bytes())

    def _work(self) -> dict[str, Any]:
        if not self.dataset:
            return {}
        parts = self.dataset.identity(self.config.data)
        parts["dataset"]["skipped"] = sorted(self.skipped)
        model = self.config.model.model_dump(mode="json")
        if model["weights"] not in (None, "imagenet"):
            model["weights"] = self.initial_weights  # what is in the file, not its name
        training = self.config.training.model_dump(mode="json")
        del training["evaluate_every_epoch"]
        return {**parts, "model": model, "training": training}
