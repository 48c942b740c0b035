"""A checkpoint's file among others: held by one run, set aside, written with room."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import numpy as np

from xray.common.errors import UserError
from xray.common.files import Held, locked
from xray.storage.results_folder import ResultsFolder

logger = logging.getLogger(__name__)

ENTRY_BYTES = 1024  # more than the headers of one array take


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep other runs off the checkpoint `path` while the block runs.

    Raises:
        UserError: another run of the same configuration is under way.
    """
    lock = path.with_suffix(".lock")
    with ExitStack() as stack:
        stack.callback(remove_if_empty, path.parent)
        try:
            stack.enter_context(locked(lock))
        except Held as error:
            raise UserError(
                f"Another run of this configuration ({error}) keeps its checkpoint in "
                f"{path}. Wait for its end, or give another --results."
            ) from None
        except OSError as error:
            logger.warning("%s cannot be locked: %s", lock, error.strerror)
        yield


def set_aside(path: Path, results: ResultsFolder) -> None:
    """Give the checkpoint of an unfinished run another name, and say how to go back.

    Raises:
        UserError: S3 refuses its copy.
    """
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    aside = path.with_name(f"{path.stem}_{written:%Y%m%dT%H%M%S.%f}Z{path.suffix}")
    path.rename(aside)
    logger.warning(
        "The checkpoint of an unfinished run of this configuration is set aside: to go "
        "on from it, move %s to %s and give --resume",
        results.bring(aside),
        path.name,
    )


def write_arrays(file: IO[bytes], arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays once the disk has room for all: np.savez dies untidily without.

    Raises:
        OSError: it has no room.
    """
    room = sum(array.nbytes + ENTRY_BYTES for array in arrays.values())
    os.posix_fallocate(file.fileno(), 0, room)
    np.savez(file, **arrays)
    file.truncate()


def remove_if_empty(folder: Path) -> None:
    """Delete a folder, unless it holds something or is not there."""
    with suppress(OSError):
        folder.rmdir()
