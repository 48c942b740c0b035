"""Elephas' HTTP parameter server and client, made safe for the asynchronous modes.

Elephas' own server runs Flask's debugger, on a fixed port, for anyone, outlives a
failed job, and adds every worker's change to BatchNormalization's moving statistics,
which drives variances below zero. The classes are made inside functions because their
bases import TensorFlow.
"""

import contextlib
import hmac
import logging
import multiprocessing
import secrets
import signal
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from elephas.parameter import HttpClient, HttpServer


@dataclass(frozen=True)
class ServerAddress:
    """Where one job's server listens and the word that opens it."""

    host: str
    port: int
    token: str = field(repr=False)

    @property
    def netloc(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"


def choose_address(host: str) -> ServerAddress:
    """A free port on `host` with a fresh token, so that jobs never share weights."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return ServerAddress(host, probe.getsockname()[1], secrets.token_urlsafe(24))


def apply_update(
    weights: Sequence[np.ndarray],
    update: Sequence[np.ndarray],
    statistics: frozenset[int],
    share: float,
) -> list[np.ndarray]:
    """The weights after one worker's update.

    Trained weights take the whole change, as Elephas does. A moving statistic goes
    `share` of the way to the worker's own value: a mean of variances stays positive,
    a sum of changes does not.

    Args:
        weights: before.
        update: old minus new for trained weights, the worker's value for statistics.
        statistics: positions of the moving statistics.
        share: 1 / workers.
    """
    return [
        weight + share * (change - weight) if index in statistics else weight - change
        for index, (weight, change) in enumerate(zip(weights, update, strict=True))
    ]


def make_server(
    serialized_model: dict[str, Any],
    address: ServerAddress,
    mode: str,
    statistics: frozenset[int],
    workers: int,
) -> "HttpServer":
    """A parameter server for one job; `start` and `stop` it as Elephas does.

    Its `updates` counts the updates so far, readable from this process.
    """
    from elephas.parameter import HttpServer
    from elephas.utils.sockets import wait_until_listening

    class TrainingServer(HttpServer):
        def __init__(self) -> None:
            super().__init__(serialized_model, address.port, mode, debug=False)
            self.updates = multiprocessing.Value("i", 0)
            # A daemon: a driver that fails must not wait for it for ever.
            self.server.daemon = True

        def start(self) -> None:
            self.server.start()
            self.master_url = address.netloc
            wait_until_listening(address.host, address.port)

        def start_flask_service(self) -> None:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver stops it
            logging.getLogger("werkzeug").setLevel(logging.ERROR)
            app = _make_app(self, address.token, statistics, 1 / workers)
            app.run(address.host, address.port, threaded=True)

    return TrainingServer()


def _make_app(server: Any, token: str, statistics: frozenset[int], share: float) -> Any:
    from elephas.utils.serialization import bytes_to_weights, weights_to_bytes
    from flask import Flask, Response, abort, cli, request

    cli.show_server_banner = lambda *_: None
    app = Flask(__name__)
    # Hogwild reads and writes without a lock; that is what it means.
    hogwild = server.mode == "hogwild"
    lock = contextlib.nullcontext() if hogwild else threading.Lock()

    @app.before_request
    def authorize() -> None:
        if not hmac.compare_digest(request.headers.get("Authorization", ""), token):
            abort(401)

    @app.get("/parameters")
    def parameters() -> Response:
        with lock:
            content = weights_to_bytes(server.weights)
        return Response(content, mimetype="application/octet-stream")

    @app.post("/update")
    def update() -> str:
        change = bytes_to_weights(request.data)
        with lock:
            server.weights = apply_update(server.weights, change, statistics, share)
        with server.updates.get_lock():
            server.updates.value += 1
        return "updated"

    return app


def make_client(address: ServerAddress, statistics: frozenset[int]) -> "HttpClient":
    """The client that travels to the workers; it notes when each update was made."""
    from elephas.parameter import HttpClient

    class TrainingClient(HttpClient):
        def __init__(self) -> None:
            # Not super: it would look the address up by this machine's name.
            self.master_url = address.netloc
            self.headers = {
                "Content-Type": "application/octet-stream",
                "Authorization": address.token,
            }
            self.before: list[np.ndarray] = []
            self.update_times: list[float] = []

        def get_parameters(self) -> list[np.ndarray]:
            self.before = super().get_parameters()
            return self.before

        def update_parameters(self, delta: list[np.ndarray]) -> bytes:
            update = [
                self.before[index] - change if index in statistics else change
                for index, change in enumerate(delta)
            ]
            reply = super().update_parameters(update)
            self.update_times.append(time.time())
            return reply

    return TrainingClient()
