"""Runs a command beside a Spark standalone cluster on this machine.

    python -m xray.local_cluster --workers 2 -- COMMAND ...

The command finds the master's address in the environment variable SPARK_MASTER.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from xray.common.command import command, split_command
from xray.common.java import find_java_home
from xray.common.processes import exit_on_termination, run_command, scripts_first
from xray.local.cluster import start_workers


def _environment(address: str) -> dict[str, str]:
    """Lets the command find the master, Java, and this Python's spark-submit."""
    found = {"SPARK_MASTER": address, "JAVA_HOME": find_java_home()}
    return os.environ | found | scripts_first()


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command beside a cluster; the command's exit code, 2 after a UserError."""
    own, beside = split_command(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m xray.local_cluster",
        description="Run COMMAND beside a Spark standalone cluster on this machine.",
        epilog="Usage: ... -- COMMAND; $SPARK_MASTER is the address of the master.",
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cores", type=int, default=1, help="of each worker")
    parser.add_argument("--memory", default="3g", help="Java heap of each worker")
    options = parser.parse_args(own)
    if not beside:
        parser.error("give a command after --")
    with start_workers(options.workers, options.cores, options.memory) as address:
        return run_command(beside, _environment(address))


if __name__ == "__main__":
    exit_on_termination()
    sys.exit(main())
