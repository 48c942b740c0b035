"""Files of this machine, listed, read and written as the objects of S3 are."""

import hashlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from xray.common.errors import UserError
from xray.common.files import write_whole
from xray.storage.address import StoredObject, absolute
from xray.storage.failures import UnreadableObject, replaced


def list_files(folder: str, with_empty: bool = False) -> list[StoredObject]:
    """Every file in a folder and those below it, links followed, sorted by key.

    Of the path of a file that alone.

    Raises:
        UserError: there is no such folder, or one below it cannot be read.
    """
    root = Path(absolute(folder))
    if root.is_file():
        return [StoredObject(str(root), root.name, root.stat().st_size)]
    found = sorted(_walk(root), key=lambda file: file.key)
    return [file for file in found if file.size or with_empty]


def check_listed(folder: str) -> None:
    """Look into a folder.

    Raises:
        UserError: it is none, or cannot be read.
    """
    next(_walk(Path(absolute(folder))), None)


def _walk(root: Path) -> Iterator[StoredObject]:
    def refuse(error: OSError) -> None:
        raise UserError(
            f"{error.filename} cannot be listed: {error.strerror}. Choose a folder "
            "that is there and can be read."
        )

    for folder, _, names in os.walk(root, onerror=refuse, followlinks=True):
        for path in (Path(folder, name) for name in names):
            if path.is_file():
                key = path.relative_to(root).as_posix()
                yield StoredObject(str(path), key, path.stat().st_size)


def read_file(path: str, etag: str = "", md5: str = "") -> bytes:
    """The content of a file.

    Args:
        path: from the root, as `list_files` gives it.
        etag: the MD5 that it had when it was first read; empty takes it as it is.
        md5: that it must have; empty takes any.

    Raises:
        ReplacedObject: its content is another by now.
        UnreadableObject: it cannot be read, or its content is not `md5`.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UnreadableObject(_why(Path(path), error)) from None
    found = digest(content) if etag or md5 else ""
    if etag and found != etag:
        raise replaced(path)
    if md5 and found != md5:
        raise UnreadableObject(f"its content has MD5 {found} instead of {md5}")
    return content


def _why(path: Path, error: OSError) -> str:
    if not path.parent.is_dir():  # not mounted on this one, maybe
        return f"no folder {path.parent} on host {platform.node()}"
    return (error.strerror or str(error)).lower()


def digest(content: bytes) -> str:
    """The MD5 of some content, which is the ETag of most objects on S3."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def write_file(path: str, content: bytes) -> str:
    """Write a file, whole or not at all; the MD5 of its content.

    Raises:
        UserError: the disk refuses.
    """
    try:
        write_whole(Path(path), lambda file: file.write(content))
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from None
    return digest(content)


def delete_file(path: str) -> None:
    """Remove a file; none there is no error.

    Raises:
        UserError: the disk refuses.
    """
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be removed: {error.strerror}.") from None
