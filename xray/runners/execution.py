"""One run from its command line's options to its record on disk, however it ends."""

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Callable

from xray.common.command import FAULT, INTERRUPTED, report_error, verdict
from xray.config.file import load_config
from xray.config.run import RunConfig, check_runner
from xray.config.runners import RUNNERS
from xray.records.record import RunRecord
from xray.records.timing import Timer, program_age_seconds
from xray.records.wording import plain_interval
from xray.runners.output import check_output, open_events, save_models
from xray.storage.place import check_folder
from xray.training.checkpoint import (
    Checkpoint,
    CheckpointFile,
    Tries,
    check_resumable,
)
from xray.training.journal import Journal
from xray.training.recording import build_record


def execute(runner: str, options: argparse.Namespace) -> int:
    """Run a runner as its options say; the exit code, as `cli.main` tells it.

    Raises:
        UserError: the configuration or a folder is refused; nothing was started.
    """
    config = load_config(options.config, options.set)
    check_runner(config, runner)
    check_folder(options.results, "--results")
    check_output(config)
    file = CheckpointFile(options.results, runner, config)
    resume = _load_checkpoint(file, config) if options.resume else None
    events = open_events(config, runner)
    run = importlib.import_module(RUNNERS[runner].module).run
    # Whatever was imported belongs to the start of the program.
    age = program_age_seconds("PYSPARK_GATEWAY_PORT" in os.environ)
    journal = Journal(
        runner,
        config,
        Timer(age),
        tries=Tries(file, resume),
        events=events,
    )
    return _run(run, journal, options)


def _run(
    run: Callable[..., RunRecord], journal: Journal, options: argparse.Namespace
) -> int:
    file = journal.tries.file
    try:
        record = run(journal.config, journal)
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 - all leave a record
        text, code = verdict(error)
        reason = file.with_hint(text)
        status = "aborted" if code == INTERRUPTED else "failed"
        _write(build_record(journal, status, reason), journal, options)
        return code if code == INTERRUPTED else _tell(error, reason, options)
    _write(record, journal, options)
    _print_summary(record)
    return _save(record, journal, options)


def _save(record: RunRecord, journal: Journal, options: argparse.Namespace) -> int:
    """Save the models of a run whose record is already safe; the exit code.

    The checkpoint stays until they are somewhere.
    """
    file = journal.tries.file
    try:
        failure = save_models(journal, record, options.results)
    except KeyboardInterrupt:
        return report_error(file.with_hint("No model is saved: stopped"), INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - a fault must not look like a failed run
        reason = file.with_hint(f"No model is saved: {verdict(error)[0]}")
        return _tell(error, reason, options)
    if record.models:
        record.write(options.results)
        for which, model in record.models.items():
            print(f"{which} model: {model.path}", file=sys.stderr)
    file.remove()
    return report_error(failure, 2) if failure else 0


def _load_checkpoint(file: CheckpointFile, config: RunConfig) -> Checkpoint:
    check_resumable(config)
    return file.load()


def _write(record: RunRecord, journal: Journal, options: argparse.Namespace) -> None:
    path = record.write(options.results)
    print(f"{record.status} record: {path}", file=sys.stderr)
    journal.show_epochs()
    if journal.events:
        journal.events.finish(record)


def _tell(error: BaseException, reason: str, options: argparse.Namespace) -> int:
    code = verdict(error)[1]
    if code != FAULT:
        return report_error(reason, code)
    if options.debug:
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
