"""A resident worker's connection to the driver's weight server."""

import contextlib
import socket
from collections.abc import Iterator
from multiprocessing import AuthenticationError
from typing import Any

import numpy as np

from xray.spark.resident.connection import (
    connect,
    host_of,
    receive_vector,
    send_vector,
)
from xray.spark.resident.messages import (
    CLOSED,
    Average,
    DriverUnreachable,
    Failed,
    Join,
    RoundLost,
    ServerKey,
    Share,
    Stop,
    Stopped,
    WantPeers,
    WantShare,
    WantWeights,
)
from xray.spark.resident.peers import Peers


class Link:
    """A worker's side of the server.

    Args:
        address: of the server.
        worker: number of this worker, from 0.
        attempt: number of this try, larger than that of any before.
        team: of the worker's Task.

    Raises:
        DriverUnreachable: nobody answers there.
    """

    def __init__(
        self, address: ServerKey, worker: int, attempt: int, team: int = 0
    ) -> None:
        try:
            self._connection = connect(address)
        except OSError as error:
            place = f"the driver at {address.host}:{address.port}"
            raise DriverUnreachable(
                f"Worker {worker} on {socket.gethostname()} cannot reach {place} "
                f"({error.strerror or error}). "
            ) from None
        host = host_of(self._connection)
        self._peers, self._met = Peers(host, address.key, worker), False
        self._connection.send(Join(worker, attempt, team, self._peers.address))

    def gather(self, message: Any) -> Any:
        """The driver's answer to such a message of every worker.

        Raises:
            RoundLost: another worker or the driver is gone.
            Stopped: the driver ends the job.
        """
        return self._ask(message)

    def share(self) -> Share:
        """What this worker is to train and predict, once the driver knows.

        Raises:
            RoundLost: the driver is gone.
            Stopped: the driver ends the job.
        """
        return self._ask(WantShare())

    def meet(self) -> None:
        """Connect with the other workers, if that is not done already.

        Raises:
            RoundLost: another worker or the driver is gone, or cannot be reached.
        """
        with _lost_when_closed():
            if not self._met:
                self._peers.meet(self._ask(WantPeers()), self._still_there)
                self._met = True

    def average(self, vector: np.ndarray, images: int) -> None:
        """Replace float32 `vector` by the mean over the workers, by their images.

        The driver gets a part of the mean of each, and may make other weights of it.

        Raises:
            RoundLost: another worker or the driver is gone.
        """
        self.meet()
        with _lost_when_closed():
            own = self._peers.reduce(vector, images)
            self._connection.send(Average(images, own.start, own.stop))
            send_vector(self._connection, vector[own])
            self._peers.spread(vector)
            if self._connection.recv().content:
                receive_vector(self._connection, vector)

    def weights(self, vector: np.ndarray) -> None:
        """Fill float32 `vector` with the last finished round's mean.

        Raises:
            RoundLost: another worker or the driver is gone.
        """
        with _lost_when_closed():
            self._connection.send(WantWeights())
            receive_vector(self._connection, vector)

    def fail(self, error: Exception) -> None:
        """End the job for all workers; trying again would fail again.

        Args:
            error: a UserError or RuntimeError, raised again on the driver.
        """
        with contextlib.suppress(*CLOSED):
            self._connection.send(Failed(error))

    def close(self) -> None:
        """End the connections to the driver and to the other workers."""
        self._connection.close()
        self._peers.close()

    def _still_there(self) -> None:
        """Raises RoundLost when a worker that is waited for is gone."""
        self._ask(WantPeers())

    def _ask(self, message: Any) -> Any:
        with _lost_when_closed():
            self._connection.send(message)
            answer = self._connection.recv()
        if isinstance(answer, Stop):
            raise Stopped
        return answer.content


@contextlib.contextmanager
def _lost_when_closed() -> Iterator[None]:
    try:
        yield
    except (*CLOSED, AuthenticationError):
        raise RoundLost from None
