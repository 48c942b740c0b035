"""Files that are there whole or not at all, whoever is killed meanwhile."""

import os
import tempfile
from collections.abc import Callable
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
