"""What the epochs of a run were, and what they mean for those to come."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from xray.records.record import Epoch, Retry, Worker
from xray.training.schedule import Course


@dataclass(frozen=True)
class TrainedEpoch:
    """What an engine tells of an epoch that it trained.

    Attributes:
        seconds: it took.
        loss: mean over its images; None when unknown.
        learning_rate: of its last step; None when unknown.
        wait_seconds: for which training waited for images; None when unknown.
        elapsed_seconds: from the program's start to the epoch's end; None is now.
        sync_gap_seconds: in which no worker trained before it; None when unknown.
        worker_seconds: of training, for each worker.
        images: counted by those who trained them; None when nobody counts.
    """

    seconds: float
    loss: float | None
    learning_rate: float | None = None
    wait_seconds: float | None = None
    elapsed_seconds: float | None = None
    sync_gap_seconds: float | None = None
    worker_seconds: Sequence[float] = ()
    images: int | None = None


@dataclass
class EpochLog:
    """Filled in epoch by epoch.

    Attributes:
        epochs: finished, those of earlier tries first.
        per_worker: what each worker used, summed over the epochs.
        course: what the epochs so far mean for those to come.
        retries: starts of all workers anew.
        first_step_seconds: from the program's start to the first training step.
    """

    epochs: list[Epoch] = field(default_factory=list)
    per_worker: list[Worker] = field(default_factory=list)
    course: Course = field(default_factory=Course)
    retries: list[Retry] = field(default_factory=list)
    first_step_seconds: float | None = None

    def add(self, trained: TrainedEpoch, images: int, elapsed_seconds: float) -> None:
        """Note a finished epoch.

        Args:
            trained: as the engine tells of it.
            images: that it trained.
            elapsed_seconds: from the program's start to now.
        """
        seconds, waited = trained.seconds, trained.wait_seconds
        self.epochs.append(
            Epoch(
                epoch=len(self.epochs) + 1,
                seconds=seconds,
                images_per_second=images / seconds,
                loss=trained.loss,
                learning_rate=trained.learning_rate,
                elapsed_seconds=trained.elapsed_seconds or elapsed_seconds,
                sync_gap_seconds=trained.sync_gap_seconds,
                worker_seconds=list(trained.worker_seconds),
                images=trained.images,
                data_wait_fraction=None if waited is None else waited / seconds,
            )
        )

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
