"""The command line that all runners share."""

import argparse
from collections.abc import Sequence

from xray.common.command import command, log_warnings
from xray.common.processes import interrupt_on_termination
from xray.config.options import add_config_options
from xray.spark.submitted import end_java


@command()
def main(runner: str, description: str, arguments: Sequence[str] | None = None) -> int:
    """Run a runner as the command line says; the exit code.

    0: the record is written. 1: a fault of the program. 2: something the user can
    mend. 3: the device is missing. 130: interrupted. Every run that got as far as a
    valid configuration leaves a record, failed and aborted ones too.

    Args:
        runner: its name in RUNNERS.
        description: for --help.
        arguments: of the command line; None are this program's own.
    """
    log_warnings()
    interrupt_on_termination()
    options = _parser(description).parse_args(arguments)

    from xray.runners.execution import execute  # seconds, which --help need not wait

    code = execute(runner, options)
    if code == 0:
        end_java()
    return code


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description,
        epilog="Exit codes: 0 done, 1 fault, 2 bad input, 3 no device, 130 stopped.",
    )
    add_config_options(parser)
    parser.add_argument(
        "--results",
        default="results",
        help="where the record goes, and a checkpoint after every epoch: a folder, or "
        "s3://bucket/prefix/",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on after the last epoch that a killed run of this configuration "
        "finished",
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser
