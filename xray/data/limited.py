"""Decoding in child processes, each with a limit of memory and of processor time.

A file that nobody vouches for may cost its decoder far more than its size lets expect.
Here that costs a child, which is replaced: not the page, and not an executor.
"""

import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from typing import Any, TypeVar

from xray.common.errors import UserError

MEMORY_BYTES = 2**30  # for one picture; 20 million pixels take a third of it
CPU_SECONDS = 20  # of one core; as many of JPEG 2000 take six
START_SECONDS = 60  # by the clock, also on a machine that is busy with other work
ANSWER_SECONDS = 120
# By each child, before its memory is limited: what it will need.
PREPARE = "from xray.data.images import silence_decoders; silence_decoders()"

Outcome = TypeVar("Outcome")


def run_limited(function: Callable[..., Outcome], *arguments: Any) -> Outcome:
    """`function(*arguments)`, worked out by a child process that is kept for the next.

    As many work at once as this process may use cores; the others wait.

    Args:
        function: of a module, so that the child finds it; returns what can be pickled.
        *arguments: for it, which can be pickled.

    Raises:
        ValueError: raised by `function`, or it took more than `CPU_SECONDS` or broke.
        MemoryError: it needed more than `MEMORY_BYTES`.
        RuntimeError: `function` failed in another way, whose name this has.
        UserError: no child can be started, it gives no answer, or was ended.
    """
    with _places:
        child = _take()
        outcome = child.call(function, arguments)  # a child that raises is not kept
        _idle.append(child)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def start_child() -> None:
    """Have a child ready, so that the first picture need not wait for it.

    Raises:
        UserError: it cannot be started.
    """
    _idle.append(_take())


def _cores() -> int:
    # The variable is set on executors, several of which may share a machine.
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return int(threads) if threads.isdecimal() else len(os.sched_getaffinity(0))


class _Child:
    """A process that runs one function after the other; it ends when this one does."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        code = (
            f"{PREPARE}; from xray.data.limited import serve; serve({theirs.fileno()})"
        )
        paths = os.pathsep.join(path for path in sys.path if path)
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            env=os.environ | one_thread | {"PYTHONPATH": paths},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            process_group=0,  # a terminal's Ctrl-C is for this process
        )
        theirs.close()
        try:
            self._receive(START_SECONDS)
        except EOFError:
            raise UserError(
                "The process that decodes pictures did not start, for the reason "
                "above. Mend that, and start again."
            ) from None

    def call(self, function: Callable, arguments: tuple) -> Any:
        try:
            self._connection.send((function, arguments, CPU_SECONDS))
            return self._receive(ANSWER_SECONDS)
        except (EOFError, OSError):
            return self._why_it_ended()

    def _receive(self, seconds: float) -> Any:
        if not self._connection.poll(seconds):
            self.stop()
            raise UserError(
                f"The process that decodes pictures gave no answer for {seconds} s. "
                "Free this machine's processor and memory, and try again."
            )
        return self._connection.recv()

    def _why_it_ended(self) -> Any:
        code = self.stop()
        if code == -signal.SIGXCPU:
            raise ValueError(f"it takes more than {CPU_SECONDS} s to decode")
        if code in (-signal.SIGKILL, -signal.SIGTERM):
            raise UserError(
                f"The process that decodes pictures was ended by signal {-code}. Free "
                "this machine's memory, and try again."
            )
        raise ValueError(f"its decoder broke (exit code {code})")

    def lives(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> int:
        """Its exit code; it is ended where it has not ended by itself."""
        self._connection.close()
        try:
            return self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


_idle: list[_Child] = []
_places = threading.BoundedSemaphore(_cores())


def _take() -> _Child:
    while _idle:
        try:
            child = _idle.pop()
        except IndexError:  # another thread was faster
            break
        if child.lives():
            return child
    return _Child()


def serve(descriptor: int) -> None:
    """What a child does until the other end of its connection is closed.

    Args:
        descriptor: of the connection.
    """
    connection = Connection(descriptor)
    used = resource.getpagesize() * int(_read("/proc/self/statm").split()[0])
    _limit(resource.RLIMIT_AS, used + MEMORY_BYTES)
    connection.send("ready")
    while True:
        try:
            function, arguments, cpu_seconds = connection.recv()
        except EOFError:
            return
        _limit(resource.RLIMIT_CPU, int(time.process_time()) + 1 + cpu_seconds)
        connection.send_bytes(_outcome(function, arguments))


def _outcome(function: Callable, arguments: tuple) -> bytes:
    """What `function` returns or raises, pickled."""
    try:
        return pickle.dumps(function(*arguments))
    except (ValueError, MemoryError) as error:
        return pickle.dumps(error)
    except Exception as error:  # noqa: BLE001 - told by name on the other side
        return pickle.dumps(RuntimeError(type(error).__name__))


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (soft, hard))


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()
