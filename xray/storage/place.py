"""A folder of this machine or a prefix on S3, where files are whole or not there."""

import contextlib
import os
from pathlib import Path

from xray.common.errors import UserError
from xray.config.data import DataConfig
from xray.storage.address import StoredObject, on_s3, split_uri, under
from xray.storage.credentials import S3Access, load_access
from xray.storage.s3 import Storage, UnreadableObject


class Place:
    """Where files stand; they are named by their path below it.

    Args:
        root: folder or s3://bucket/prefix/
        access: to S3, not asked for a folder; None asks boto3's own chain.
        connections: S3 requests under way at once.
    """

    def __init__(
        self,
        root: str,
        access: S3Access | None = None,
        connections: int = 16,
    ) -> None:
        self._on_s3 = on_s3(root)
        self.root = root.rstrip("/") or "/"
        self._storage = Storage(access or S3Access(), connections)

    @classmethod
    def of_file(
        cls, address: str | Path, access: S3Access | None = None
    ) -> tuple["Place", str]:
        """The place of one file, and the file's name there.

        Args:
            address: path or s3:// address of the file.
            access: to S3; None asks boto3's own chain.
        """
        folder, slash, name = str(address).rpartition("/")
        return cls(f"{folder}{slash}" or ".", access, connections=1), name

    @classmethod
    def checked(
        cls, root: str, setting: str, data: DataConfig, connections: int = 16
    ) -> "Place":
        """A folder, made unless it is there, or a prefix on S3 that can be written.

        Args:
            root: folder or s3://bucket/prefix/
            setting: that names it, for messages.
            data: how to reach S3.
            connections: S3 requests under way at once.

        Raises:
            UserError: it cannot be written.
        """
        if not on_s3(root):
            check_folder(Path(root), setting)
            return cls(root)
        try:
            access = load_access(data.credentials, data.endpoint_url)
            cls(root, access, connections=1).try_to_write()
        except UserError as error:
            raise UserError(f"{setting} {root} cannot be written: {error}") from None
        return cls(root, access, connections)

    def try_to_write(self) -> None:
        """Write an empty file, since only writing shows the right to write.

        Raises:
            UserError: disk or S3 refuses.
        """
        self.write(".writable", b"")
        with contextlib.suppress(UserError):  # the keys may not allow to delete
            self.delete(".writable")

    def names(self) -> list[str]:
        """Of every file there, sorted.

        Raises:
            UserError: S3 refuses.
        """
        if self._on_s3:
            return list(self.objects())
        root = Path(self.root)
        paths = (p for p in root.rglob("*") if p.is_file() and p.suffix != ".tmp")
        return sorted(path.relative_to(root).as_posix() for path in paths)

    def objects(self) -> dict[str, StoredObject]:
        """Of every file there that is not empty, by name, sorted.

        Raises:
            UserError: disk or S3 refuses.
        """
        prefix = split_uri(self.at(""))[1] if self._on_s3 else ""
        found = self._storage.list_objects(self.at(""))
        return {o.key.removeprefix(prefix): o for o in found}

    def read(self, name: str, setting: str = "", hint: str = "") -> bytes:
        """The content of a file.

        Args:
            name: of the file.
            setting: that names it, for messages.
            hint: what to do if it is gone, for messages: from ", " or ". " on.

        Raises:
            UserError: it is gone, or disk or S3 refuses.
        """
        file = f"{setting} {self.at(name)}".strip()
        try:
            if self._on_s3:
                return self._storage.read(self.at(name))
            return Path(self.at(name)).read_bytes()
        except FileNotFoundError:
            raise UserError(f"{file} does not exist{hint}.") from None
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}.") from None
        except UnreadableObject as error:
            raise UserError(f"{file} cannot be read: {error}{hint}.") from None

    def write(self, name: str, content: bytes) -> str:
        """Write a file, whole or not at all; its ETag, on a disk its MD5.

        Raises:
            UserError: disk or S3 refuses.
        """
        return self._storage.write(self.at(name), content)

    def delete(self, name: str) -> None:
        """Remove a file; none there is no error.

        Raises:
            UserError: disk or S3 refuses.
        """
        self._storage.delete(self.at(name))

    def at(self, name: str) -> str:
        """The path or address of a file."""
        return under(self.root, name)


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


def access_for(
    address: str, credentials: Path | None = None, endpoint_url: str | None = None
) -> S3Access | None:
    """The access that an address on S3 needs; None for a path, which needs none.

    Args:
        address: path or s3:// address.
        credentials: as `load_access` takes them.
        endpoint_url: likewise.

    Raises:
        UserError: the credentials cannot be used.
    """
    return load_access(credentials, endpoint_url) if on_s3(address) else None
