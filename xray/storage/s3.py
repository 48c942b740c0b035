"""Listing and reading S3: patient with a busy one, and sure of what it gets."""

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from xray.storage.credentials import S3Access
from xray.storage.deadline import READ_SECONDS, read_in_time
from xray.storage.failures import UnreadableObject, replaced, split_uri, translated
from xray.storage.patience import BrokenBody, patiently

if TYPE_CHECKING:
    from botocore.client import BaseClient

T = TypeVar("T")

CLIENTS_LOCK = threading.Lock()


@dataclass(frozen=True)
class StoredObject:
    """One object of a listing: its key, size in bytes and ETag without quotes."""

    key: str
    size: int
    etag: str


class Storage:
    """Reads from S3 with retries; one connection pool, safe to share by threads.

    A request that meets an S3 that is busy or away is made again, as
    `patience.patiently` says. A refusal is told at once.

    Args:
        access: credentials and endpoint.
        connections: requests under way at once.
    """

    def __init__(self, access: S3Access, connections: int = 16) -> None:
        self.access = access
        self._connections = connections
        self._given_up = threading.Event()

    def give_up(self) -> None:
        """Let every request end with its present try: nobody waits for the answers."""
        self._given_up.set()

    def list_objects(self, uri: str, with_empty: bool = False) -> list[StoredObject]:
        """Every object under the prefix `uri`, sorted by key.

        Args:
            uri: s3://bucket/prefix
            with_empty: also those without content, but for folders' markers.

        Raises:
            UserError: refused, unreachable, or no such bucket.
        """
        objects = [
            StoredObject(item["Key"], item["Size"], item["ETag"].strip('"'))
            for page in self._pages(uri)
            for item in page.get("Contents", ())
        ]
        kept = [o for o in objects if o.size or with_empty and o.key[-1] != "/"]
        return sorted(kept, key=lambda o: o.key)

    def read(self, uri: str, etag: str = "", md5: str = "") -> bytes:
        """The bytes of one object, as S3 holds them.

        Args:
            uri: s3://bucket/key
            etag: that it was listed with; empty takes it as it is.
            md5: of the content that it must have; empty takes any.

        Raises:
            UserError: S3 is unreachable, refuses these credentials or does not send
                the object whole.
            ReplacedObject: its ETag is another.
            UnreadableObject: this object alone is gone, or its content not `md5`.
        """
        bucket, key = split_uri(uri)
        condition = {"IfMatch": f'"{etag}"'} if etag else {}

        def get() -> bytes:
            reply = self.client.get_object(Bucket=bucket, Key=key, **condition)
            if etag and reply["ETag"].strip('"') != etag:  # not every S3 knows IfMatch
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
        bucket, key = split_uri(uri)
        reply = self._ask(
            uri, lambda: self.client.put_object(Bucket=bucket, Key=key, Body=content)
        )
        return reply["ETag"].strip('"')

    def delete(self, uri: str) -> None:
        """Remove one object; none there is no error.

        Raises:
            UserError: refused or unreachable.
        """
        bucket, key = split_uri(uri)
        self._ask(uri, lambda: self.client.delete_object(Bucket=bucket, Key=key))

    def check(self, uri: str) -> None:
        """Ask for one name under the prefix `uri`, and no more.

        Raises:
            UserError: refused, unreachable, or no such bucket.
        """
        next(self._pages(uri, MaxKeys=1))

    def _pages(self, uri: str, **settings: int) -> Iterator[dict[str, Any]]:
        bucket, prefix = split_uri(uri)
        settings = {"Bucket": bucket, "Prefix": prefix, **settings}
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


def _check_content(reply: dict[str, Any], content: bytes, md5: str) -> None:
    """Of one answer: whether it came whole, and is what it should be."""
    etag = reply["ETag"].strip('"')
    told = bool(re.fullmatch("[0-9a-f]{32}", etag)) and not _encrypted(reply)
    if not (told or md5):
        return
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
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
    )
    return session.client("s3", endpoint_url=access.endpoint_url, config=config)
