"""Serves a folder as S3 buckets on loopback, for as long as a command runs.

python -m xray.local_s3 FOLDER --credentials FILE [-- COMMAND ...]
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from xray.common.command import command, split_command
from xray.common.processes import exit_on_termination, run_command
from xray.local.s3 import serve


@command()
def main(argv: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C, or while a command runs.

    Returns:
        The exit code: the command's, 0 after Ctrl-C, 2 after a UserError.
    """
    own, beside = split_command(argv)
    options = _parser().parse_args(own)
    with serve(options.folder, options.port, options.cache_seconds) as server:
        server.write_credentials(options.credentials)
        buckets = sorted(p.name for p in options.folder.iterdir() if p.is_dir())
        print(f"S3 at {server.endpoint_url}, buckets: {', '.join(buckets) or '-'}")
        print(f"Keys in {options.credentials}", flush=True)
        return run_command(beside) if beside else _sleep_until_interrupted()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m xray.local_s3",
        description="Serve the sub-folders of FOLDER as S3 buckets on loopback.",
        epilog="With `-- COMMAND ...` serve while the command runs, then exit as it.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--credentials", type=Path, required=True, help="YAML file to write the keys to"
    )
    parser.add_argument(
        "--port", type=int, help="port of 127.0.0.1; default: a free one"
    )
    parser.add_argument(
        "--cache-seconds",
        type=float,
        default=0,
        help="remember directories this long; 10 for folders of 5,000 files and more",
    )
    return parser


def _sleep_until_interrupted() -> int:
    with contextlib.suppress(KeyboardInterrupt):
        print("Ctrl-C stops it.", flush=True)
        while True:
            time.sleep(3600)
    return 0


if __name__ == "__main__":
    exit_on_termination()
    sys.exit(main())
