"""The workers' connections to each other, over which they average their weights.

Each worker averages one part of the vector: it gets that part of all others, and sends
them the mean of it (reduce-scatter and all-gather, Thakur et al. 2005, Optimization of
Collective Communication Operations in MPICH). So every link carries two vectors either
way in a round, however many workers there are.
"""

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection

import numpy as np

from xray.spark.resident.connection import (
    CHUNK,
    authenticate,
    end_of,
    introduce,
    notice_silence,
    pieces,
    reach,
    receive_vector,
    send_vector,
)
from xray.spark.resident.messages import CLOSED, RoundLost, ServerKey

ACCEPT_SECONDS = 1  # until the driver is asked whether all are still there


class Peers:
    """One worker's connections to all others.

    Attributes:
        address: where it lets the others in.

    Args:
        host: its address, as the others see it.
        key: that all of them know.
        worker: its number, from 0.
    """

    def __init__(self, host: str, key: bytes, worker: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self._listener.settimeout(ACCEPT_SECONDS)
        self.address = ServerKey(host, self._listener.getsockname()[1], key)
        self._worker = worker
        self._others: dict[int, Connection] = {}
        self._senders = ThreadPoolExecutor(1)

    def meet(self, addresses: Sequence[ServerKey], still_there: Callable) -> None:
        """Connect with all others: with those before, and let those after in.

        Args:
            addresses: of all workers, this one too.
            still_there: called now and then while one is waited for; it raises what
                ends the wait.

        Raises:
            RoundLost: one cannot be reached.
        """
        for number in range(self._worker):
            connection = self._reach(number, addresses[number])
            self._others[number] = connection
            introduce(connection, self.address.key)
            connection.send(self._worker)
        while len(self._others) < len(addresses) - 1:
            try:
                self._let_in()
            except TimeoutError:
                still_there()
        self._listener.close()

    def _reach(self, number: int, address: ServerKey) -> Connection:
        try:
            return reach(address)
        except OSError as error:
            raise RoundLost(
                f"Worker {self._worker} on {socket.gethostname()} cannot reach worker "
                f"{number} at {address.host}:{address.port} ({error.strerror or error})"
            ) from None

    def _let_in(self) -> None:
        plain, _ = self._listener.accept()
        plain.settimeout(None)
        connection = Connection(plain.detach())
        try:
            notice_silence(connection)
            authenticate(connection, self.address.key)
            self._others[connection.recv()] = connection
        except (*CLOSED, AuthenticationError):
            connection.close()  # a stranger; of a worker the driver hears

    def reduce(self, vector: np.ndarray, images: int) -> slice:
        """Put the mean of all workers' vectors into this worker's part of its own.

        Args:
            vector: float32.
            images: the weight of this worker's vector. Where all are 0, the part stays.

        Returns:
            The place of the part; with one worker it is the whole vector.
        """
        places = self._places(len(vector))
        own = places[self._worker]
        with self._sending(lambda to: (images, vector[places[to]])):
            total, weight = vector[own] * np.float32(images), images
            for number in self._from():
                weight += self._receive(number, total)
        # x * n / n is not always x, and one worker's mean is its own vector.
        if weight and self._others:
            np.divide(total, np.float32(weight), out=vector[own])
        return own

    def spread(self, vector: np.ndarray) -> None:
        """Send this worker's part of the vector to all, and fill it with theirs."""
        places = self._places(len(vector))
        with self._sending(lambda to: (0, vector[places[self._worker]])):
            for number in self._from():
                self._others[number].recv()
                receive_vector(self._others[number], vector[places[number]])

    def close(self) -> None:
        """End all connections; others who wait for this worker notice."""
        self._listener.close()
        for connection in self._others.values():
            with contextlib.suppress(OSError):
                end_of(connection)  # or a thread that sends would not notice
            connection.close()
        self._senders.shutdown()

    def _places(self, length: int) -> list[slice]:
        ends = np.linspace(0, length, len(self._others) + 2).astype(int).tolist()
        return [slice(*ends[n : n + 2]) for n in range(len(ends) - 1)]

    # All begin with their neighbours, so that no two send to the same one at once.

    def _to(self) -> Iterator[int]:
        count = len(self._others) + 1
        return ((self._worker + step) % count for step in range(1, count))

    def _from(self) -> Iterator[int]:
        count = len(self._others) + 1
        return ((self._worker - step) % count for step in range(1, count))

    @contextlib.contextmanager
    def _sending(
        self, message: Callable[[int], tuple[int, np.ndarray]]
    ) -> Iterator[None]:
        """Send each of the others its message beside what the block receives."""

        def send() -> None:
            for number in self._to():
                weight, part = message(number)
                self._others[number].send(weight)
                send_vector(self._others[number], part)

        sent = self._senders.submit(send)
        yield
        sent.result()

    def _receive(self, number: int, total: np.ndarray) -> int:
        """Add another worker's part, times its weight, to the total; the weight."""
        connection = self._others[number]
        weight = connection.recv()
        buffer = np.empty(min(CHUNK, len(total)), np.float32)
        for place in pieces(len(total)):
            piece = buffer[: place.stop - place.start]
            connection.recv_bytes_into(piece)
            piece *= np.float32(weight)
            total[place] += piece
        return weight
