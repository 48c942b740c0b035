"""Runs a command beside Hadoop's YARN on this machine.

    python -m xray.local_yarn --hadoop hadoop-jars --nodes 2 -- COMMAND ...

In the command, `spark-submit --master yarn` finds it.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from xray.common.command import command, split_command
from xray.common.processes import exit_on_termination, run_command, scripts_first
from xray.local.yarn import CORES, MEMORY_MB, start_yarn


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command beside YARN; the command's exit code, 2 after a UserError."""
    own, beside = split_command(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m xray.local_yarn",
        description="Run COMMAND beside Hadoop's YARN on this machine.",
        epilog="Usage: ... -- COMMAND; `spark-submit --master yarn` finds the cluster.",
    )
    parser.add_argument(
        "--hadoop", type=Path, required=True, help="folder of Hadoop's jars"
    )
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument(
        "--cores", type=int, default=CORES, help="virtual, of each node (%(default)s)"
    )
    parser.add_argument(
        "--memory-mb", type=int, default=MEMORY_MB, help="of each node (%(default)s)"
    )
    options = parser.parse_args(own)
    if not beside:
        parser.error("give a command after --")
    with start_yarn(
        options.hadoop, options.nodes, options.cores, options.memory_mb
    ) as found:
        return run_command(beside, os.environ | found | scripts_first())


if __name__ == "__main__":
    exit_on_termination()
    sys.exit(main())
