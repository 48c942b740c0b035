"""The record of a run, from its journal."""

from typing import Any, Literal

from xray.common.redaction import redacted
from xray.records.machine import describe_machine, git_state, package_versions
from xray.records.record import (
    Images,
    Phases,
    Rates,
    RunRecord,
    Source,
    new_run_id,
    utc_now,
    work_id,
)
from xray.training.journal import Journal


def build_record(
    journal: Journal,
    status: Literal["success", "failed", "aborted"] = "success",
    error: str | None = None,
) -> RunRecord:
    """The record of a run as far as it came, without secrets and host names.

    Args:
        journal: of the run.
        status: how it ended.
        error: why it failed or was aborted.
    """
    created, git = utc_now(), git_state()
    work = journal.work()
    return RunRecord(
        run_id=new_run_id(
            created, journal.runner, journal.workers, git["commit"] or ""
        ),
        created=created,
        status=status,
        error=redacted(error),
        runner=journal.runner,
        workers=journal.workers,
        threads_per_worker=journal.threads_per_worker,
        mode=journal.mode,
        frequency=journal.frequency,
        engine=journal.engine,
        best_epoch=journal.best_epoch,
        exchange=journal.exchange,
        resumed=journal.tries.resumed,
        retries=[
            retry.model_copy(update={"reason": redacted(retry.reason)})
            for retry in journal.log.retries
        ],
        global_batch_size=_global_batch_size(journal),
        seed=journal.config.training.seed,
        config=redacted(journal.config.to_dict()),
        work_id=work_id(work) if work else None,
        work=work,
        initial_weights=journal.initial_weights,
        first_step_seconds=journal.log.first_step_seconds,
        phases=Phases(**journal.timer.phases()),
        epochs=journal.log.epochs,
        images=_images(journal),
        source=Source(store=journal.store, cached=journal.cached),
        images_trained=journal.train_images() * len(journal.log.epochs),
        images_per_second=_rates(journal),
        cpu_seconds=_cpu_seconds(journal),
        driver_peak_memory_bytes=journal.peak_memory_bytes(),
        per_worker=journal.log.per_worker,
        scores=journal.scores,
        calibration=journal.calibration,
        machine={**describe_machine(), **_noted_machine(journal)},
        packages=package_versions(),
        git=git,
        tensorboard=str(journal.events.folder) if journal.events else None,
    )


def _global_batch_size(journal: Journal) -> int | None:
    return journal.workers and journal.workers * journal.config.training.batch_size


def _noted_machine(journal: Journal) -> dict[str, Any]:
    noted = dict(journal.machine)
    if "spark_master" in noted:
        noted["spark_master"] = redacted(noted["spark_master"])
    return noted


def _images(journal: Journal) -> Images:
    if not journal.dataset:
        return Images()
    return Images(
        listed=journal.dataset.listed,
        matched=len(journal.dataset),
        train=journal.train_images(),
        test=journal.readable(journal.dataset.test),
        validation=journal.readable(journal.dataset.validation),
        skipped=[
            {"image": name, "reason": redacted(reason)}
            for name, reason in journal.skipped.items()
        ],
    )


def _rates(journal: Journal) -> Rates:
    images, epochs = journal.train_images(), journal.log.epochs
    firsts = {1, *(resume.epoch + 1 for resume in journal.tries.resumed)}
    later = [epoch for epoch in epochs if epoch.epoch not in firsts]
    fit_seconds = journal.timer.seconds["fit"]
    return Rates(
        overall=images * len(epochs) / fit_seconds if epochs else None,
        steady=images * len(later) / sum(e.seconds for e in later) if later else None,
    )


def _cpu_seconds(journal: Journal) -> dict[str, float]:
    """The driving process by phase; in `fit`, the workers' seconds are added."""
    seconds = dict(journal.timer.cpu_seconds)
    seconds["fit"] += sum(worker.cpu_seconds for worker in journal.log.per_worker)
    return seconds
