"""Where a run leaves its record and its checkpoint: a folder, or a prefix on S3."""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from xray.common.errors import UserError
from xray.config.data import DataConfig
from xray.storage.address import on_s3
from xray.storage.place import Place, check_folder


class ResultsFolder:
    """A folder of this machine; for a prefix on S3 a stand-in, whose files go there.

    Args:
        folder: of this machine.
        place: on S3, that it stands for.

    Attributes:
        folder: where files are written first.
        root: path or s3:// address that the user knows.
    """

    def __init__(self, folder: Path, place: Place | None = None) -> None:
        self.folder, self._place = folder, place
        self.root = place.root if place else str(folder)
        self._brought: set[Path] = set()

    @classmethod
    def opened(cls, root: str, data: DataConfig) -> "ResultsFolder":
        """The results folder of `--results`, which can be written.

        Args:
            root: path, or s3://bucket/prefix/
            data: how to reach S3.

        Raises:
            UserError: it cannot be written.
        """
        if not on_s3(root):
            check_folder(Path(root), "--results")
            return cls(Path(root))
        place = Place.checked(root, "--results", data)
        return cls(private_folder("results", place.root), place)

    def bring(self, path: Path) -> str:
        """Copy a file of the folder to S3, if it stands for a prefix there.

        Returns:
            Its path or address for good.

        Raises:
            UserError: S3 refuses.
        """
        if not self._place:
            return str(path)
        name = self._name(path)
        self._place.write(name, path.read_bytes())
        self._brought.add(path)
        return self._place.at(name)

    def fetch(self, path: Path) -> None:
        """Take a file of the folder from S3, if it is there.

        Raises:
            UserError: S3 or the disk refuses.
        """
        if self._place and self._name(path) in self._place.names():
            content = self._place.read(self._name(path), "--results")
            Place(str(self.folder)).write(self._name(path), content)

    def delete(self, path: Path) -> None:
        """Remove a file; none there is no error.

        Raises:
            UserError: S3 refuses.
        """
        path.unlink(missing_ok=True)
        if self._place:
            self._place.delete(self._name(path))

    def close(self) -> None:
        """Remove the copies of what is on S3; what is not there stays."""
        for path in self._brought:
            path.unlink(missing_ok=True)
        if self._place:
            for folder in (*self.folder.glob("*/"), self.folder):
                with contextlib.suppress(OSError):  # it holds something
                    folder.rmdir()

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def private_folder(use: str, root: str) -> Path:
    """A temporary folder of one prefix and one user: two runs see each other's locks.

    Args:
        use: what for, in its name.
        root: s3://bucket/prefix/ that it stands for.

    Raises:
        UserError: it belongs to somebody else.
    """
    digest = hashlib.sha256(root.encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir(), f"xray-{use}-{os.getuid()}-{digest}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise UserError(
            f"{folder}, which would stand for {root}, belongs to another user. Set "
            "TMPDIR to a folder of your own."
        )
    return folder
