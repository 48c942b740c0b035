"""A folder of this machine or a prefix on S3, where files are whole or not there."""

import contextlib
import os
from pathlib import Path

from xray.common.errors import UserError
from xray.common.files import write_whole
from xray.config.run import DataConfig
from xray.storage.credentials import S3Access, load_access
from xray.storage.s3 import Storage, UnreadableObject, split_uri


class Place:
    """Where a job's files stand; they are named by their path below it.

    Args:
        root: folder or s3://bucket/prefix/
        access: to S3; not asked for a folder.
        connections: S3 requests under way at once.
    """

    def __init__(self, root: str, access: S3Access, connections: int = 16) -> None:
        self._on_s3 = root.startswith("s3://")
        self.root = root.rstrip("/")
        self._storage = Storage(access, connections)

    def names(self) -> list[str]:
        """Of every file there, sorted.

        Raises:
            UserError: S3 refuses.
        """
        if self._on_s3:
            start = len(split_uri(self.root)[1]) + 1
            listed = self._storage.list_objects(f"{self.root}/")
            return [one.key[start:] for one in listed]
        root = Path(self.root)
        paths = (p for p in root.rglob("*") if p.is_file() and p.suffix != ".tmp")
        return sorted(path.relative_to(root).as_posix() for path in paths)

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            UserError: it is gone, or disk or S3 refuses.
        """
        try:
            if self._on_s3:
                return self._storage.read(self.at(name))
            return Path(self.at(name)).read_bytes()
        except (OSError, UnreadableObject) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{self.at(name)} cannot be read: {reason}.") from None

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all.

        Raises:
            UserError: disk or S3 refuses.
        """
        if self._on_s3:
            self._storage.write(self.at(name), content)
            return
        try:
            write_whole(Path(self.at(name)), lambda file: file.write(content))
        except OSError as error:
            raise UserError(
                f"{self.at(name)} cannot be written: {error.strerror}."
            ) from None

    def delete(self, name: str) -> None:
        """Remove a file; none there is no error.

        Raises:
            UserError: disk or S3 refuses.
        """
        if self._on_s3:
            self._storage.delete(self.at(name))
            return
        try:
            Path(self.at(name)).unlink(missing_ok=True)
        except OSError as error:
            raise UserError(
                f"{self.at(name)} cannot be removed: {error.strerror}."
            ) from None

    def at(self, name: str) -> str:
        """The path or address of a file."""
        return f"{self.root}/{name}"


def check_place(place: str, name: str, data: DataConfig) -> None:
    """Make a folder, or try to write to a prefix on S3.

    Only writing shows the right to write, so a prefix gets an empty object `.writable`,
    which is removed again where the keys allow that.

    Args:
        place: folder or s3://bucket/prefix/
        name: of the setting, for messages.
        data: how to reach S3.

    Raises:
        UserError: it cannot be written.
    """
    if not place.startswith("s3://"):
        check_folder(Path(place), name)
        return
    probe = under(place, ".writable")
    try:
        storage = Storage(load_access(data), connections=1, attempts=2)
        storage.write(probe, b"")
    except UserError as error:
        raise UserError(f"{name} {place} cannot be written: {error}") from None
    with contextlib.suppress(UserError):  # a saved model needs no right to delete
        storage.delete(probe)


def check_folder(folder: Path, name: str) -> None:
    """Make a folder.

    Args:
        folder: to be made unless it is there.
        name: of the setting, for messages.

    Raises:
        UserError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{name} {folder} cannot be made: {error.strerror}. Choose a folder."
        ) from None
    if not os.access(folder, os.W_OK):
        raise UserError(f"{name} {folder} cannot be written. Choose another.")


def under(place: str, name: str) -> str:
    """The path or address of a file in a folder or below a prefix."""
    if place.startswith("s3://"):
        return f"{place.rstrip('/')}/{name}"
    return str(Path(place, name))
