"""The end of a run: models, record, checkpoint, whatever becomes of each of them."""

import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xray.common.command import FAULT, INTERRUPTED, report_error, verdict
from xray.common.errors import UserError
from xray.records.record import RunRecord
from xray.records.wording import plain_interval
from xray.runners.output import save_models
from xray.storage.results_folder import ResultsFolder
from xray.training.journal import Journal
from xray.training.recording import build_record


class Ending:
    """Ends a run step by step: a step that fails is told, and the next one is taken.

    Args:
        journal: of the run.
        results: folder of the record.
        debug: whether to show where a fault of the program was.
    """

    def __init__(
        self, journal: Journal, results: ResultsFolder, debug: bool = False
    ) -> None:
        self._journal, self._results, self._debug = journal, results, debug
        self._file = journal.tries.file
        self._code = 0
        self._lasts = True  # all that was computed is where the user wants it

    def succeed(self, record: RunRecord) -> int:
        """Save models and record, remove the checkpoint; the exit code.

        The checkpoint stays unless both are where they belong.
        """
        with self._step("No model is saved"):
            self._save_models(record)
        self._write(record)
        _print_summary(record)
        for which, model in (record.models or {}).items():
            print(f"{which} model: {model.path}", file=sys.stderr)
        if self._lasts:
            with self._step("The checkpoint is not removed"):
                self._file.remove()
        return self._code

    def fail(self, error: BaseException) -> int:
        """Write the record of a run that `error` ended; the exit code."""
        text, code = verdict(error)
        reason = self._file.with_hint(text)
        self._write(
            build_record(
                self._journal, "aborted" if code == INTERRUPTED else "failed", reason
            )
        )
        if code != INTERRUPTED:
            self._tell(error, reason)
        return code

    def _save_models(self, record: RunRecord) -> None:
        failure, self._lasts = save_models(self._journal, record, self._results.root)
        if failure and not self._lasts:
            failure = self._file.with_hint(failure)
        if failure:
            self._code = self._code or report_error(failure, UserError.exit_code)

    def _write(self, record: RunRecord) -> None:
        with self._step("The record is lost"):
            print(f"{record.status} record: {self._place(record)}", file=sys.stderr)
        with self._step("TensorBoard's events are not complete"):
            self._journal.show_epochs()
            if self._journal.events:
                self._journal.events.finish(record)

    def _place(self, record: RunRecord) -> str:
        """Where the record is now: in the results if they have room."""
        try:
            return self._bring(self._write_into(self._results.folder, record))
        except OSError as error:
            reason = f"The record cannot be written to {self._results.folder}"
            reason = f"{reason}: {error.strerror}"
        try:
            place = str(self._write_into(Path(tempfile.gettempdir()), record)[-1])
        except OSError:  # that is full as well
            print(record.model_dump_json(), file=sys.stderr)
            place = "the line above"
        self._lasts = False
        advice = f"{reason}. It is in {place}: make room and move it there"
        self._code = report_error(self._file.with_hint(advice), UserError.exit_code)
        return place

    def _write_into(self, folder: Path, record: RunRecord) -> list[Path]:
        """Write the record, after the probabilities that lie beside it."""
        predictions, paths = self._journal.predictions, []
        if predictions and record.status == "success":
            paths.append(predictions.write(folder, record.run_id))
        return [*paths, record.write(folder)]

    def _bring(self, paths: list[Path]) -> str:
        """Where the last of these files is for good, or here if S3 refuses one."""
        try:
            return [self._results.bring(path) for path in paths][-1]
        except UserError as error:
            self._lasts = False
            advice = (
                f"{error} The record is in {paths[-1]}: copy it to {self._results.root}"
            )
        self._code = report_error(self._file.with_hint(advice), UserError.exit_code)
        return str(paths[-1])

    @contextmanager
    def _step(self, failure: str) -> Iterator[None]:
        """Tell what went wrong in the block, after `failure`, and go on."""
        try:
            yield
        except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 - told
            self._lasts = False
            text = verdict(error)[0]
            reason = self._file.with_hint(f"{failure}: {text}")
            self._code = self._tell(error, reason)

    def _tell(self, error: BaseException, reason: str) -> int:
        code = verdict(error)[1]
        if code != FAULT:
            return report_error(reason, code)
        if self._debug:
            traceback.print_exception(error)
        return report_error(f"{reason} (--debug shows where)", code)


def _print_summary(record: RunRecord) -> None:
    scores, steady = record.scores, record.images_per_second.steady
    steady_text = f", {steady:.1f} from the second epoch" if steady else ""
    print(
        f"{record.runner}, {record.workers} worker(s): fit {record.phases.fit:.1f} s, "
        f"total {record.phases.total:.1f} s, "
        f"{record.images_per_second.overall:.1f} images/s{steady_text}; "
        f"macro AUC (95%) {plain_interval(scores.macro_auc, 3)} over "
        f"{scores.findings_scored} findings"
    )
