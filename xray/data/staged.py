"""Reading staged data: a manifest, an index of the images, and shards of their pixels.

`experiments/stage.py` writes them (xray.data.staging). Under `data.staged` stand

- `manifest.json`: what was staged, and every shard with its size and ETag (`Manifest`);
- `index-*.parquet`: a row an image: where its pixels are or why it has none;
- `shards/part-*.parquet` or `.tfrecord`: the images (xray.data.shard_files);
- `notes/part-*.json`: one a shard, by which staging goes on after an interruption.
"""

import hashlib
import io
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import BaseModel, ValidationError

from xray.common.errors import UserError
from xray.config.data import DataConfig
from xray.config.schemas import NIH
from xray.data.images import ending_reads
from xray.data.shard_files import FORMATS
from xray.storage.address import absolute, under
from xray.storage.failures import ReplacedObject
from xray.storage.s3 import Storage, UnreadableObject

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
STAGED, UNREADABLE = "staged+", "unreadable:"
SHARDS_AHEAD = 4


class Shard(BaseModel):
    """One file of images."""

    name: str
    """Under the prefix."""
    images: int
    bytes: int
    etag: str
    md5: str = ""
    """Of its content; empty in shards of earlier versions, known by `etag` alone."""


class Manifest(BaseModel):
    """What stands under a prefix of staged data."""

    format_version: int = FORMAT_VERSION
    created: datetime
    form: Literal["parquet", "tfrecord"]
    image_size: int
    """Height and width in pixels."""
    labels: tuple[str, ...] = NIH.findings
    """Order of the findings in the label columns."""
    source_images: str
    """`data.images` that the pixels were decoded from; the index has each ETag."""
    source_labels: str
    """`data.labels`."""
    source_labels_etag: str
    uncertain: str = "zeros"
    """`data.uncertain`."""
    where: dict[str, str] = {}
    """`data.where`."""
    limit: int | None
    """`data.limit`, with `seed` the `data.seed` that chose the images."""
    seed: int
    listed: int
    """Images in the source bucket, with or without a label."""
    images: int
    """In the shards."""
    unreadable: int
    """Images with a label that could not be decoded; the index says why."""
    index: str
    """Name of the index under the prefix."""
    shards: list[Shard]


def read_manifest(storage: Storage, prefix: str) -> Manifest | None:
    """The manifest under `prefix`, None where there is none.

    Raises:
        UserError: it cannot be understood.
    """
    uri = under(prefix, MANIFEST)
    try:
        return Manifest.model_validate_json(storage.read(uri))
    except UnreadableObject:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise UserError(
            f"{uri} is no manifest of staged data ({where}: {first['msg']}). Stage "
            "anew to another prefix."
        ) from None


def read_index(data: DataConfig, storage: Storage) -> tuple[pd.DataFrame, int]:
    """The staged images as `matching.match_images` gives the raw ones.

    Returns:
        A row an image, indexed by name, with `uri` (see `Subset.uris`), `etag`,
        `patient` and the findings; and how many images the source bucket listed.

    Raises:
        UserError: nothing is staged there, or not what the configuration asks for.
    """
    manifest = read_manifest(storage, data.staged)
    if manifest is None:
        raise UserError(
            f"Nothing is staged under {data.staged}. Run experiments/stage.py with "
            "this configuration, or set data.staged=null to read the raw images."
        )
    check_same_source(manifest, data)
    if manifest.form == "tfrecord" and os.environ.get("KERAS_BACKEND") == "jax":
        raise UserError(
            f"{data.staged} holds TFRecord shards, which TensorFlow alone reads. Got "
            "runner.backend=jax. Stage to another prefix with --format parquet."
        )
    table = _read_table(under(data.staged, manifest.index), storage)
    addresses = _addresses(table, absolute(data.staged), manifest.shards)
    return table.assign(uri=addresses).set_index("image"), manifest.listed


def index_name(content: bytes) -> str:
    """The name of an index, which its content gives it."""
    return f"index-{hashlib.sha256(content).hexdigest()[:16]}.parquet"


def _read_table(uri: str, storage: Storage) -> pd.DataFrame:
    try:
        content = storage.read(uri)
        if not uri.endswith(f"/{index_name(content)}"):
            raise ValueError("it is damaged")
        return pd.read_parquet(io.BytesIO(content))
    except (UnreadableObject, ValueError, OSError) as error:
        raise UserError(
            f"Index {uri} cannot be read: {error}. Run experiments/stage.py again."
        ) from None


def check_same_source(manifest: Manifest, data: DataConfig) -> None:
    """Refuse staged data that are not what `data` describes.

    Raises:
        UserError: it names the first setting that differs.
    """
    for name, staged, wanted in (
        ("format version", manifest.format_version, FORMAT_VERSION),
        ("findings", manifest.labels, data.findings),
        ("data.image_size", manifest.image_size, data.image_size),
        ("data.images", manifest.source_images, data.images),
        ("data.labels", manifest.source_labels, data.labels),
        ("data.uncertain", manifest.uncertain, data.uncertain),
        ("data.where", manifest.where, data.where),
    ):
        if staged != wanted:
            raise UserError(
                f"{data.staged} was staged with {name} {staged}. Got {wanted}. Choose "
                "another data.staged, or stage there anew."
            )
    chosen = (manifest.limit, manifest.seed)
    if manifest.limit is not None and chosen != (data.limit, data.seed):
        raise UserError(
            f"{data.staged} holds the images of data.limit={chosen[0]}, "
            f"data.seed={chosen[1]} only. Got data.limit={data.limit}, data.seed="
            f"{data.seed}. Stage with these."
        )


class ShardAddress(NamedTuple):
    """A shard and what it must be, as `Subset.uris` names it with a row.

    Attributes:
        uri: s3://BUCKET/KEY
        bytes: its size.
        md5: of its content, empty where nobody knows.
        etag: its ETag.
    """

    uri: str
    bytes: int
    md5: str
    etag: str

    @classmethod
    def of(cls, shard: Shard, prefix: str) -> "ShardAddress":
        """Of a shard in a manifest under `prefix`."""
        return cls(under(prefix, shard.name), shard.bytes, shard.md5, shard.etag)

    @classmethod
    def parse(cls, text: str) -> tuple["ShardAddress", int]:
        """The shard and the row of one image."""
        uri, size, md5, etag, row = text.removeprefix(STAGED).rsplit("#", 4)
        return cls(uri, int(size), md5, etag), int(row)

    def __str__(self) -> str:
        """Without a row."""
        return f"{STAGED}{self.uri}#{self.bytes}#{self.md5}#{self.etag}"


def _addresses(table: pd.DataFrame, prefix: str, shards: Sequence[Shard]) -> list[str]:
    known = {shard.name: str(ShardAddress.of(shard, prefix)) for shard in shards}
    return [
        f"{UNREADABLE}{reason}" if reason else f"{known[shard]}#{row}"
        for shard, row, reason in zip(
            table["shard"], table["row"], table["reason"], strict=True
        )
    ]


def staged_pixels(
    storage: Storage, addresses: Sequence[tuple[int, str]], size: int, threads: int
) -> Iterator[tuple[int, np.ndarray]]:
    """(number, uint8 (size, size, 1)) of each image, shard by shard.

    Args:
        storage: where the shards are.
        addresses: number and `staged+` address of each image.
        size: height and width in pixels.
        threads: reads under way at once, four at most: a shard is large.

    Raises:
        UserError: S3 fails, or a shard is missing or not what the manifest says.
    """
    wanted: dict[ShardAddress, list[tuple[int, int]]] = {}
    for number, address in addresses:
        shard, row = ShardAddress.parse(address)
        wanted.setdefault(shard, []).append((number, row))
    rows = [max(row for _, row in images) + 1 for images in wanted.values()]
    read = partial(_read_shard, storage, size=size)
    shards = list(zip(wanted, rows, strict=True))
    with ending_reads(storage):
        for shard, pixels in _read_ahead(read, shards, threads):
            for number, row in wanted.pop(shard):
                yield number, pixels[row]


def _read_ahead(
    read: partial, shards: list[tuple[ShardAddress, int]], threads: int
) -> Iterator[tuple[ShardAddress, np.ndarray]]:
    ahead = min(threads, SHARDS_AHEAD)
    with ThreadPoolExecutor(ahead) as pool:
        waiting = deque()
        for shard, rows in shards:
            if len(waiting) == ahead:
                yield waiting.popleft().result()
            waiting.append(pool.submit(read, shard, rows))
        while waiting:
            yield waiting.popleft().result()


def _read_shard(
    storage: Storage, shard: ShardAddress, rows: int, size: int
) -> tuple[ShardAddress, np.ndarray]:
    """The shard again, and its pixels, of which there are at least `rows`."""
    decode = FORMATS[shard.uri.rpartition(".")[2]].decode
    try:
        # A copy of the prefix has other ETags and the same content.
        etag = "" if shard.md5 else shard.etag
        content = storage.read(shard.uri, etag, shard.md5)
        if len(content) != shard.bytes:
            raise ValueError(f"it has {len(content)} bytes instead of {shard.bytes}")
        pixels = decode(content, size)
        if len(pixels) >= rows:
            return shard, pixels
        reason = f"it has {len(pixels)} images instead of {rows} or more"
    except ReplacedObject:
        reason = "its ETag is not that of the manifest"
    except (UnreadableObject, ValueError) as error:
        reason = str(error)[:200]
    raise UserError(
        f"Staged shard {shard.uri} cannot be read: {reason}. Run experiments/stage.py "
        "with this configuration: it writes such shards anew."
    )
