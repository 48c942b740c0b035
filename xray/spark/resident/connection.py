"""Connections between the driver's weight server and its workers, and their bounds.

They are the standard library's (multiprocessing.connection): framed, and open only to
those who know the job's key. A machine that loses power or its network says nothing:
its connection stays, to all appearances, as it was. The kernels therefore ask each
other for a sign of life, whatever the programs at both ends are busy with.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import (
    Connection,
    answer_challenge,
    deliver_challenge,
)

import numpy as np

from xray.spark.resident.messages import ServerKey

CONNECT_SECONDS = 10
HANDSHAKE_SECONDS = 10
# A silent machine is given up after so long: it is asked when nothing has come for 4 s,
# and every 2 s from then on. The names are those of tcp(7).
SILENT_SECONDS = 12
KEEPALIVE = {
    socket.SO_KEEPALIVE: (socket.SOL_SOCKET, 1),
    socket.TCP_KEEPIDLE: (socket.IPPROTO_TCP, 4),
    socket.TCP_KEEPINTVL: (socket.IPPROTO_TCP, 2),
    socket.TCP_KEEPCNT: (socket.IPPROTO_TCP, 4),
}
# The second where the other machine's own network has lost its address.
SILENCE = (errno.ETIMEDOUT, errno.EHOSTUNREACH)
CHUNK = 1 << 18  # floats of a vector in one message: 1 MiB


def connect(server: ServerKey) -> Connection:
    """A connection to whoever listens there, which each side has proved to know.

    Raises:
        OSError: nobody answers there, or hangs up.
        AuthenticationError: it is somebody else.
    """
    connection = reach(server)
    introduce(connection, server.key)
    return connection


def reach(server: ServerKey) -> Connection:
    """A connection that nobody has proved anything on.

    Raises:
        OSError: nobody answers there.
    """
    with socket.create_connection((server.host, server.port), CONNECT_SECONDS) as plain:
        plain.settimeout(None)
        connection = Connection(plain.detach())
    notice_silence(connection)
    return connection


def introduce(connection: Connection, key: bytes) -> None:
    """Prove to whoever listens that this side knows the key, and have it proved.

    Raises:
        AuthenticationError: the other side does not know it.
        OSError: it hung up.
    """
    answer_challenge(connection, key)
    deliver_challenge(connection, key)


def notice_silence(connection: Connection) -> str:
    """Have the connection end when the other machine is silent for SILENT_SECONDS.

    It ends with one of the errors in SILENCE.

    Returns:
        The other machine's address.
    """
    with _socket_of(connection) as same:
        for option, (level, value) in KEEPALIVE.items():
            same.setsockopt(level, option, value)
        # What was sent and is not acknowledged: no keepalive is asked for meanwhile.
        milliseconds = SILENT_SECONDS * 1000
        same.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        same.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return same.getpeername()[0]


def authenticate(connection: Connection, key: bytes) -> None:
    """Have the other side prove that it knows the key, and prove it in turn.

    Raises:
        AuthenticationError: it does not know it.
        OSError: it hung up, or stays silent.
    """
    with _socket_of(connection) as same:
        patience = struct.pack("ll", HANDSHAKE_SECONDS, 0)
        same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        deliver_challenge(connection, key)
        answer_challenge(connection, key)
        same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 0))


def send_vector(connection: Connection, vector: np.ndarray) -> None:
    """Send a float32 vector in pieces."""
    for place in pieces(len(vector)):
        connection.send_bytes(vector[place])


def receive_vector(connection: Connection, vector: np.ndarray) -> None:
    """Fill float32 `vector` with what `send_vector` sends."""
    for place in pieces(len(vector)):
        connection.recv_bytes_into(vector[place])


def pieces(length: int) -> Iterator[slice]:
    """The places of a vector's pieces, in the order in which they are sent."""
    for start in range(0, length, CHUNK):
        yield slice(start, min(start + CHUNK, length))


def host_of(connection: Connection) -> str:
    """This machine's address, as the other side sees it."""
    with _socket_of(connection) as same:
        return same.getsockname()[0]


def end_of(connection: Connection) -> None:
    """End both directions: whoever waits on the connection, on any side, notices."""
    with _socket_of(connection) as same:
        same.shutdown(socket.SHUT_RDWR)


@contextmanager
def _socket_of(connection: Connection) -> Iterator[socket.socket]:
    with socket.socket(fileno=os.dup(connection.fileno())) as same:
        yield same
