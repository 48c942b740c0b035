"""Child processes that never outlive the program that started them, and its end."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from xray.common.errors import UserError

STOP_SECONDS = 5
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_PR_SET_PDEATHSIG = 1  # prctl(2)
# Looked up here, before any fork: the child may only make plain system calls.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """For Popen's preexec_fn: end this child when its parent's thread ends."""
    if _LIBC:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def exit_on_termination() -> None:
    """Let SIGTERM and SIGHUP end this program as an error does: what it started goes.

    Their default would leave child processes and temporary folders behind.
    """
    _on_termination(lambda number, _: sys.exit(128 + number))


def interrupt_on_termination() -> None:
    """Let SIGTERM and SIGHUP end this program as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    _on_termination(interrupt)


def _on_termination(handler: Callable[[int, object], object]) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup ignores SIGHUP
            signal.signal(number, handler)


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Let what would end this program do so once the block is through, not before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    kept = {number: signal.getsignal(number) for number in ENDINGS}
    for number, handler in kept.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def stop(process: subprocess.Popen, seconds: float = STOP_SECONDS) -> None:
    """End a process and wait for it; after so many seconds it is killed."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def scripts_first() -> dict[str, str]:
    """PATH on which this Python's own programs, as spark-submit, come first."""
    scripts = str(Path(sys.executable).parent)
    return {"PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}"}


def run_command(command: list[str], environment: dict[str, str] | None = None) -> int:
    """The exit code of `command`, run to its end, as a shell counts it.

    Args:
        command: program and arguments.
        environment: of the command; None is this program's own.

    Raises:
        UserError: there is no such program.
    """
    try:
        process = subprocess.Popen(command, env=environment)
    except OSError as error:
        raise UserError(f"{command[0]} cannot be run: {error.strerror}.") from None
    try:
        code = process.wait()
    except KeyboardInterrupt:
        # The terminal told the command as well; let it end in its own time.
        code = process.wait()
    finally:
        if process.poll() is None:
            stop(process)
    # A signal N reads as -N in Python and as 128 + N in every shell.
    return code if code >= 0 else 128 - code
