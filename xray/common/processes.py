"""Child processes that never outlive the program that started them, and its end."""

import ctypes
import signal
import subprocess
import sys

from xray.common.errors import UserError

STOP_SECONDS = 5

_PR_SET_PDEATHSIG = 1  # prctl(2)
# Looked up here, before any fork: the child may only make plain system calls.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """For Popen's preexec_fn: end this child when its parent's thread ends."""
    if _LIBC:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def exit_on_sigterm() -> None:
    """Let SIGTERM end this program as an error does: what it started is cleared away.

    Its default would leave child processes and temporary folders behind.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def interrupt_on_sigterm() -> None:
    """Let SIGTERM end this program as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def stop(process: subprocess.Popen) -> None:
    """End a process and wait for it."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


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
