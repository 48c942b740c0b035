"""Where a file is: s3://bucket/key, or a path of this machine."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StoredObject:
    """One file of a listing.

    Attributes:
        uri: its address, or its absolute path.
        key: the object's in its bucket, or its path below the folder that was listed.
        size: in bytes.
        etag: without quotes; of a file it is not known before it is read.
    """

    uri: str
    key: str
    size: int
    etag: str = ""


def on_s3(place: str) -> bool:
    """Whether a path or an address is one on S3."""
    return place.startswith("s3://")


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key (or prefix) of an s3:// address."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def under(place: str, name: str) -> str:
    """The path or address of a file in a folder or below a prefix."""
    if on_s3(place):
        return f"{place.rstrip('/')}/{name}"
    return str(Path(place, name))


def absolute(place: str) -> str:
    """An address as it is, a path from the root: workers start in other folders."""
    return place if on_s3(place) else str(Path(place).absolute())
