"""The page's connections: who is slow is sent away, so that the others are answered.

waitress closes a connection that is silent, but not one of a byte a second, and stops
to accept when there are many. Here each has until its `deadline`, which a byte moves by
its share of a second, and of too many the one whose deadline is first makes room.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import MultiSocketServer, TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

from xray.webapp.limits import Limits

FORM_BYTES = 2**16  # around a file in a form
HEADER_BYTES = 2**14
SPARE_THREADS = 8  # for those that are just let go
ANSWER_BYTES = 2**21  # beyond them a connection takes its answer before the next one
NO_LIMIT = 2**31  # waitress' own, which stops to accept


class TimedChannel(HTTPChannel):
    """One connection, and until when it may keep us waiting.

    Attributes:
        deadline: by `time.monotonic`.
    """

    _works = False

    def __init__(self, server: "TimedServer", *arguments: Any, **named: Any) -> None:
        self._limits = server.limits
        self._start_waiting()
        super().__init__(server, *arguments, **named)

    @property
    def waits(self) -> bool:
        """Whether we wait for it: for a request, or until it takes its answer."""
        return not (self.requests or self._works) or self.total_outbufs_len > 0

    def readable(self) -> bool:
        """Whether to read from it; not once it is closed."""
        return self.connected and super().readable()

    def writable(self) -> bool:
        """Whether to write to it; not once it is closed."""
        return self.connected and super().writable()

    def recv(self, size: int) -> bytes:
        """At most `size` bytes, which move its deadline."""
        data = super().recv(size)
        if self.request is None:  # it begins a new one
            self._start_waiting()
        self._move(len(data))
        return data

    def send(self, data: bytes, do_close: bool = True) -> int:
        """How many bytes it took, which move its deadline."""
        sent = super().send(data, do_close)
        self._move(sent)
        return sent

    def write_soon(self, data: Any) -> int:
        """Add to its answer."""
        if not self.total_outbufs_len:  # it has taken all that was there before
            self._start_waiting()
        return super().write_soon(data)

    def service(self) -> None:
        """Work on its request; meanwhile it waits for us."""
        self._works = True
        try:
            super().service()
        finally:
            self._works = False

    def _start_waiting(self) -> None:
        self.deadline = time.monotonic() + self._limits.patience_seconds / 2

    def _move(self, size: int) -> None:
        # Up to the whole patience: so one that moves is let go later than those that
        # just come, and a burst, which may end in a buffer, buys no longer rest.
        most = time.monotonic() + self._limits.patience_seconds
        earned = self.deadline + size / self._limits.bytes_per_second
        self.deadline = min(most, earned)


class TimedServer(TcpWSGIServer):
    """Listens on one address; all that share a map share the limit of connections."""

    channel_class = TimedChannel
    limits: Limits

    def handle_accept(self) -> None:
        """Accept always, and close the connection that is too much."""
        super().handle_accept()
        *channels, newest = self._channels() or [None]
        if len(channels) >= self.limits.connections:
            waiting = (channel for channel in channels if channel.waits)
            first = min(waiting, key=lambda channel: channel.deadline, default=newest)
            first.handle_close()

    def maintenance(self, now: float) -> None:
        """Close what is over time; called once a second."""
        for channel in self._channels():
            if channel.waits and channel.deadline < time.monotonic():
                channel.handle_close()

    def _channels(self) -> list[TimedChannel]:
        """Those that are open, in the order in which they came."""
        return [one for one in self._map.values() if isinstance(one, TimedChannel)]


def listen(
    application: Callable[..., Iterable[bytes]], host: str, port: int, limits: Limits
) -> MultiSocketServer:
    """A server that listens; `run` serves, and `effective_listen` has its addresses.

    Args:
        application: WSGI.
        host: name or address; a name may have several.
        port: 0 takes a free one.
        limits: of connections, their patience and what they send.

    Raises:
        OSError, ValueError: it cannot listen there.
    """
    body = limits.upload_bytes + FORM_BYTES
    settings = Adjustments(
        host=host,
        port=port,
        threads=limits.connections + SPARE_THREADS,
        connection_limit=NO_LIMIT,
        max_request_header_size=HEADER_BYTES,
        max_request_body_size=body,
        inbuf_overflow=body,  # uploads stay in memory, never in a file
        outbuf_overflow=body,
        outbuf_high_watermark=ANSWER_BYTES,
        cleanup_interval=1,
        asyncore_use_poll=True,  # select() ends at 1024 files
        ident="xray",
    )
    dispatcher = ThreadedTaskDispatcher()
    dispatcher.set_thread_count(settings.threads)
    sockets: dict[int, Any] = {}
    addresses = []
    for address in settings.listen:
        server = TimedServer(
            application,
            sockets,
            dispatcher=dispatcher,
            adj=settings,
            sockinfo=address,
        )
        server.limits = limits
        addresses.append((server.effective_host, server.effective_port))
    return MultiSocketServer(sockets, settings, addresses, dispatcher)
