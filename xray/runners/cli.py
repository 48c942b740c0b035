"""The command line that all runners share: config + runner -> run -> record on disk."""

import argparse
import importlib
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from xray.common.errors import UserError
from xray.config.file import load_config
from xray.config.run import RunConfig, check_runner
from xray.config.runners import RUNNERS
from xray.records.record import RunRecord
from xray.records.timing import Timer, program_age_seconds
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

INTERRUPTED = 130  # 128 + SIGINT, as shells count it


def main(runner: str, description: str, arguments: Sequence[str] | None = None) -> int:
    """Run a runner as the command line says; the exit code.

    Args:
        runner: its name in RUNNERS.
        description: for --help.
        arguments: of the command line; None are this program's own.

    0: the record is written. 1: a fault of the program. 2: something the user can
    mend. 3: the device is missing. 130: interrupted. Every run that got as far as a
    valid configuration leaves a record, failed and aborted ones too.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    signal.signal(signal.SIGTERM, _interrupt)
    options = _parser(description).parse_args(arguments)
    try:
        config = load_config(options.config, options.set)
        check_runner(config, runner)
        check_folder(options.results, "--results")
        check_output(config)
        file = CheckpointFile(options.results, runner, config)
        resume = _load_checkpoint(file, config) if options.resume else None
        events = open_events(config, runner)
    except UserError as error:
        return _report_error(str(error), error.exit_code)
    age = program_age_seconds("PYSPARK_GATEWAY_PORT" in os.environ)
    journal = Journal(
        runner,
        config,
        Timer(age),
        tries=Tries(file, resume),
        events=events,
    )
    return _run(journal, options)


def _run(journal: Journal, options: argparse.Namespace) -> int:
    file = journal.tries.file
    run = importlib.import_module(RUNNERS[journal.runner].module).run
    try:
        record = run(journal.config, journal)
    except KeyboardInterrupt:
        reason = file.with_hint("interrupted")
        _write(build_record(journal, "aborted", reason), journal, options)
        return INTERRUPTED
    except UserError as error:
        reason = file.with_hint(str(error))
        _write(build_record(journal, "failed", reason), journal, options)
        return _report_error(reason, error.exit_code)
    except Exception as error:  # noqa: BLE001 - any failure must leave a record
        reason = file.with_hint(one_line(error))
        _write(build_record(journal, "failed", reason), journal, options)
        if options.debug:
            traceback.print_exc()
        return _report_error(f"{reason} (--debug shows where)", 1)
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
        return _report_error(file.with_hint("No model is saved: stopped"), INTERRUPTED)
    except UserError as error:
        return _report_error(file.with_hint(f"No model is saved: {error}"), 2)
    except Exception as error:  # noqa: BLE001 - a fault must not look like a failed run
        if options.debug:
            traceback.print_exc()
        reason = file.with_hint(f"No model is saved: {one_line(error)}")
        return _report_error(f"{reason} (--debug shows where)", 1)
    if record.models:
        record.write(options.results)
        for which, model in record.models.items():
            print(f"{which} model: {model.path}", file=sys.stderr)
    file.remove()
    return _report_error(failure, 2) if failure else 0


def _load_checkpoint(file: CheckpointFile, config: RunConfig) -> Checkpoint:
    check_resumable(config)
    return file.load()


def add_config_options(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Give a program `--config` and `--set`, as `load_config` takes them."""
    parser.add_argument(
        "--config", type=Path, required=required, help="YAML of the run"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override one setting; may be repeated",
    )


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description,
        epilog="Exit codes: 0 done, 1 fault, 2 bad input, 3 no device, 130 stopped.",
    )
    add_config_options(parser)
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of the record"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on after the last epoch that a killed run of this configuration "
        "finished",
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _write(record: RunRecord, journal: Journal, options: argparse.Namespace) -> None:
    path = record.write(options.results)
    print(f"{record.status} record: {path}", file=sys.stderr)
    journal.show_epochs()
    if journal.events:
        journal.events.finish(record)


def _report_error(message: str, exit_code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return exit_code


def one_line(error: Exception) -> str:
    """Its kind and message: of a Spark failure, what the executor's Python said."""
    text = f"{type(error).__name__}: {error}"
    said = re.findall(r"^(?:\w+\.)*(\w+(?:Error|Exception): .+)$", text, re.MULTILINE)
    return (said[-1] if said else text.splitlines()[0])[:300]


def _print_summary(record: RunRecord) -> None:
    macro, steady = record.scores.macro_auc, record.images_per_second.steady
    interval = f" (95% {macro.low:.3f}-{macro.high:.3f})" if macro.low else ""
    auc = f"{macro.value:.3f}{interval}" if macro.value is not None else "undefined"
    steady_text = f", {steady:.1f} from the second epoch" if steady else ""
    print(
        f"{record.runner}, {record.workers} worker(s): fit {record.phases.fit:.1f} s, "
        f"total {record.phases.total:.1f} s, "
        f"{record.images_per_second.overall:.1f} images/s{steady_text}; "
        f"macro AUC {auc} over {record.scores.findings_scored} findings"
    )
