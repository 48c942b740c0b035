"""Averaging of weights between workers that train in one long Spark task each.

The driver runs a `WeightServer`; every worker holds one connection to it for the whole
fit. A round ends when each worker has sent its weights and the number of images it
trained them on; all get the mean, weighted by images, in return. The driver adds each
arriving vector to one sum: it holds three vectors, however many workers there are.

Connections are the standard library's (multiprocessing.connection): framed, and open
only to those who know the job's key.
"""

import os
import secrets
import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing import AuthenticationError
from multiprocessing.connection import (
    Connection,
    Listener,
    answer_challenge,
    deliver_challenge,
)
from operator import itemgetter
from typing import Any, Protocol

import numpy as np

from xray.common.errors import UserError
from xray.spark.resident.messages import (
    CLOSED,
    Answer,
    Average,
    Failed,
    Join,
    RoundLost,
    ServerKey,
    Share,
    Stop,
    WantShare,
    WantWeights,
)

HANDSHAKE_SECONDS = 10
COUNTS = ("rounds", "attempts", "bytes_received", "bytes_sent")


class Handler(Protocol):
    """What the driver makes of the rounds; called by the server's threads.

    What a method raises ends the job.
    """

    def share(self, worker: int) -> Share:
        """What this worker is to do; it may take its time, nobody else waits."""

    def on_gather(self, messages: list[Any]) -> Any:
        """The answer for all to one message a worker, in their order."""

    def on_average(self, counts: dict[str, int]) -> None:
        """An average is done, and the workers wait; `counts` of the server."""

    def on_retry(self, rounds: int, worker: int | None) -> None:
        """All workers start again, after so many averages; the one lost first."""


@dataclass
class Attempt:
    """One try of all workers together; a lost worker ends it for all.

    Attributes:
        number: grows from one try to the next.
        lost: whether a worker is gone.
        lost_worker: the first that went, where it is known.
        arrived: what has come in the round under way.
        finished: rounds answered so far.
        images: of the round under way.
        reply: of the last round.
    """

    number: int
    lost: bool = False
    lost_worker: int | None = None
    arrived: list[tuple[int, Any]] = field(default_factory=list)
    finished: int = 0
    images: int = 0
    reply: Any = None


class WeightServer:
    """Gathers from all workers, then answers all of them, again and again.

    Two kinds of round: `Average` of weight vectors, and gathers of small messages,
    which the handler answers. Apart from rounds, a worker may ask for what is its
    alone.

    Attributes:
        weights: float32 vector, the mean after the last finished round.
        rounds: averages so far, over all attempts.
        attempts: how often the workers were started.
        bytes_received: weights received, in bytes.
        bytes_sent: weights sent, in bytes.
        error: why the job was ended.

    Args:
        host: address to listen on.
        workers: how many take part in each round.
        weights: float32 vector at the start.
        handler: of what the workers send.
        earlier: `counts` of an earlier run that this one goes on from.
    """

    def __init__(
        self,
        host: str,
        workers: int,
        weights: np.ndarray,
        handler: Handler,
        earlier: Mapping[str, int] | None = None,
    ) -> None:
        self.weights = weights
        for name in COUNTS:
            setattr(self, name, (earlier or {}).get(name, 0))
        self.error: BaseException | None = None
        self._workers, self._handler = workers, handler
        self._sum = np.zeros_like(weights)
        self._buffer = np.empty_like(weights)
        self._changed = threading.Condition()
        self._receiving = threading.Lock()
        self._attempt: Attempt | None = None
        self._closed = False
        key = secrets.token_bytes(32)
        # Without the key: it would be asked for before the next one is let in.
        self._listener = Listener((host, 0), backlog=workers + 8)
        self.address = ServerKey(host, self._listener.address[1], key)
        threading.Thread(target=self._accept, daemon=True).start()

    def counts(self) -> dict[str, int]:
        """rounds, attempts, bytes_received and bytes_sent."""
        return {name: getattr(self, name) for name in COUNTS}

    def close(self) -> None:
        """Stop listening; workers that still wait see their connection end."""
        self._closed = True
        self._listener.close()
        self._leave(self._attempt, None)

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except OSError:
                if self._closed:
                    return
                continue  # hung up already
            threading.Thread(
                target=self._serve, args=(connection,), daemon=True
            ).start()

    def _serve(self, connection: Connection) -> None:
        attempt = worker = None
        try:
            _authenticate(connection, self.address.key)
            joined: Join = connection.recv()
            attempt = self._join(joined.attempt)
            worker = joined.worker
            while True:
                self._answer(connection, attempt, worker)
        except (*CLOSED, AuthenticationError, RoundLost):
            self._leave(attempt, worker)
        except (RuntimeError, UserError) as error:
            self.error = self.error or error
            self._leave(attempt, worker)
        finally:
            connection.close()

    def _answer(self, connection: Connection, attempt: Attempt, worker: int) -> None:
        """Answer a worker's next message."""
        match connection.recv():
            case Average(images):
                self._average(connection, attempt, images)
            case WantWeights():
                connection.send_bytes(self.weights)
            case WantShare():
                connection.send(self._share(worker))
            case Failed(error):
                raise error
            case message:
                connection.send(self._gather(attempt, worker, message))

    def _join(self, number: int) -> Attempt:
        """The attempt that the worker belongs to; a newer one ends the older."""
        with self._changed:
            if self._attempt is None or number > self._attempt.number:
                if self._attempt:
                    self._attempt.lost = True
                    self._changed.notify_all()
                    self._handler.on_retry(self.rounds, self._attempt.lost_worker)
                self._attempt = Attempt(number)
                self._sum[:] = 0
                self.attempts += 1
            if number < self._attempt.number:
                raise RoundLost
            return self._attempt

    def _leave(self, attempt: Attempt | None, worker: int | None) -> None:
        with self._changed:
            if attempt and not attempt.lost:
                attempt.lost, attempt.lost_worker = True, worker
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """End the job for all workers because of `error`."""
        self.error = self.error or error
        self._leave(self._attempt, None)

    def _share(self, worker: int) -> Answer | Stop:
        try:
            return Answer(self._handler.share(worker))
        except Exception as error:  # noqa: BLE001 - the driver raises it
            self.error = self.error or error
            return Stop()

    def _gather(self, attempt: Attempt, worker: int, message: Any) -> Answer | Stop:
        with self._changed:
            attempt.arrived.append((worker, message))
            if len(attempt.arrived) < self._workers:
                return self._wait(attempt)
            attempt.arrived.sort(key=itemgetter(0))
            messages = [message for _, message in attempt.arrived]
            try:
                answer: Answer | Stop = Answer(self._handler.on_gather(messages))
            except Exception as error:  # noqa: BLE001 - the driver raises it
                self.error, answer = self.error or error, Stop()
            return self._finish(attempt, answer)

    def _average(self, connection: Connection, attempt: Attempt, images: int) -> None:
        with self._receiving:  # one vector at a time, into the one buffer
            connection.recv_bytes_into(self._buffer)
            with self._changed:
                if attempt.lost:
                    raise RoundLost
                self._buffer *= np.float32(images)
                self._sum += self._buffer
                attempt.images += images
                self.bytes_received += self._buffer.nbytes
        with self._changed:
            attempt.arrived.append((0, None))
            if len(attempt.arrived) < self._workers:
                self._wait(attempt)
            else:
                # Unreadable images can leave an epoch's last part without a batch:
                # nobody trained, and the mean stays what it was.
                if attempt.images:
                    np.divide(self._sum, np.float32(attempt.images), out=self.weights)
                self._sum[:] = 0
                attempt.images = 0
                self.rounds += 1
                self.bytes_sent += self._workers * self.weights.nbytes
                self._handler.on_average(self.counts())
                self._finish(attempt, None)
        # Nobody changes the mean now: the next one needs this worker's next vector.
        connection.send_bytes(self.weights)

    def _wait(self, attempt: Attempt) -> Any:
        before = attempt.finished
        self._changed.wait_for(lambda: attempt.finished > before or attempt.lost)
        if attempt.finished == before:
            raise RoundLost
        return attempt.reply

    def _finish(self, attempt: Attempt, reply: Any) -> Any:
        attempt.arrived, attempt.reply = [], reply
        attempt.finished += 1
        self._changed.notify_all()
        return reply


def _authenticate(connection: Connection, key: bytes) -> None:
    """Have the other side prove that it knows the key, and prove it in turn.

    Raises:
        AuthenticationError: it does not know it.
        OSError: it hung up, or stays silent.
    """
    with socket.socket(fileno=os.dup(connection.fileno())) as same:
        patience = struct.pack("ll", HANDSHAKE_SECONDS, 0)
        same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        deliver_challenge(connection, key)
        answer_challenge(connection, key)
        same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 0))
