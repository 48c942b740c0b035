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
) -> None:
    """Start a process whose words go to `log`; it ends with `stack`."""
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


def wait_for(log: Path, pattern: str, times: int, cluster: str) -> None:
    """Wait until `pattern` stands in `log` so often.

    Raises:
        UserError: it does not within START_SECONDS; names `cluster`.
    """
    deadline = time.monotonic() + START_SECONDS
    while len(re.findall(pattern, log.read_text(errors="replace"))) < times:
        if time.monotonic() > deadline:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise UserError(
                f"The local {cluster} cluster did not start in {START_SECONDS} s: "
                f"{lines[-1] if lines else 'no output'}"
            )
        time.sleep(0.1)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
