"""Reading staged data: a manifest, an index of the images, and shards of their pixels.

`experiments/stage.py` writes them (xray.data.staging). Under `data.staged` stand

- `manifest.json`: what was staged, and every shard with its size and ETag (`Manifest`);
- `index-*.parquet`: a row an image: where its pixels are or why it has none;
- `shards/part-*.parquet` or `.tfrecord`: the images (xray.data.shard_files);
- `notes/part-*.json`: one a shard, by which staging goes on after an interruption.
"""

import io
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ValidationError

from xray.common.errors import UserError
from xray.config.run import DataConfig
from xray.data.labels import FINDINGS
from xray.data.shard_files import FORMATS
from xray.storage.place import under
from xray.storage.s3 import Storage, UnreadableObject

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
STAGED, UNREADABLE = "staged+", "unreadable:"
READ_ATTEMPTS = 3
RETRY_SECONDS = 0.25
SHARDS_AHEAD = 4


class Shard(BaseModel):
    """One file of images."""

    name: str
    """Under the prefix."""
    images: int
    bytes: int
    etag: str


class Manifest(BaseModel):
    """What stands under a prefix of staged data."""

    format_version: int = FORMAT_VERSION
    created: datetime
    form: Literal["parquet", "tfrecord"]
    image_size: int
    """Height and width in pixels."""
    labels: tuple[str, ...] = FINDINGS
    """Order of the findings in the label columns."""
    source_images: str
    """`data.images` that the pixels were decoded from; the index has each ETag."""
    source_labels: str
    """`data.labels`."""
    source_labels_etag: str
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
    """The staged images as `dataset.match_images` gives the raw ones.

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
    uri = under(data.staged, manifest.index)
    try:
        table = pd.read_parquet(io.BytesIO(storage.read(uri)))
    except (UnreadableObject, ValueError, OSError) as error:
        raise UserError(
            f"Index {uri} cannot be read: {error}. Run experiments/stage.py again."
        ) from None
    return table.assign(uri=_addresses(table, data.staged)).set_index("image"), (
        manifest.listed
    )


def check_same_source(manifest: Manifest, data: DataConfig) -> None:
    """Refuse staged data that are not what `data` describes.

    Raises:
        UserError: it names the first setting that differs.
    """
    for name, staged, wanted in (
        ("format version", manifest.format_version, FORMAT_VERSION),
        ("label order", manifest.labels, FINDINGS),
        ("data.image_size", manifest.image_size, data.image_size),
        ("data.images", manifest.source_images, data.images),
        ("data.labels", manifest.source_labels, data.labels),
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


def _addresses(table: pd.DataFrame, prefix: str) -> list[str]:
    shards = f"{STAGED}{under(prefix, '')}"
    return [
        f"{UNREADABLE}{reason}" if reason else f"{shards}{shard}#{row}"
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
        addresses: number and `staged+s3://` address of each image.
        size: height and width in pixels.
        threads: reads under way at once, four at most: a shard is large.

    Raises:
        UserError: a shard is missing or damaged, after three tries.
    """
    wanted: dict[str, list[tuple[int, int]]] = {}
    for number, address in addresses:
        uri, _, row = address.removeprefix(STAGED).rpartition("#")
        wanted.setdefault(uri, []).append((number, int(row)))
    rows = [max(row for _, row in images) + 1 for images in wanted.values()]
    read = partial(_read_shard, storage, size=size)
    for uri, pixels in _read_ahead(read, list(zip(wanted, rows, strict=True)), threads):
        for number, row in wanted.pop(uri):
            yield number, pixels[row]


def _read_ahead(
    read: partial, shards: list[tuple[str, int]], threads: int
) -> Iterator[tuple[str, np.ndarray]]:
    ahead = min(threads, SHARDS_AHEAD)
    with ThreadPoolExecutor(ahead) as pool:
        waiting = deque()
        for uri, rows in shards:
            if len(waiting) == ahead:
                yield waiting.popleft().result()
            waiting.append(pool.submit(read, uri, rows))
        while waiting:
            yield waiting.popleft().result()


def _read_shard(
    storage: Storage, uri: str, rows: int, size: int
) -> tuple[str, np.ndarray]:
    """The address again, and the pixels, of which there are at least `rows`."""
    decode = FORMATS[uri.rpartition(".")[2]].decode
    for attempt in range(READ_ATTEMPTS):
        try:
            pixels = decode(storage.read(uri), size)
            if len(pixels) >= rows:
                return uri, pixels
            reason = f"it has {len(pixels)} images instead of {rows} or more"
        except (UnreadableObject, ValueError) as error:
            reason = str(error)[:200]
        time.sleep(RETRY_SECONDS * 2**attempt)
    raise UserError(
        f"Staged shard {uri} cannot be read ({reason}; {READ_ATTEMPTS} tries). Run "
        "experiments/stage.py again."
    )
