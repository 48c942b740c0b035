"""The record of a run, from its journal."""

from typing import Literal

from xray.records.machine import describe_machine, git_state, package_versions
from xray.records.record import (
    Images,
    Phases,
    Rates,
    RunRecord,
    new_run_id,
    utc_now,
    work_id,
)
from xray.training.journal import Journal, work_of


def build_record(
    journal: Journal,
    status: Literal["success", "failed", "aborted"] = "success",
    error: str | None = None,
) -> RunRecord:
    """The record of a run as far as it came.

    Args:
        journal: of the run.
        status: how it ended.
        error: why it failed or was aborted.
    """
    created, git = utc_now(), git_state()
    work = work_of(journal)
    return RunRecord(
        run_id=new_run_id(
            created, journal.runner, journal.workers, git["commit"] or ""
        ),
        created=created,
        status=status,
        error=error,
        runner=journal.runner,
        workers=journal.workers,
        threads_per_worker=journal.threads_per_worker,
        mode=journal.mode,
        frequency=journal.frequency,
        engine=journal.engine,
        best_epoch=journal.best_epoch,
        exchange=journal.exchange,
        resumed=journal.resumed,
        retries=journal.retries,
        global_batch_size=_global_batch_size(journal),
        seed=journal.config.training.seed,
        config=journal.config.to_dict(),
        work_id=work_id(work) if work else None,
        work=work,
        initial_weights=journal.initial_weights,
        first_step_seconds=journal.first_step_seconds,
        phases=Phases(**journal.timer.phases()),
        epochs=journal.epochs,
        images=_images(journal),
        images_trained=journal.train_images() * len(journal.epochs),
        images_per_second=_rates(journal),
        cpu_seconds=_cpu_seconds(journal),
        driver_peak_memory_bytes=journal.peak_memory_bytes(),
        per_worker=journal.per_worker,
        scores=journal.scores,
        calibration=journal.calibration,
        machine={**describe_machine(), **journal.machine},
        packages=package_versions(),
        git=git,
        tensorboard=str(journal.events.folder) if journal.events else None,
    )


def _global_batch_size(journal: Journal) -> int | None:
    return journal.workers and journal.workers * journal.config.training.batch_size


def _images(journal: Journal) -> Images:
    if not journal.dataset:
        return Images()
    return Images(
        listed=journal.dataset.listed,
        matched=len(journal.dataset),
        train=journal.train_images(),
        test=journal.readable(journal.dataset.test),
        validation=journal.readable(journal.dataset.validation),
        skipped=[{"image": n, "reason": r} for n, r in journal.skipped.items()],
    )


def _rates(journal: Journal) -> Rates:
    images = journal.train_images()
    firsts = {1, *(resume.epoch + 1 for resume in journal.resumed)}
    later = [epoch for epoch in journal.epochs if epoch.epoch not in firsts]
    fit_seconds = journal.timer.seconds["fit"]
    return Rates(
        overall=images * len(journal.epochs) / fit_seconds if journal.epochs else None,
        steady=images * len(later) / sum(e.seconds for e in later) if later else None,
    )


def _cpu_seconds(journal: Journal) -> dict[str, float]:
    """The driving process by phase; in `fit`, the workers' seconds are added."""
    seconds = dict(journal.timer.cpu_seconds)
    seconds["fit"] += sum(worker.cpu_seconds for worker in journal.per_worker)
    return seconds
