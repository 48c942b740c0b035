"""What a run has reached, on disk after every epoch, so that `--resume` can go on."""

import hashlib
import json
import logging
import threading
import zipfile
import zlib
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np

from xray.common.errors import UserError
from xray.common.files import write_whole
from xray.config.run import RunConfig
from xray.records.record import Epoch, Part, Resume, Retry, Worker, work_differences
from xray.storage.results_folder import ResultsFolder
from xray.training.checkpoint_disk import (
    held,
    remove_if_empty,
    set_aside,
    write_arrays,
)
from xray.training.schedule import Course

logger = logging.getLogger(__name__)

# Settings that may change between two tries of one run: how data and cluster are
# reached, memory, which may be why the first try died, and where models go.
CHANGEABLE = {
    "data": (
        *("credentials", "endpoint_url", "staged"),
        *("read_threads", "cache_dir", "memory_mib", "subgroups"),
    ),
    "training": ("scored_epochs",),
    "runner": (
        *("master", "executor_memory", "spark_conf"),
        *("wait_for_workers", "min_workers"),
    ),
    "output": ("models", "tensorboard"),
}
UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints below that of the results."""
PROGRESS = "progress"  # entry of the file beside the arrays


class Progress(Part):
    """What a run has done and measured up to the end of an epoch."""

    work: dict[str, Any]
    """What RunRecord.work holds: the images must still be the same."""
    workers: int | None
    epochs: list[Epoch]
    seconds: dict[str, float]
    """Wall seconds per phase."""
    cpu_seconds: dict[str, float]
    """CPU seconds of the driving process per phase."""
    total_seconds: float
    """From the start of the program, earlier tries included."""
    per_worker: list[Worker]
    exchange: dict[str, int] | None
    course: Course = Course()
    peak_memory_bytes: int
    first_step_seconds: float | None
    resumed: list[Resume]
    retries: list[Retry]


@dataclass(frozen=True)
class Checkpoint:
    """The end of an epoch.

    Attributes:
        progress: what was done and measured.
        arrays: what training goes on from, as the runner that saved it wants it.
    """

    progress: Progress
    arrays: list[np.ndarray]


class CheckpointFile:
    """The one checkpoint of a configuration and runner below a results folder.

    Without `--resume` a file that an earlier run left is set aside when this one has
    something to put in its place.

    Attributes:
        path: where it is, in `checkpoints/`.
        saved_epochs: finished epochs in the file that this process wrote or read.
    """

    def __init__(self, results: ResultsFolder, runner: str, config: RunConfig) -> None:
        settings = config.to_dict()
        for section, names in CHANGEABLE.items():
            for name in names:
                settings[section].pop(name, None)  # what is not set may be left out
        for name in ("balance", "outer_momentum"):
            if not settings["runner"][name]:  # earlier versions knew no such setting
                del settings["runner"][name]
        if config.runner.min_workers is not None:
            del settings["runner"]["workers"]
        text = json.dumps([runner, settings], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.path = results.folder / CHECKPOINTS / f"{runner}_{digest}.npz"
        self.saved_epochs = 0
        self._results = results
        self._own = False  # this run wrote or read it

    def held(self) -> AbstractContextManager[None]:
        """Keeps other runs off the file while its block runs.

        Raises:
            UserError: another run of this configuration is under way.
        """
        return held(self.path)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the file, whole or not at all; a full disk is no reason to stop."""
        numbered = {f"{n:04}": array for n, array in enumerate(checkpoint.arrays)}
        progress = checkpoint.progress.model_dump_json().encode()
        content = np.frombuffer(progress, np.uint8)

        def write(file: IO[bytes]) -> None:
            write_arrays(file, {PROGRESS: content, **numbered})
            if not self._own and self.path.exists():
                set_aside(self.path, self._results)

        try:
            write_whole(self.path, write)
            self._own = True
            self._results.bring(self.path)
        except (OSError, UserError) as error:
            reason = getattr(error, "strerror", error)
            logger.warning("Checkpoint %s cannot be written: %s", self.path, reason)
            return
        self.saved_epochs = len(checkpoint.progress.epochs)

    def load(self) -> Checkpoint:
        """The checkpoint in the file.

        Raises:
            UserError: there is none, or it is damaged.
        """
        self._own = True
        if not self.path.is_file():
            raise UserError(
                f"--resume found no checkpoint of this configuration ({self.path}). "
                "Give the same configuration and --results as before, or start without "
                "--resume."
            )
        try:
            with np.load(self.path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in sorted(file.files)}
            content = arrays.pop(PROGRESS).tobytes()
            progress = Progress.model_validate_json(content)
        except UNREADABLE as error:
            raise UserError(
                f"Checkpoint {self.path} is damaged ({type(error).__name__}). Start "
                "without --resume."
            ) from None
        self.saved_epochs = len(progress.epochs)
        return Checkpoint(progress, list(arrays.values()))

    def remove(self) -> None:
        """Delete the file, if this run wrote or read it, and the folder if it is empty.

        What killed runs left of unfinished writes goes as well.

        Raises:
            UserError: S3 refuses.
        """
        if self.saved_epochs:
            self._results.delete(self.path)
        for path in self.path.parent.glob(f"{self.path.name}.*.tmp"):
            path.unlink(missing_ok=True)
        remove_if_empty(self.path.parent)

    def with_hint(self, reason: str) -> str:
        """Why a run ended early, and how it can go on if an epoch was finished."""
        if not self.saved_epochs:
            return reason
        kept = f"Epoch {self.saved_epochs} is kept: --resume goes on from there."
        return f"{reason.removesuffix('.')}. {kept}"


def check_resumable(config: RunConfig) -> None:
    """Refuse `--resume` where training has no state between epochs.

    Raises:
        UserError: the mode is asynchronous or hogwild.
    """
    if config.runner.mode != "synchronous":
        raise UserError(
            "--resume needs runner.mode=synchronous: workers of the other modes finish "
            f"no epoch together. Got {config.runner.mode}. Start without --resume."
        )


def check_same_work(
    then: dict[str, Any], now: dict[str, Any], unknown: Collection[str] = ()
) -> None:
    """Refuse to go on with other data than the first try had.

    Args:
        then: work in the checkpoint.
        now: work of this try.
        unknown: dotted names of fields that this try does not know yet.

    Raises:
        UserError: the works differ; it names the fields.
    """
    differing = [name for name in work_differences(then, now) if name not in unknown]
    if differing:
        raise UserError(
            "--resume needs the data of the first try. Now differing: "
            f"{', '.join(differing)}. Put it back, or start without --resume."
        )


def check_shapes(
    arrays: Sequence[np.ndarray], shapes: Sequence[tuple[int, ...]]
) -> None:
    """Refuse the arrays of another model.

    Raises:
        UserError: they do not have these shapes.
    """
    if [array.shape for array in arrays] != [tuple(shape) for shape in shapes]:
        raise UserError(
            "The checkpoint is of another model: this version of the program or of "
            "Keras builds it differently. Start without --resume, or go on with the "
            "version that began the run."
        )


@dataclass
class Tries:
    """The tries of one run: those before this one, and those that may come.

    Attributes:
        file: kept after every epoch; None keeps nothing.
        resume: what `--resume` goes on from.
        resumed: a line for each try that went on, this one too.
        earlier_peak_bytes: the most memory that the driver of an earlier try took.
    """

    file: CheckpointFile | None = None
    resume: Checkpoint | None = None
    resumed: list[Resume] = field(default_factory=list)
    earlier_peak_bytes: int = 0

    def epochs_before(self) -> int:
        """Epochs that earlier tries finished."""
        return len(self.resume.progress.epochs) if self.resume else 0


class BackgroundSaver:
    """Saves in a thread of its own; a newer checkpoint replaces one that waits.

    Args:
        file: where; None where nothing will be saved.
    """

    def __init__(self, file: CheckpointFile | None) -> None:
        self._file = file
        self._waiting: Checkpoint | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def save(self, checkpoint: Checkpoint) -> None:
        """Save it soon; its arrays must not change any more."""
        with self._changed:
            self._waiting = checkpoint
            self._changed.notify()

    def __enter__(self) -> "BackgroundSaver":
        """Itself, already waiting."""
        return self

    def __exit__(self, *_: object) -> None:
        """Write what still waits, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                checkpoint, self._waiting = self._waiting, None
            if checkpoint is None:
                return
            self._file.save(checkpoint)
