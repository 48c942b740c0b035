"""How every command ends: one line for what went wrong, and an exit code."""

import errno
import functools
import logging
import os
import re
import select
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from xray.common.errors import UserError
from xray.common.redaction import without_secrets

FAULT = 1
INTERRUPTED = 130  # 128 + SIGINT, as shells count it
NO_READER = 141  # 128 + SIGPIPE
ONE_LINE = 300  # characters
DISK = {
    errno.ENOSPC: "Make room on that disk.",
    errno.EDQUOT: "Make room on that disk.",
    errno.EROFS: "Choose a place that can be written.",
}
"""What a user does about a disk's fault, by its number."""

Main = Callable[..., int]


def command(again: str = "") -> Callable[[Main], Main]:
    """Lets a `main` end as every command does: its decorator.

    Its exit code is what `main` returns, and after an exception that of `verdict`, with
    one line on standard error. `python -X dev` shows where a fault was. When standard
    output is closed, as by `| head`, it ends without a word.

    Args:
        again: what the line adds where a second try goes on, after `; `.
    """

    def decorate(main: Main) -> Main:
        @functools.wraps(main)
        def ended(*arguments: object, **named: object) -> int:
            try:
                code = main(*arguments, **named)
            except SystemExit:  # --help and what argparse refuses
                if _is_read():
                    raise
                return NO_READER
            except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 - told here
                pending = not _is_read()
                if isinstance(error, BrokenPipeError) and (pending or _hung_up()):
                    return NO_READER
                return _tell(error, f"; {again}" if again else "")
            return code if _is_read() else NO_READER

        return ended

    return decorate


def verdict(error: BaseException) -> tuple[str, int]:
    """What to say of the exception that ended a command, and the exit code.

    A UserError has its own, 2 or 3; 2: a full disk; 130: interrupted; 1: a fault of the
    program.
    """
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", INTERRUPTED
    if isinstance(error, UserError):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.errno in DISK:
        where = f" for {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}. {DISK[error.errno]}", UserError.exit_code
    return one_line(error), FAULT


def report_error(message: str, exit_code: int) -> int:
    """Print the line of an error, without secrets; its exit code."""
    print(f"error: {without_secrets(message)}", file=sys.stderr)
    return exit_code


def one_line(error: BaseException) -> str:
    """Its kind and message: of a Spark failure, what the executor's Python said."""
    text = f"{type(error).__name__}: {error}"
    said = re.findall(r"^(?:\w+\.)*(\w+(?:Error|Exception): .+)$", text, re.MULTILINE)
    return (said[-1] if said else text.splitlines()[0])[:ONE_LINE]


def split_command(arguments: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """A command line before and after its first `--`; None is this program's own.

    Split here: argparse would take the command's own options for ours.
    """
    every = list(sys.argv[1:] if arguments is None else arguments)
    place = every.index("--") if "--" in every else len(every)
    return every[:place], every[place + 1 :]


def log_warnings() -> None:
    """Print warnings as a line each, and nothing of what TensorFlow's C++ logs."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_for_users)


def _is_for_users(record: logging.LogRecord) -> bool:
    """Not what py4j tells with a stack of its connection, as at Ctrl-C.

    Whoever used the connection says what that means.
    """
    return "py4j" not in Path(record.pathname).parts


def _tell(error: BaseException, again: str) -> int:
    text, code = verdict(error)
    if code == INTERRUPTED:
        print(f"{text}{again}", file=sys.stderr)
        return code
    if code != FAULT:
        return report_error(text, code)
    if sys.flags.dev_mode:
        traceback.print_exception(error)
    return report_error(f"{text}{again} (python -X dev shows where)", code)


def _is_read() -> bool:
    """Whether what is left for standard output can be written; if not, it is lost."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would try again when it ends, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


def _hung_up() -> bool:
    """Whether standard output is a pipe that nobody reads: nothing need be left."""
    poll = select.poll()
    try:
        poll.register(sys.stdout, 0)
    except OSError:  # no file
        return False
    return bool(poll.poll(0))
