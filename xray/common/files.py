"""Files that are there whole or not at all, and files that one process holds."""

import fcntl
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


def write_whole(
    path: Path,
    write: Callable[[IO[bytes]], object],
    mode: int = 0o644,
    sync: bool = True,
) -> None:
    """Make the file `path` by `write(file)`, whole or not at all.

    Args:
        path: its folder is made if it is missing.
        write: called with the new file, open for bytes.
        mode: permissions; until the file is whole only its owner has any.
        sync: wait until the disk has it. Without, it is written sooner, and may be
            lost, but not mixed up, when the machine loses power.

    Raises:
        OSError: the disk refuses; a file that stood there before still does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f"{path.name}.", suffix=".tmp", delete=False
    ) as file:
        try:
            write(file)
            file.flush()
            if sync:
                os.fsync(file.fileno())
            os.chmod(file.name, mode)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


class Held(Exception):
    """Another process holds a lock; the message says which."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` while the block runs; it is gone afterwards.

    The system lets go of it when this process ends, however that ends, so that none
    goes stale. Its folder is made if it is missing.

    Raises:
        Held: another process, or another part of this one, holds it.
        OSError: the disk refuses, or cannot lock.
    """
    lock = _hold(path)
    try:
        with suppress(OSError):  # a full disk; the lock holds without a name in it
            os.ftruncate(lock, 0)
            os.write(lock, f"process {os.getpid()} on {platform.node()}".encode())
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(lock)


def _hold(path: Path) -> int:
    """The lock file, open and held: the one of that name, not one just removed."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # whoever held it last took the folder away
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), os.stat(path)):
                return lock
        except FileNotFoundError:
            pass
        except BlockingIOError:
            holder = os.pread(lock, 1024, 0).decode(errors="replace")
            os.close(lock)
            raise Held(holder or "another process") from None
        except OSError:
            os.close(lock)
            raise
        os.close(lock)
