"""Slow and many connections, over real sockets, before an application of one line."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest

from xray.webapp.connections import listen
from xray.webapp.limits import Limits

LIMITS = Limits(workers=2, waiting=3, patience_seconds=2, bytes_per_second=10_000)
MOST = 10  # connections: for each that works or waits another that may take its place
MANY = 200
LARGE = 2**20  # bytes of an answer; twenty are more than the sockets of both sides hold
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"


def answer(environ, start_response):
    """`/large` is large, `/slow` takes longer than patience, others echo a number."""
    if environ["PATH_INFO"] == "/slow":
        time.sleep(2 * LIMITS.patience_seconds)
    large = environ["PATH_INFO"] == "/large"
    received = len(environ["wsgi.input"].read())
    body = bytes(LARGE) if large else f"got {received}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = listen(answer, "127.0.0.1", 0, LIMITS)
    threading.Thread(target=server.run, daemon=True).start()
    yield int(server.effective_listen[0][1])
    server.close()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def body(one: socket.socket) -> str:
    """Of the one answer that comes."""
    response = http.client.HTTPResponse(one)
    response.begin()
    return response.read().decode()


def ask(port: int) -> str:
    """The answer's body; it has to come quickly."""
    with closing(connect(port)) as one:
        started = time.monotonic()
        one.sendall(GET % b"/")
        answered = body(one)
        assert time.monotonic() - started < 2
    return answered


@contextmanager
def many(port: int, first: bytes, then: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many connections that send `first`, and then `then` ten times a second."""
    done = threading.Event()

    def drip() -> None:
        while not done.wait(0.1):
            for one in connections:
                try:
                    one.sendall(then)
                except OSError:  # it was closed
                    continue

    with ExitStack() as stack:
        connections = []
        for _ in range(MANY):
            one = stack.enter_context(closing(connect(port)))
            one.sendall(first)
            one.settimeout(0)
            connections.append(one)
        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            yield connections
        finally:
            done.set()
            dripping.join()


def is_open(one: socket.socket) -> bool:
    """Whether the other side has not closed it; takes what has come."""
    try:
        while one.recv(2**16):
            pass
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def wait_until(condition, seconds: float) -> float:
    """Seconds until it holds."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "waited in vain"
        time.sleep(0.02)
    return time.monotonic() - started


@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param(b"", b"", id="silent"),
        pytest.param(b"G", b"x", id="in the header"),
        pytest.param(POST % 1_000_000, b"x", id="in the body"),
        pytest.param(GET % b"/", b"", id="after an answer"),
    ],
)
def test_slow_connections_end_and_hold_up_nobody(port, first, then):
    with many(port, first, then) as connections:
        wait_until(lambda: sum(map(is_open, connections)) == MOST, seconds=5)
        started = time.monotonic()
        while time.monotonic() - started < LIMITS.patience_seconds / 2 + 1.5:
            assert ask(port) == "got 0"
            time.sleep(0.05)
        assert not any(map(is_open, connections))


def test_slow_readers_end_and_hold_up_nobody(port):
    with many(port, GET % b"/large" * 20) as connections:
        started = time.monotonic()
        while time.monotonic() - started < LIMITS.patience_seconds + 1.5:
            assert ask(port) == "got 0"
            time.sleep(0.05)
        for one in connections:
            one.settimeout(5)
            total = 0
            try:
                while data := one.recv(2**20):
                    total += len(data)
            except ConnectionResetError:
                pass
            assert total < 20 * LARGE


def test_a_connection_that_moves_keeps_its_place(port):
    parts, part = 25, bytes(3000)  # 30 kB a second, longer than patience
    with closing(connect(port)) as one:
        one.sendall(POST % (parts * len(part)) + part)
        with many(port, b"G", b"x"):
            for _ in range(parts - 1):
                time.sleep(0.1)
                one.sendall(part)
            assert body(one) == "got 75000"


def test_what_the_page_works_on_is_not_hurried(port):
    with closing(connect(port)) as one:
        one.sendall(GET % b"/slow")
        with many(port, b"G", b"x"):
            assert body(one) == "got 0"


def test_a_connection_may_be_used_again_and_again(port):
    with closing(connect(port)) as one:
        for _ in range(4):
            one.sendall(GET % b"/")
            assert body(one) == "got 0"
            time.sleep(LIMITS.patience_seconds / 3)


def test_every_address_of_a_name_is_listened_on():
    server = listen(answer, "localhost", 0, LIMITS)
    expected = {info[4][0] for info in socket.getaddrinfo("localhost", 0)}
    assert {host for host, _ in server.effective_listen} <= expected
    server.close()


def test_a_header_has_an_end(port):
    with closing(connect(port)) as one:
        one.sendall(b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 5000)
        assert b"431" in one.recv(2**16)
