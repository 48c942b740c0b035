"""Files from the web: a download that was cut short goes on where it ended."""

import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from xray.common.errors import UserError

TRIES = 6
PAUSE_SECONDS = 2.0  # after the first failure; twice as long after each
TIMEOUT_SECONDS = 60
CHUNK = 2**20
Progress = Callable[[int, int | None], object]
BUSY = (408, 429, 500, 502, 503, 504)


def download(
    address: str,
    path: Path,
    sha256: str = "",
    progress: Progress = lambda have, whole: None,
) -> None:
    """Fetch the file at an address, whole or not at all.

    What has come so far stands beside it, as `.part`, and is gone on with, also by
    another run.

    Args:
        address: http:// or https://
        path: where the file goes.
        sha256: of its content, as hexadecimal digits; empty takes any.
        progress: called with the bytes that are there and, where it is known, the
            size of the whole.

    Raises:
        UserError: it is not there, does not come, or has another content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    _fetch(address, part, progress)
    if sha256 and (found := _sha256(part)) != sha256.lower():
        part.unlink()
        raise UserError(
            f"{address} must have SHA-256 {sha256}. Got {found}; it was removed. Fetch "
            "it again, or correct the list."
        )
    os.replace(part, path)
    _tag(part).unlink(missing_ok=True)


def _fetch(address: str, part: Path, progress: Progress) -> None:
    for number in range(TRIES):
        try:
            if _append(address, part, progress):
                return
            why = "it was cut short"
        except urllib.error.HTTPError as error:
            if error.code == 416:  # longer by now than what is there
                part.unlink(missing_ok=True)
            elif error.code not in BUSY:
                raise UserError(
                    f"{address} answers {error.code} {error.reason}. Correct the list "
                    "of addresses."
                ) from None
            why = f"it answers {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            why = str(getattr(error, "reason", error)) or type(error).__name__
        if number < TRIES - 1:
            time.sleep(PAUSE_SECONDS * 2**number)
    raise UserError(
        f"{address} cannot be fetched in {TRIES} tries: {why}. What has come is kept; "
        "run again to go on."
    )


def _append(address: str, part: Path, progress: Progress) -> bool:
    """Fetch what is missing; whether that was all of it."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address)
    if have:
        request.add_header("Range", f"bytes={have}-")
        if _tag(part).exists():  # another file by now is sent whole
            request.add_header("If-Range", _tag(part).read_text())
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as reply:
        goes_on = reply.status == 206 and _start(reply) == have
        have = have if goes_on else 0
        if tag := reply.headers.get("ETag"):
            _tag(part).write_text(tag)
        length = reply.headers.get("Content-Length")
        whole = length and have + int(length)
        with open(part, "ab" if goes_on else "wb") as file:
            while piece := reply.read(CHUNK):
                file.write(piece)
                progress(file.tell(), whole)
            return whole is None or file.tell() == whole


def _start(reply: http.client.HTTPResponse) -> int | None:
    found = re.match(r"bytes (\d+)-", reply.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _tag(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
