"""A resident worker's connection to the weight server (xray.spark.resident.server)."""

import contextlib
from collections.abc import Iterator
from multiprocessing.connection import Client
from typing import Any

import numpy as np

from xray.spark.resident.messages import CLOSED, RoundLost, ServerKey, Stopped


class Link:
    """A worker's side of the server.

    Args:
        address: of the server.
        worker: number of this worker, from 0.
        attempt: number of this try, larger than that of any before.
    """

    def __init__(self, address: ServerKey, worker: int, attempt: int) -> None:
        self._connection = Client((address.host, address.port), authkey=address.key)
        self._worker = worker
        self._connection.send(attempt)

    def gather(self, kind: str, content: Any) -> Any:
        """The driver's answer to what all workers sent.

        Raises:
            RoundLost: another worker or the driver is gone.
            Stopped: the driver ends the job.
        """
        with _lost_when_closed():
            self._connection.send((kind, self._worker, content))
            word, answer = self._connection.recv()
        if word == "stop":
            raise Stopped
        return answer

    def ask(self) -> Any:
        """The driver's answer to this worker alone, when it has one.

        Raises:
            RoundLost: the driver is gone.
            Stopped: the driver ends the job.
        """
        return self.gather("ask", None)

    def average(self, vector: np.ndarray, images: int) -> None:
        """Replace float32 `vector` by the mean over the workers, by their images.

        Raises:
            RoundLost: another worker or the driver is gone.
        """
        with _lost_when_closed():
            self._connection.send(("average", self._worker, images))
            self._connection.send_bytes(vector)
            self._connection.recv_bytes_into(vector)

    def weights(self, vector: np.ndarray) -> None:
        """Fill float32 `vector` with the last finished round's mean.

        Raises:
            RoundLost: another worker or the driver is gone.
        """
        with _lost_when_closed():
            self._connection.send(("weights", self._worker, None))
            self._connection.recv_bytes_into(vector)

    def fail(self, error: Exception) -> None:
        """End the job for all workers; trying again would fail again.

        Args:
            error: a UserError or RuntimeError, raised again on the driver.
        """
        with contextlib.suppress(*CLOSED):
            self._connection.send(("failed", self._worker, error))


@contextlib.contextmanager
def _lost_when_closed() -> Iterator[None]:
    try:
        yield
    except CLOSED:
        raise RoundLost from None
