"""Going on from an earlier try of the same run, and keeping what a later one needs."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from xray.common.errors import UserError
from xray.records.record import Resume, utc_now
from xray.training.checkpoint import (
    Checkpoint,
    Progress,
    check_same_work,
    check_shapes,
)
from xray.training.journal import Journal
from xray.training.schedule import Course


class Saver(Protocol):
    """What writes a checkpoint: a file, or a thread that writes one."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Write it, now or soon; its arrays must not change any more."""


def keep_epoch(
    journal: Journal, arrays: Sequence[np.ndarray], saver: Saver | None
) -> None:
    """Keep the run as it stands after an epoch, where that is wanted."""
    journal.show_epochs()
    if saver:
        saver.save(make_checkpoint(journal, arrays))


def make_checkpoint(journal: Journal, arrays: Sequence[np.ndarray]) -> Checkpoint:
    """The run as it stands after an epoch; later changes do not reach it.

    Args:
        journal: of the run.
        arrays: what training goes on from; they must not change any more.
    """
    log, timer = journal.log, journal.timer
    progress = Progress(
        work=journal.work(),
        workers=journal.workers,
        epochs=log.epochs,
        seconds=timer.seconds,
        cpu_seconds=timer.cpu_seconds,
        total_seconds=timer.elapsed_seconds(),
        per_worker=log.per_worker,
        exchange=journal.exchange,
        course=log.course,
        peak_memory_bytes=journal.peak_memory_bytes(),
        first_step_seconds=log.first_step_seconds,
        resumed=journal.tries.resumed,
        retries=log.retries,
    )
    return Checkpoint(progress.model_copy(deep=True), list(arrays))


def check_resume(journal: Journal, loaded: bool) -> None:
    """Refuse to resume with other data or another number of workers.

    That may change where `runner.min_workers` is set.

    Args:
        journal: of the run.
        loaded: whether it is known by now which images are unreadable.

    Raises:
        UserError: something differs; it says what.
    """
    if not journal.tries.resume:
        return
    before, unknown = journal.tries.resume.progress, set()
    if not loaded:
        unknown.add("dataset.skipped")
    if journal.initial_weights is None:
        unknown.add("model.weights")
    check_same_work(before.work, journal.work(), unknown)
    elastic = journal.config.runner.min_workers is not None
    if not elastic and journal.workers and journal.workers != before.workers:
        raise UserError(
            f"--resume needs the {before.workers} worker(s) of the first try. Got "
            f"{journal.workers}. Set runner.workers as before on a cluster with as "
            "many slots, set runner.min_workers as well (on both tries), or start "
            "without --resume."
        )


def take_up(journal: Journal, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """Arrays of these shapes to go on from; none when nothing is resumed.

    What the earlier tries did and measured is added to the journal.

    Raises:
        UserError: the checkpoint is of another model.
    """
    tries, log = journal.tries, journal.log
    if not tries.resume:
        return []
    check_shapes(tries.resume.arrays, shapes)
    before = tries.resume.progress
    journal.timer.add_earlier(before.seconds, before.cpu_seconds, before.total_seconds)
    log.epochs, log.per_worker = list(before.epochs), list(before.per_worker)
    log.course, log.retries = _whole_course(journal, before), list(before.retries)
    log.first_step_seconds = before.first_step_seconds
    journal.exchange = before.exchange
    tries.earlier_peak_bytes = before.peak_memory_bytes
    this_try = Resume(
        epoch=len(before.epochs),
        earlier_seconds=before.total_seconds,
        resumed=utc_now(),
    )
    tries.resumed = [*before.resumed, this_try]
    return tries.resume.arrays


def _whole_course(journal: Journal, before: Progress) -> Course:
    """The course of all epochs: version 0.1.0 kept none for stock Elephas."""
    course = before.course
    for epoch in before.epochs[course.epochs :]:
        course = course.after(-(epoch.loss or 0.0), journal.config.training)
    return course
