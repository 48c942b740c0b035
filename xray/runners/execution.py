"""One run from its command line's options to its record on disk, however it ends."""

import argparse
import importlib
import os
from collections.abc import Callable

from xray.config.file import load_config
from xray.config.run import RunConfig, check_runner
from xray.config.runners import RUNNERS
from xray.records.record import RunRecord
from xray.records.timing import Timer, program_age_seconds
from xray.runners.ending import Ending
from xray.runners.output import check_output, open_events
from xray.storage.results_folder import ResultsFolder
from xray.training.checkpoint import (
    Checkpoint,
    CheckpointFile,
    Tries,
    check_resumable,
)
from xray.training.journal import Journal


def execute(runner: str, options: argparse.Namespace) -> int:
    """Run a runner as its options say; the exit code, as `cli.main` tells it.

    Raises:
        UserError: the configuration or a folder is refused, or another run of this
            configuration is under way; nothing was started.
    """
    config = load_config(options.config, options.set)
    check_runner(config, runner)
    results = ResultsFolder.opened(options.results, config.data)
    check_output(config)
    file = CheckpointFile(results, runner, config)
    try:
        with file.held():
            results.fetch(file.path)
            return _execute(runner, config, file, results, options)
    finally:
        results.close()


def _execute(
    runner: str,
    config: RunConfig,
    file: CheckpointFile,
    results: ResultsFolder,
    options: argparse.Namespace,
) -> int:
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
    return _run(run, journal, Ending(journal, results, options.debug))


def _run(run: Callable[..., RunRecord], journal: Journal, ending: Ending) -> int:
    try:
        record = run(journal.config, journal)
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 - all leave a record
        return ending.fail(error)
    return ending.succeed(record)


def _load_checkpoint(file: CheckpointFile, config: RunConfig) -> Checkpoint:
    check_resumable(config)
    return file.load()
