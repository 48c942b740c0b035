"""Command line: `python -m xray.webapp --model FILE [--model FILE ...]`."""

import argparse
import ipaddress
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from waitress import create_server

from xray.common.errors import UserError
from xray.data.images import silence_decoders
from xray.model.saved import load_model
from xray.storage.credentials import S3Access, load_access
from xray.storage.place import on_s3
from xray.webapp.app import create_app
from xray.webapp.limits import Limits
from xray.webapp.samples import drawn_samples, folder_samples
from xray.webapp.scoring import Scorer

if TYPE_CHECKING:
    from waitress.server import BaseWSGIServer, MultiSocketServer

LOOPBACK = ("localhost", "127.0.0.1", "::1")
FORM_BYTES = 2**16  # around a file in a form
SPARE_THREADS = 8  # for pages and health while uploads wait


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stopped; 2 after what the user can mend."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    # It warns of every wait; who is sent away is told so.
    for name in ("waitress", "waitress.queue"):
        logging.getLogger(name).setLevel(logging.ERROR)
    silence_decoders()  # what is wrong with an upload is told to who sent it
    signal.signal(signal.SIGTERM, _exit)
    options = _parser().parse_args(arguments)
    try:
        server = make_server(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    _print_addresses(server, options.host)
    server.run()
    return 0


def make_server(
    options: argparse.Namespace,
) -> "BaseWSGIServer | MultiSocketServer":
    """A server that listens and whose models are loaded; `run` serves.

    Raises:
        UserError: a model, the samples or the address cannot be had.
    """
    limits = Limits(
        upload_bytes=round(options.max_upload_mib * 2**20),
        uploads_per_minute=options.uploads_per_minute,
        workers=max(2, len(os.sched_getaffinity(0))),
    )
    if options.samples:
        samples = folder_samples(options.samples, limits)
    else:
        samples = drawn_samples()
    scorers = load_scorers(options.model, options.credentials)
    local = is_loopback(options.host)
    app = create_app(scorers, samples, limits, LOOPBACK if local else None)
    body = limits.upload_bytes + FORM_BYTES
    try:
        return create_server(
            app,
            host=options.host,
            port=options.port,
            threads=limits.workers + limits.waiting + SPARE_THREADS,
            connection_limit=limits.connections,
            max_request_body_size=body,
            inbuf_overflow=body,  # uploads stay in memory, never in a file
            outbuf_overflow=body,
            channel_timeout=60,
            ident="xray",
        )
    except (OSError, ValueError) as error:
        raise UserError(
            f"The page cannot listen on {options.host} port {options.port}: {error}. "
            "Choose another --host or --port."
        ) from None


def load_scorers(sources: Sequence[str], credentials: Path | None) -> list[Scorer]:
    """The models, ready to score.

    Args:
        sources: paths or s3:// addresses of .keras files.
        credentials: YAML file with keys for S3; None asks boto3's own chain.

    Raises:
        UserError: one cannot be had, or is given twice.
    """
    scorers: dict[str, Scorer] = {}
    for source in sources:
        model, info = load_model(source, _access(source, credentials))
        if info.model_id in scorers:
            raise UserError(f"--model {source} is given twice. Name each model once.")
        scorers[info.model_id] = Scorer(model, info, PurePosixPath(source).stem)
    return list(scorers.values())


def _access(source: str, credentials: Path | None) -> S3Access | None:
    return load_access(credentials) if on_s3(source) else None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _print_addresses(server: "BaseWSGIServer | MultiSocketServer", asked: str) -> None:
    one = (
        getattr(server, "effective_host", None),
        getattr(server, "effective_port", None),
    )
    for host, port in getattr(server, "effective_listen", [one]):
        shown = f"[{host}]" if ":" in host else host
        print(f"http://{shown}:{port}/", flush=True)
    if not is_loopback(asked):
        print(
            "warning: others can reach this page; it has no login and no TLS. Put a "
            "proxy with both before it.",
            file=sys.stderr,
        )


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
