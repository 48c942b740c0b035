"""Serves saved models behind a web page."""

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from xray.common.command import command, log_warnings
from xray.webapp.limits import Limits


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stopped; 2 after what the user can mend."""
    log_warnings()
    # It warns of every wait; who is sent away is told so.
    for name in ("waitress", "waitress.queue"):
        logging.getLogger(name).setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, _exit)
    options = _parser().parse_args(arguments)

    from xray.webapp.server import serve  # seconds, which --help need not wait

    serve(options)
    return 0


def _exit(*_: object) -> None:
    sys.exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m xray.webapp",
        description="A page that shows what saved models see in an X-ray. Research "
        "software, not a diagnosis.",
        epilog="Exit codes: 0 stopped, 1 fault, 2 bad input.",
    )
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="FILE",
        help=".keras file, or its s3:// address; may be repeated",
    )
    parser.add_argument(
        "--credentials", type=Path, metavar="FILE", help="YAML with keys for S3"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="default 127.0.0.1: this machine alone"
    )
    parser.add_argument(
        "--port", type=int, default=8080, help="default 8080; 0 takes a free one"
    )
    parser.add_argument(
        "--samples",
        type=Path,
        metavar="FOLDER",
        help="pictures to try; without it some are drawn",
    )
    parser.add_argument("--max-upload-mib", type=_positive, default=20)
    parser.add_argument(
        "--uploads-per-minute",
        type=_positive,
        default=Limits.uploads_per_minute,
        help="of one client, default %(default)s",
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1. Got {text}.")
    return number


if __name__ == "__main__":
    sys.exit(main())
