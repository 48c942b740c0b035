"""A run's scalars for TensorBoard, written as its epochs finish."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xray.common.errors import UserError
from xray.records.record import Epoch, RunRecord

logger = logging.getLogger(__name__)

# Of an epoch: what is no curve of its own.
NO_CURVES = {"epoch", "elapsed_seconds"}


class TensorBoardLog:
    """One event file in a folder of its own, opened at once.

    It is made of the parts of the tensorboard package that do without TensorFlow. The
    package's EventFileWriter imports it where it is installed, which a JAX process must
    not do; and has a thread of its own, which a single-threaded run must not have.

    Args:
        parent: folder of all runs; TensorBoard's --logdir.
        name: of this run in it.

    Attributes:
        folder: of this run.

    Raises:
        UserError: the file cannot be made.
    """

    def __init__(self, parent: Path, name: str) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.folder = parent / name
        self._written: set[tuple[str, int]] = set()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"events.out.tfevents.{time.time_ns()}"
            file = open(path, "xb", buffering=0)  # an event is one write
        except OSError as error:
            raise UserError(
                f"output.tensorboard {parent} cannot be written: {error.strerror}. "
                "Choose another folder."
            ) from None
        self._writer: Any = RecordWriter(file)
        self._write(time.time(), file_version="brain.Event:2")

    def add_epochs(self, epochs: Sequence[Epoch], started: float) -> None:
        """Write what is known of the epochs and not written yet.

        So a score that comes after its epoch is added, and a resumed run has the curves
        of its earlier tries as well.

        Args:
            epochs: all so far.
            started: when the run did, seconds since 1970.
        """
        for epoch in epochs:
            values = {
                f"epoch/{name}": value
                for name, value in epoch
                if name not in NO_CURVES and isinstance(value, int | float)
            }
            self._add(values, epoch.epoch, started + epoch.elapsed_seconds)

    def finish(self, record: RunRecord) -> None:
        """Write a run's final scores and phases, and close the file."""
        values = {
            f"phases/{phase}_seconds": seconds for phase, seconds in record.phases
        }
        if record.scores:
            values["auc/macro"] = record.scores.macro_auc.value
            for name, finding in record.scores.findings.items():
                values[f"auc/{name.replace(' ', '_')}"] = finding.auc.value
        self._add(values, len(record.epochs), time.time())
        if self._writer:
            self._writer.close()
            self._writer = None

    def _add(self, values: dict[str, float | None], step: int, at: float) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        new = [
            Summary.Value(tag=tag, simple_value=value)
            for tag, value in values.items()
            if value is not None and (tag, step) not in self._written
        ]
        if new:
            self._written |= {(value.tag, step) for value in new}
            self._write(at, step=step, summary=Summary(value=new))

    def _write(self, at: float, **content: Any) -> None:
        """One event, at once on disk; a full disk is no reason to stop the run."""
        from tensorboard.compat.proto.event_pb2 import Event

        if not self._writer:
            return
        try:
            self._writer.write(Event(wall_time=at, **content).SerializeToString())
        except OSError as error:
            logger.warning(
                "TensorBoard's %s cannot be written: %s", self.folder, error.strerror
            )
            self._writer = None
