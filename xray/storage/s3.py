"""Listing and reading S3, with retries and errors that say which thing is wrong."""

import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

from xray.common.errors import UserError
from xray.storage.credentials import S3Access

if TYPE_CHECKING:
    from botocore.client import BaseClient

BODY_ATTEMPTS = 4
CLIENTS_LOCK = threading.Lock()
RIGHTS = {"PutObject": "s3:PutObject", "DeleteObject": "s3:DeleteObject"}


class UnreadableObject(Exception):
    """One object that is gone or refused; the others may be fine."""


@dataclass(frozen=True)
class StoredObject:
    """One object of a listing: its key, size in bytes and ETag without quotes."""

    key: str
    size: int
    etag: str


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key (or prefix) of an s3:// address."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


class Storage:
    """Reads from S3 with retries; one connection pool, safe to share by threads.

    Args:
        access: credentials and endpoint.
        connections: requests under way at once.
        attempts: tries of a request; six bear an S3 that is busy for a minute.
    """

    def __init__(
        self, access: S3Access, connections: int = 16, attempts: int = 6
    ) -> None:
        self.access = access
        self._connections, self._attempts = connections, attempts

    def list_objects(self, uri: str, with_empty: bool = False) -> list[StoredObject]:
        """Every object under the prefix `uri`, sorted by key.

        Args:
            uri: s3://bucket/prefix
            with_empty: also those without content, but for folders' markers.

        Raises:
            UserError: refused, unreachable, or no such bucket.
        """
        self.check(uri)
        bucket, prefix = split_uri(uri)
        objects = []
        with _translated(self.access, uri):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Prefix=prefix
            )
            for page in pages:
                objects += [
                    StoredObject(item["Key"], item["Size"], item["ETag"].strip('"'))
                    for item in page.get("Contents", ())
                ]
        kept = [o for o in objects if o.size or with_empty and o.key[-1] != "/"]
        return sorted(kept, key=lambda o: o.key)

    def read(self, uri: str) -> bytes:
        """The bytes of one object.

        Raises:
            UserError: S3 is unreachable or refuses these credentials.
            UnreadableObject: this object alone is gone or refused.
        """
        import botocore.exceptions as errors

        bucket, key = split_uri(uri)
        broken_body = (
            errors.IncompleteReadError,
            errors.ReadTimeoutError,
            errors.ResponseStreamingError,
            errors.ConnectionClosedError,
        )
        for attempt in range(1, BODY_ATTEMPTS + 1):
            with _translated(self.access, uri):
                try:
                    reply = self.client.get_object(Bucket=bucket, Key=key)
                    return reply["Body"].read()
                except broken_body as error:  # botocore retries requests, not bodies
                    if attempt == BODY_ATTEMPTS:
                        raise UnreadableObject(type(error).__name__) from None
        raise AssertionError("unreachable")

    def write(self, uri: str, content: bytes) -> str:
        """Write one object, whole or not at all; its ETag.

        Raises:
            UserError: refused or unreachable.
        """
        bucket, key = split_uri(uri)
        with _translated(self.access, uri):
            reply = self.client.put_object(Bucket=bucket, Key=key, Body=content)
        return reply["ETag"].strip('"')

    def delete(self, uri: str) -> None:
        """Remove one object; none there is no error.

        Raises:
            UserError: refused or unreachable.
        """
        bucket, key = split_uri(uri)
        with _translated(self.access, uri):
            self.client.delete_object(Bucket=bucket, Key=key)

    def check(self, uri: str) -> None:
        """Fail within seconds, where the patient client would retry for a minute.

        Raises:
            UserError: the bucket of `uri` is refused, unreachable or missing.
        """
        bucket, _ = split_uri(uri)
        with _translated(self.access, f"s3://{bucket}/"):
            _make_client(self.access, 1, attempts=2).list_objects_v2(
                Bucket=bucket, MaxKeys=1
            )

    @property
    def client(self) -> "BaseClient":
        """The boto3 S3 client, made at first use (an executor makes its own)."""
        with CLIENTS_LOCK:
            return _make_client(self.access, self._connections, self._attempts)


@lru_cache(maxsize=16)  # boto3 reads its models anew for each, a fifth of a second
def _make_client(access: S3Access, connections: int, attempts: int) -> "BaseClient":
    import boto3
    from botocore.config import Config

    region = access.region or ("us-east-1" if access.endpoint_url else None)
    session = boto3.Session(
        access.access_key_id, access.secret_access_key, access.session_token, region
    )
    config = Config(
        connect_timeout=3,
        read_timeout=30,
        max_pool_connections=connections,
        retries={"mode": "standard", "total_max_attempts": attempts},
        s3={"addressing_style": "path"} if access.endpoint_url else None,
    )
    return session.client("s3", endpoint_url=access.endpoint_url, config=config)


class _translated:
    """Turns boto3's errors into one line that says which thing is wrong."""

    def __init__(self, access: S3Access, uri: str) -> None:
        self._access, self._uri = access, uri

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        import botocore.exceptions as errors

        if isinstance(error, errors.ClientError):
            self._raise_refusal(error)
        if isinstance(
            error, errors.NoCredentialsError | errors.CredentialRetrievalError
        ):
            raise UserError(
                "No S3 credentials on this machine. Set data.credentials to a YAML "
                "file, or give the machine an instance role."
            ) from None
        if isinstance(error, errors.HTTPClientError | errors.ConnectionError):
            where = self._access.endpoint_url or "AWS S3"
            raise UserError(
                f"S3 endpoint {where} does not answer ({type(error).__name__}). Check "
                "data.endpoint_url, or endpoint_url in the credentials file, and the "
                "network."
            ) from None
        if isinstance(error, errors.BotoCoreError | ValueError):
            reason = " ".join(str(error).split())  # botocore's may have several lines
            raise UserError(
                f"S3 request for {self._uri} is not valid: {reason}"
            ) from None

    def _raise_refusal(self, error: Any) -> NoReturn:
        code = error.response["Error"].get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        bucket, key = split_uri(self._uri)
        if code == "NoSuchBucket":
            raise UserError(
                f"Bucket {bucket!r} does not exist at "
                f"{self._access.endpoint_url or 'AWS S3'}. Check data.images, "
                "data.labels and output.models."
            ) from None
        if code in ("NoSuchKey", "404") or status == 404:
            if error.operation_name == "GetObject":
                raise UnreadableObject("no such key") from None
            raise UserError(
                f"{self._access.endpoint_url or 'AWS S3'} does not list "
                f"s3://{bucket}/ ({status} {code}). Check data.endpoint_url: it may "
                "not be an S3 server."
            ) from None
        if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch") or "Token" in code:
            raise UserError(
                f"S3 refuses these credentials ({status} {code}). Check the key id and "
                "the secret in data.credentials."
            ) from None
        if status == 403:
            needed = RIGHTS.get(error.operation_name, "s3:ListBucket and s3:GetObject")
            raise UserError(
                f"S3 denies access to {self._uri} (403 {code}). The keys need "
                f"{needed} there."
            ) from None
        raise UserError(f"S3 failed on {self._uri} ({status} {code}).") from None
