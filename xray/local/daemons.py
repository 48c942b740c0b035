"""Java processes that stay while a block runs, and a word that they are ready."""

import contextlib
import re
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from xray.common.errors import UserError
from xray.common.processes import die_with_parent, stop

START_SECONDS = 60


def start_daemon(
    stack: contextlib.ExitStack,
    log: Path,
    command: Sequence[str],
    environment: Mapping[str, str],
) -> subprocess.Popen:
    """A process whose words go to `log`; it ends with `stack`."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    stack.callback(stop, process)
    return process


def wait_for(
    log: Path,
    pattern: str,
    cluster: str,
    daemons: Sequence[tuple[subprocess.Popen, Path]],
) -> None:
    """Wait until `pattern` stands in `log` so often as there are `daemons`.

    Args:
        log: of the daemon that says so.
        pattern: regular expression.
        cluster: its name.
        daemons: that are starting, each with its log.

    Raises:
        UserError: one ends, or the words do not come within START_SECONDS.
    """
    deadline = time.monotonic() + START_SECONDS
    while len(re.findall(pattern, log.read_text(errors="replace"))) < len(daemons):
        for process, own_log in daemons:
            if (code := process.poll()) is not None:
                raise UserError(
                    f"A process of the local {cluster} cluster ended (code {code}): "
                    f"{_last_line(own_log)}"
                )
        if time.monotonic() > deadline:
            raise UserError(
                f"The local {cluster} cluster did not start in {START_SECONDS} s: "
                f"{_last_line(log)}"
            )
        time.sleep(0.1)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
