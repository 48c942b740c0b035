"""A proxy before a real S3 server that answers wrongly as told, from a seed.

The signature stays valid: the server sees a request, `Host` included, as it was signed.
"""

import http.client
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

ERROR = "<?xml version='1.0'?><Error><Code>{}</Code><Message>no</Message></Error>"
REFUSALS = {
    "500": (500, "InternalError"),
    "502": (502, "BadGateway"),
    "503": (503, "ServiceUnavailable"),
    "SlowDown": (503, "SlowDown"),
    "expired": (400, "ExpiredToken"),
    "skewed": (403, "RequestTimeTooSkewed"),
    "archived": (403, "InvalidObjectState"),
    "denied": (403, "AccessDenied"),
}
OWN_HEADERS = ("content-length", "connection", "transfer-encoding")
TRANSIENT = ("500", "502", "503", "SlowDown", "drop", "reset", "truncate", "wrong")
"""Kinds that pass by: a run through them must end as an undisturbed one."""


@dataclass(frozen=True)
class Request:
    """One request as it came.

    Attributes:
        number: from 0 on.
        seconds: since the first one.
        method: GET, PUT, ...
        path: with the bucket and the query.
    """

    number: int
    seconds: float
    method: str
    path: str


Plan = Callable[[Request], str | None]


class FaultyS3(ThreadingHTTPServer):
    """The proxy; a context manager that serves on a free port of `host`.

    Attributes:
        plan: the kind of fault that a request meets, None for none. Kinds: those of
            `REFUSALS`; "drop" closes without an answer, "silent" answers after
            `silent_seconds`, and of a body "reset" and "truncate" send a half, "wrong"
            turns one bit, "slow" pauses in the middle, "trickle" sends ten bytes a
            second.
        requests: every request so far.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        endpoint_url: str,
        plan: Plan = lambda request: None,
        host: str = "127.0.0.1",
        bind_and_activate: bool = True,
    ) -> None:
        super().__init__((host, 0), _Handler, bind_and_activate)
        self.server = urlsplit(endpoint_url).netloc
        self.plan, self.requests = plan, []
        self.silent_seconds, self.start = 5.0, float("inf")
        self.lock, self.random = threading.Lock(), random.Random(0)

    @property
    def endpoint_url(self) -> str:
        """Its address."""
        return f"http://{self.server_address[0]}:{self.server_port}"

    def __enter__(self) -> "FaultyS3":
        """Serve."""
        threading.Thread(target=self.serve_forever, args=(0.05,)).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, with what is under way."""
        self.shutdown()
        self.server_close()

    def count(self, method: str, part: str) -> int:
        """Requests whose path holds `part`."""
        return sum(r.method == method and part in r.path for r in self.requests)

    def next_fault(self, method: str, path: str) -> str | None:
        """The fault of a request that has just come."""
        with self.lock:
            now = time.monotonic()
            self.start = min(self.start, now)  # else a slow start is an outage's end
            seconds = now - self.start
            request = Request(len(self.requests), seconds, method, path)
            self.requests.append(request)
            return self.plan(request)


def burst(seed: int, share: float = 0.3, kinds: Sequence[str] = TRANSIENT) -> Plan:
    """A seeded share of all requests fails, each in one of `kinds`."""
    dice = random.Random(seed)
    return lambda request: dice.choice(kinds) if dice.random() < share else None


def outage(
    seconds: float, kinds: Sequence[str], begin: float = 0.0, part: str = ""
) -> Plan:
    """Every request fails from `begin` on for so many seconds, in each kind in turn."""

    def plan(request: Request) -> str | None:
        if part in request.path and begin <= request.seconds < begin + seconds:
            return kinds[request.number % len(kinds)]
        return None

    return plan


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyS3

    def _serve(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = self.server.next_fault(self.command, self.path)
        if kind in REFUSALS:
            status, code = REFUSALS[kind]
            self._answer(status, [], ERROR.format(code).encode())
        elif kind == "drop":
            self._reset()
        else:
            if kind == "silent":
                time.sleep(self.server.silent_seconds)
            self._answer(*self._forward(sent), kind)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

    def _forward(self, sent: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.server.server, timeout=60)
        try:
            connection.putrequest(self.command, self.path, True, True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(sent or None)
            reply = connection.getresponse()
            return reply.status, reply.getheaders(), reply.read()
        finally:
            connection.close()

    def _answer(
        self,
        status: int,
        headers: list[tuple[str, str]],
        body: bytes,
        kind: str | None = None,
    ) -> None:
        """Of listings, which carry no checksum, no bit is turned."""
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in (
                "content-length",
                "connection",
                "transfer-encoding",
            ):
                self.send_header(name, value)
        if self.command == "HEAD" or status == 204:
            self.end_headers()
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if kind == "wrong" and body and "list-type" not in self.path:
            place = self.server.random.randrange(len(body))
            body = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
        if kind in ("reset", "truncate", "slow") and body:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
        if kind in ("reset", "truncate") and body:
            self._reset() if kind == "reset" else self._close()
            return
        if kind == "trickle":
            for place in range(len(body)):
                self.wfile.write(body[place : place + 1])
                time.sleep(0.1)
            return
        if kind == "slow" and body:
            time.sleep(1)
            body = body[len(body) // 2 :]
        self.wfile.write(body)

    def _reset(self) -> None:
        linger = struct.pack("ii", 1, 0)  # close with RST
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._close()

    def _close(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.rfile.close()
        self.connection.close()

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, ValueError):  # the client, or we, hung up
            self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            pass

    def log_message(self, *_: object) -> None:
        pass
