"""Averaging of weights between workers that train in one long Spark task each.

The driver runs a `WeightServer`; every worker holds one connection to it for the whole
fit. A round ends when the workers have averaged among themselves (`peers`), weighted by
the images they trained, and each has sent its part of the mean: the driver holds two
vectors, the last mean and the one that arrives, and a lost round leaves no trace.
"""

import secrets
import threading
import time
from collections.abc import Mapping
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener
from operator import itemgetter
from typing import Any, Protocol

import numpy as np

from xray.common.errors import UserError
from xray.spark.resident.attempt import Attempt, RollCall
from xray.spark.resident.connection import (
    CHUNK,
    SILENCE,
    authenticate,
    notice_silence,
    pieces,
    send_vector,
)
from xray.spark.resident.messages import (
    CLOSED,
    Answer,
    Average,
    End,
    Failed,
    Join,
    RoundLost,
    ServerKey,
    Share,
    Stop,
    WantPeers,
    WantShare,
    WantWeights,
)

COUNTS = ("rounds", "attempts", "bytes_received", "bytes_between_workers")


class Handler(Protocol):
    """What the driver makes of the rounds; called by the server's threads.

    What a method raises ends the job.
    """

    def share(self, worker: int) -> Share:
        """What this worker is to do; it may take its time, nobody else waits."""

    def on_gather(self, messages: list[Any]) -> Any:
        """The answer for all to one message a worker, in their order."""

    def on_average(self, counts: dict[str, int], images: int) -> bool:
        """An average of so many images is done, and the workers wait for the answer.

        `counts` are those of the server. Returns whether it has changed the mean.
        """

    def on_retry(self, rounds: int, worker: int | None) -> None:
        """All workers start again, after so many averages; the one lost first."""


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
        bytes_between_workers: that they have exchanged for finished averages.
        error: why the job was ended.
        team: number of the present choice of workers, see `regroup`.
        silent: addresses of hosts that stopped answering.

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
        self.team = 0
        self.silent: set[str] = set()
        self._workers, self._handler = workers, handler
        self._arriving = np.zeros_like(weights)
        self._changed = threading.Condition()
        self._attempt: Attempt | None = None
        self._roll_call = RollCall(workers)
        self._closed = False
        key = secrets.token_bytes(32)
        # Without the key: it would be asked for before the next one is let in.
        self._listener = Listener((host, 0), backlog=workers + 8)
        self.address = ServerKey(host, self._listener.address[1], key)
        threading.Thread(target=self._accept, daemon=True).start()

    def counts(self) -> dict[str, int]:
        """rounds, attempts, bytes_received and bytes_between_workers."""
        return {name: getattr(self, name) for name in COUNTS}

    def missing(self) -> tuple[float, int | None] | None:
        """Seconds since a worker has been missing, and which one; None: none is.

        Its number is None at the start and where it is not known.
        """
        with self._changed:
            seconds = self._roll_call.missing_seconds()
            lost = self._attempt.lost_worker if self._attempt else None
        return None if seconds is None else (seconds, lost)

    def home_seconds(self) -> float | None:
        """Seconds since the workers were told to end; None: they were not."""
        since = self._attempt and self._attempt.home_since
        return None if since is None else time.monotonic() - since

    def regroup(self, workers: int) -> None:
        """Go on with so many workers, of another job; those before are sent away."""
        with self._changed:
            if self._attempt and self._attempt.home_since:
                self._attempt = None  # nobody was lost
            elif self._attempt:
                self._lose(self._attempt, None)
            self.team += 1
            self._workers = workers
            self._roll_call.regroup(workers)

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
            host = notice_silence(connection)
            authenticate(connection, self.address.key)
            joined: Join = connection.recv()
            attempt = self._join(joined)
            worker = joined.worker
            while True:
                self._answer(connection, attempt, worker)
        except (*CLOSED, AuthenticationError, RoundLost) as error:
            if attempt and getattr(error, "errno", None) in SILENCE:
                self.silent.add(host)
            self._leave(attempt, worker)
        except (RuntimeError, UserError) as error:
            self.fail(error)
        finally:
            connection.close()

    def _answer(self, connection: Connection, attempt: Attempt, worker: int) -> None:
        """Answer a worker's next message."""
        match message := connection.recv():
            case Average():
                self._average(connection, attempt, message)
            case WantPeers():
                connection.send(Answer(self._peers(attempt)))
            case WantWeights():
                send_vector(connection, self.weights)
            case WantShare():
                connection.send(self._share(worker))
            case Failed(error):
                raise error
            case _:
                connection.send(self._gather(attempt, worker, message))

    def _join(self, joined: Join) -> Attempt:
        """The attempt that the worker belongs to; a newer one ends the older."""
        number = joined.attempt
        with self._changed:
            if joined.team != self.team:
                raise RoundLost
            if self._attempt is None or number > self._attempt.number:
                if self._attempt:
                    self._lose(self._attempt, None)
                    self._handler.on_retry(self.rounds, self._attempt.lost_worker)
                self._attempt = Attempt(number)
                self.attempts += 1
                if not self.error:
                    self._roll_call.note_start()
            if number < self._attempt.number:
                raise RoundLost
            self._attempt.peers[joined.worker] = joined.peer
            self._changed.notify_all()
            self._roll_call.note_joined(self._attempt)
            return self._attempt

    def _leave(self, attempt: Attempt | None, worker: int | None) -> None:
        with self._changed:
            if attempt:
                self._lose(attempt, worker)

    def _lose(self, attempt: Attempt, worker: int | None) -> None:
        if not attempt.lost:
            attempt.lost, attempt.lost_worker = True, worker
            self._roll_call.note_lost(attempt)
        self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """End the job for all workers because of `error`."""
        self.error = self.error or error
        self._leave(self._attempt, None)

    def _peers(self, attempt: Attempt) -> list[ServerKey]:
        """Where the workers of the attempt let each other in, once all have come."""
        with self._changed:
            everyone = range(self._workers)
            self._changed.wait_for(
                lambda: attempt.lost or all(n in attempt.peers for n in everyone)
            )
            if attempt.lost:
                raise RoundLost
            return [attempt.peers[number] for number in everyone]

    def _share(self, worker: int) -> Answer | Stop:
        try:
            return Answer(self._handler.share(worker))
        except Exception as error:  # noqa: BLE001 - the driver raises it
            self.error = self.error or error
            return Stop()

    def _gather(self, attempt: Attempt, worker: int, message: Any) -> Answer | Stop:
        with self._changed:
            if self.error:
                return Stop()  # or Spark would start all again
            if attempt.lost:
                raise RoundLost
            attempt.arrived.append((worker, message))
            if len(attempt.arrived) < self._workers:
                return self._wait(attempt)
            attempt.arrived.sort(key=itemgetter(0))
            messages = [message for _, message in attempt.arrived]
            try:
                answer: Answer | Stop = Answer(self._handler.on_gather(messages))
                if isinstance(answer.content, End):
                    attempt.home_since = time.monotonic()
            except Exception as error:  # noqa: BLE001 - the driver raises it
                self.error, answer = self.error or error, Stop()
            return self._finish(attempt, answer)

    def _average(
        self, connection: Connection, attempt: Attempt, message: Average
    ) -> None:
        self._receive(connection, attempt, message.start, message.stop)
        with self._changed:
            if attempt.lost:
                raise RoundLost
            attempt.images += message.images
            attempt.arrived.append((0, None))
            if len(attempt.arrived) < self._workers:
                moved = self._wait(attempt)
            else:
                moved = self._finish(attempt, self._take_mean(attempt))
        connection.send(Answer(moved))
        # Nobody changes them now: the next mean needs this worker's part.
        if moved:
            send_vector(connection, self.weights)

    def _receive(
        self, connection: Connection, attempt: Attempt, start: int, stop: int
    ) -> None:
        """Put a worker's part of the mean where it belongs."""
        buffer = np.empty(min(CHUNK, stop - start), np.float32)
        for place in pieces(stop - start):
            piece = buffer[: place.stop - place.start]
            connection.recv_bytes_into(piece)
            with self._changed:
                if attempt.lost:
                    raise RoundLost
                self._arriving[start + place.start : start + place.stop] = piece
                self.bytes_received += piece.nbytes

    def _take_mean(self, attempt: Attempt) -> bool:
        """Make what has arrived the mean; whether the workers need other weights."""
        # Unreadable images can leave an epoch's last part without a batch: nobody
        # trained, and the mean stays what it was.
        if attempt.images:
            self.weights[:] = self._arriving
        images, attempt.images = attempt.images, 0
        self.rounds += 1
        self._roll_call.note_average()
        # Each sends every other its part of the vector, and then its part of the mean.
        self.bytes_between_workers += 2 * (self._workers - 1) * self.weights.nbytes
        return self._handler.on_average(self.counts(), images) or not images

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
