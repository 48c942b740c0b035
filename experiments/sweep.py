r"""Run one or more runners over a grid of settings, resumably, and write the report.

    python experiments/sweep.py --config experiments/configs/nih-sample.yaml \
        --runner sequential elephas \
        --vary runner.workers=1,2 --vary training.learning_rate=0.001,0.0003 \
        --results results/workers

Every combination of the varied values is a run of each runner, in a process of its own.
Values are YAML, separated by commas; values that hold commas are given as one YAML
list: --vary 'model.head_units=[[8], [16, 4]]'. All configurations are checked before
the first run.

No work is run twice, or more than --repeats times. Combinations that differ only in
settings that mean nothing to a runner are one run of it, and its table row has a dash
there: the example is two sequential runs (one for each learning rate) and four of
Elephas. Of section `runner` `sequential` heeds threads_per_worker and precision, `gpu`
backend, precision, xla and devices, `elephas` all; runner.engine counts in the
synchronous mode, runner.frequency in the others, runner.sync_every and
runner.optimizer_state with the resident engine.

A run whose record stands in the results' folder already (same runner, same resolved
configuration, success) is not run again, so that a sweep that was interrupted goes on
where it stopped. A run that fails is named, and the others go on.

Exit codes: 0 all runs are done. 2 a setting was refused, or runs failed for something
you can mend; 3 if the device was missing. 1 a run failed for a fault of the program.
130 interrupted.
"""

import argparse
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from experiments import report
from xray.common.command import INTERRUPTED, command
from xray.common.errors import UserError
from xray.common.processes import exit_on_termination, run_command
from xray.config.options import add_config_options
from xray.config.run import check_runner
from xray.config.runners import RUNNERS
from xray.records.reading import read_records
from xray.records.wording import duration
from xray.runners.sweep import SweepRun, interleaved, plan_runs, sweep_table

FOLDER = Path(__file__).resolve().parent
MENDABLE = (2, 3)


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, report, and return the exit code of the module's text."""
    options = _parser().parse_args(arguments)
    if options.repeats < 1:
        raise UserError(f"--repeats must be at least 1. Got {options.repeats}.")
    runs = plan_runs(options.config, options.runner, options.set, options.vary)
    for run in runs:
        check_runner(run.config, run.runner)
    failed = run_missing(runs, options)
    if INTERRUPTED in failed.values():
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    code = report.main([str(options.results), "--out", str(options.results / "report")])
    records, _ = read_records(options.results)
    print(*sweep_table(runs, records), sep="\n")
    for name, exit_code in failed.items():
        print(f"failed with exit code {exit_code}: {name}", file=sys.stderr)
    return _exit_code(failed.values()) if failed else code


def run_missing(
    runs: Sequence[SweepRun], options: argparse.Namespace
) -> dict[str, int]:
    """The exit code of every run that failed, by its name; stops when interrupted."""
    failed: dict[str, int] = {}
    records, _ = read_records(options.results)
    missing = interleaved(runs, records, options.repeats)
    started, wanted = time.monotonic(), len(runs) * options.repeats
    print(f"{wanted} runs, {wanted - len(missing)} done already", flush=True)
    for number, run in enumerate(missing):
        spent = time.monotonic() - started
        left = spent / number * (len(missing) - number) if number else None
        eta = f", about {duration(left)} left" if left else ""
        print(f"== run {number + 1}/{len(missing)}: {run.name}{eta}", flush=True)
        code = run_command(_command(run, options))
        if code:
            failed[run.name] = code
        if code == INTERRUPTED:
            break
    return failed


def _command(run: SweepRun, options: argparse.Namespace) -> list[str]:
    overrides = [
        part for text in (*options.set, *run.settings) for part in ("--set", text)
    ]
    script = str(FOLDER / RUNNERS[run.runner].script)
    files = ("--config", str(options.config), "--results", str(options.results))
    return [sys.executable, script, *files, *overrides]


def _exit_code(codes: Collection[int]) -> int:
    return 1 if any(code not in MENDABLE for code in codes) else min(codes)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_options(parser)
    parser.add_argument("--runner", choices=RUNNERS, nargs="+", required=True)
    parser.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="KEY=VALUE,VALUE",
        help="one axis of the grid; may be repeated",
    )
    parser.add_argument(
        "--repeats",
        type=int,
        default=1,
        help="of every run; all once, then all again (default: %(default)s)",
    )
    parser.add_argument(
        "--results", type=Path, required=True, help="folder of records and report"
    )
    return parser


if __name__ == "__main__":
    exit_on_termination()
    sys.exit(main())
