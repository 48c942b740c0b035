"""Listing and reading S3, patient with a busy one, or a folder in its place."""

import re
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from xray.common.errors import UserError
from xray.storage import disk
from xray.storage.address import StoredObject, on_s3, split_uri
from xray.storage.credentials import S3Access
from xray.storage.deadline import READ_SECONDS, read_in_time
from xray.storage.failures import UnreadableObject, replaced, translated
from xray.storage.patience import BrokenBody, patiently

if TYPE_CHECKING:
    from botocore.client import BaseClient

T = TypeVar("T")

CLIENTS_LOCK = threading.Lock()


class Storage:
    """Reads from S3 with retries; one connection pool, safe to share by threads.

    Where an address is a path, that of a file or a folder of this machine, it reads
    that. A file's ETag is the MD5 of its content, as most objects' is.

    A request that meets an S3 that is busy or away is made again, as
    `patience.patiently` says. A refusal is told at once.

    Args:
        access: credentials and endpoint.
        connections: requests under way at once.
    """

    def __init__(self, access: S3Access, connections: int = 16) -> None:
        self.access = access
        self._connections = connections
        self._payer = {"RequestPayer": "requester"} if access.requester_pays else {}
        self._given_up = threading.Event()

    def give_up(self) -> None:
        """Let every request end with its present try: nobody waits for the answers."""
        self._given_up.set()

    def list_objects(self, uri: str, with_empty: bool = False) -> list[StoredObject]:
        """Every object under the prefix `uri`, sorted by key.

        Args:
            uri: s3://bucket/prefix, or a folder, whose files' ETags are left empty.
            with_empty: also those without content, but for folders' markers.

        Raises:
            UserError: refused, unreachable, or no such bucket or folder.
        """
        if not on_s3(uri):
            return disk.list_files(uri, with_empty)
        at = f"s3://{split_uri(uri)[0]}/"
        objects = [
            StoredObject(at + item["Key"], item["Key"], item["Size"], _etag(item))
            for page in self._pages(uri)
            for item in page.get("Contents", ())
        ]
        kept = [o for o in objects if o.size or with_empty and o.key[-1] != "/"]
        return sorted(kept, key=lambda o: o.key)

    def etag(self, found: StoredObject) -> str:
        """Of a file that was listed; one of a folder is read for it.

        Raises:
            UserError: it cannot be read.
        """
        if found.etag:
            return found.etag
        try:
            return disk.digest(disk.read_file(found.uri))
        except UnreadableObject as error:
            raise UserError(f"{found.uri} cannot be read: {error}.") from None

    def read(self, uri: str, etag: str = "", md5: str = "") -> bytes:
        """The bytes of one object, as S3 holds them.

        Args:
            uri: s3://bucket/key, or a path from the root.
            etag: that it was listed with; empty takes it as it is.
            md5: of the content that it must have; empty takes any.

        Raises:
            UserError: S3 is unreachable, refuses these credentials or does not send
                the object whole.
            ReplacedObject: its ETag is another.
            UnreadableObject: this object alone is gone, or its content not `md5`.
        """
        if not on_s3(uri):
            return disk.read_file(uri, etag, md5)
        bucket, key = split_uri(uri)
        condition = {"IfMatch": f'"{etag}"'} if etag else {}
        condition |= self._payer

        def get() -> bytes:
            reply = self.client.get_object(Bucket=bucket, Key=key, **condition)
            if etag and _etag(reply) != etag:  # not every S3 knows IfMatch
                raise replaced(uri)
            content = read_in_time(reply["Body"], reply["ContentLength"])
            _check_content(reply, content, md5)
            return content

        return self._ask(uri, get)

    def write(self, uri: str, content: bytes) -> str:
        """Write one object, whole or not at all; its ETag.

        Raises:
            UserError: refused or unreachable.
        """
        if not on_s3(uri):
            return disk.write_file(uri, content)
        bucket, key = split_uri(uri)
        reply = self._ask(
            uri,
            lambda: self.client.put_object(
                Bucket=bucket, Key=key, Body=content, **self._payer
            ),
        )
        return _etag(reply)

    def delete(self, uri: str) -> None:
        """Remove one object; none there is no error.

        Raises:
            UserError: refused or unreachable.
        """
        if not on_s3(uri):
            return disk.delete_file(uri)
        bucket, key = split_uri(uri)
        self._ask(
            uri,
            lambda: self.client.delete_object(Bucket=bucket, Key=key, **self._payer),
        )

    def check(self, uri: str) -> None:
        """Ask for one name under the prefix `uri`, and no more.

        Raises:
            UserError: refused, unreachable, or no such bucket or folder.
        """
        if not on_s3(uri):
            return disk.check_listed(uri)
        next(self._pages(uri, MaxKeys=1))

    def _pages(self, uri: str, **settings: Any) -> Iterator[dict[str, Any]]:
        bucket, prefix = split_uri(uri)
        settings = {"Bucket": bucket, "Prefix": prefix, **settings, **self._payer}
        while True:
            page = self._ask(uri, lambda: self.client.list_objects_v2(**settings))
            yield page
            if not page.get("IsTruncated"):
                return
            settings["ContinuationToken"] = page["NextContinuationToken"]

    def _ask(self, uri: str, request: Callable[[], T]) -> T:
        with translated(self.access, uri):
            where = self.access.endpoint_url or "AWS S3"
            return patiently(request, where, self._given_up)

    @property
    def client(self) -> "BaseClient":
        """The boto3 S3 client, made at first use (an executor makes its own)."""
        with CLIENTS_LOCK:
            return _make_client(self.access, self._connections)


def _etag(reply: dict[str, Any]) -> str:
    """Without its quotes."""
    return reply["ETag"].strip('"')


def _check_content(reply: dict[str, Any], content: bytes, md5: str) -> None:
    """Of one answer: whether it came whole, and is what it should be."""
    etag = _etag(reply)
    told = bool(re.fullmatch("[0-9a-f]{32}", etag)) and not _encrypted(reply)
    if not (told or md5):
        return
    found = disk.digest(content)
    if told and found != etag:
        raise BrokenBody("its MD5 is not its ETag")
    if md5 and found != md5:
        raise UnreadableObject(f"its content has MD5 {found} instead of {md5}")


def _encrypted(reply: dict[str, Any]) -> bool:
    """Whether S3 encrypts the object so that its ETag is no MD5."""
    kms = reply.get("ServerSideEncryption", "").startswith("aws:")
    return kms or "SSECustomerAlgorithm" in reply


@lru_cache(maxsize=16)  # boto3 reads its models anew for each, a fifth of a second
def _make_client(access: S3Access, connections: int) -> "BaseClient":
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    region = access.region or ("us-east-1" if access.endpoint_url else None)
    session = boto3.Session(
        access.access_key_id, access.secret_access_key, access.session_token, region
    )
    config = Config(
        connect_timeout=3,
        read_timeout=READ_SECONDS,
        max_pool_connections=connections,
        retries={"mode": "legacy", "total_max_attempts": 1},  # see patience.py
        s3={"addressing_style": "path"} if access.endpoint_url else None,
        signature_version=UNSIGNED if access.unsigned else None,
    )
    return session.client("s3", endpoint_url=access.endpoint_url, config=config)
