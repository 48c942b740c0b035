"""The page's server: its models loaded, its limits set, listening."""

import argparse
import ipaddress
import os
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from xray.common.errors import UserError
from xray.data.images import silence_decoders
from xray.data.limited import start_child
from xray.model.saved import load_model
from xray.storage.place import access_for
from xray.webapp.app import create_app
from xray.webapp.connections import listen
from xray.webapp.limits import Limits
from xray.webapp.samples import drawn_samples, folder_samples
from xray.webapp.scoring import Scorer

if TYPE_CHECKING:
    from waitress.server import MultiSocketServer

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def serve(options: argparse.Namespace) -> None:
    """Print where the page is, and serve it until stopped.

    Raises:
        UserError: as `make_server`.
    """
    silence_decoders()  # what is wrong with an upload is told to who sent it
    server = make_server(options)
    start_child()  # else the first upload waits for it
    _print_addresses(server, options.host)
    server.run()


def make_server(options: argparse.Namespace) -> "MultiSocketServer":
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
    try:
        return listen(app, options.host, options.port, limits)
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
        model, info = load_model(source, access_for(source, credentials))
        if info.model_id in scorers:
            raise UserError(f"--model {source} is given twice. Name each model once.")
        scorers[info.model_id] = Scorer(model, info, PurePosixPath(source).stem)
    return list(scorers.values())


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _print_addresses(server: "MultiSocketServer", asked: str) -> None:
    for host, port in server.effective_listen:
        shown = f"[{host}]" if ":" in host else host
        print(f"http://{shown}:{port}/", flush=True)
    if not is_loopback(asked):
        print(
            "warning: others can reach this page; it has no login and no TLS. Put a "
            "proxy with both before it.",
            file=sys.stderr,
        )
