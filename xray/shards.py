"""Images as Spark partitions: every executor reads its own from S3."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xray.cluster import Cluster
from xray.config import DataConfig
from xray.credentials import S3Access
from xray.dataset import Subset
from xray.errors import UserError
from xray.images import load_images
from xray.storage import Storage

if TYPE_CHECKING:
    from pyspark import RDD


@dataclass(frozen=True)
class ShardReader:
    """What an executor needs to read images.

    It travels inside the pickled task, which Spark shows nowhere: not in its UI, its
    logs or its event log. Settings, which Spark does show, hold no secret.
    """

    access: S3Access
    image_size: int
    threads: int
    cache_dir: Path | None


def shard_rows(count: int, shards: int, seed: int | None = None) -> list[np.ndarray]:
    """`shards` lists of row numbers of equal length, give or take one.

    Args:
        count: rows in all.
        shards: how many lists.
        seed: of the shuffle before cutting; None keeps the order.
    """
    order = np.arange(count)
    if seed is not None:
        order = np.random.default_rng(seed).permutation(count)
    return np.array_split(order, shards)


def check_shards(images: int, workers: int, batch_size: int) -> None:
    """Refuse partitions that Elephas would silently leave untrained.

    Raises:
        UserError: a worker would get no image, or no more than one batch.
    """
    if workers > images:
        raise UserError(
            f"runner.workers must be at most the {images} training images. Got "
            f"{workers}. Lower it or use more images."
        )
    smallest = images // workers
    if smallest <= batch_size:
        raise UserError(
            f"The smallest partition has {smallest} images, training.batch_size is "
            f"{batch_size}; Elephas trains a partition only when it has more images "
            "than a batch. Lower training.batch_size or runner.workers."
        )


def load_shards(
    cluster: Cluster,
    subset: Subset,
    data: DataConfig,
    access: S3Access,
    seed: int | None,
) -> tuple["RDD", dict[str, str]]:
    """The images of `subset`, one partition a worker, read, decoded and kept.

    Returns:
        An RDD of (row of `subset`, uint8 (H, W, 1), float32 (15,)), persisted with
        its partitions filled, and why the unreadable images are missing from it, by
        name.
    """
    from pyspark import StorageLevel

    rows = shard_rows(len(subset), cluster.workers, seed)
    # One element a partition: Spark cuts longer lists in batches of its own choice.
    descriptions = [
        (part, subset.uris[part], subset.etags[part], subset.labels[part])
        for part in rows
    ]
    reader = ShardReader(access, data.image_size, data.read_threads, data.cache_dir)
    outcomes = (
        cluster.context.parallelize(descriptions, cluster.workers)
        .mapPartitions(partial(read_shard, reader))
        .persist(StorageLevel.MEMORY_AND_DISK)
    )
    outcomes.setName("images")
    failures = outcomes.filter(_is_failure).map(_row_and_reason).collect()
    bad = {str(subset.names[row]): reason for row, reason in sorted(failures)}
    return outcomes.filter(_is_image), bad


def read_shard(reader: ShardReader, descriptions: Iterator[tuple]) -> Iterator[tuple]:
    """Runs on an executor: (row, pixels or reason, labels) of each image."""
    storage = Storage(reader.access, reader.threads)
    for rows, uris, etags, labels in descriptions:
        outcomes = load_images(
            storage, uris, etags, reader.image_size, reader.threads, reader.cache_dir
        )
        floats = labels.astype(np.float32)
        for row, outcome, label in zip(rows, outcomes, floats, strict=True):
            yield int(row), outcome, label


@dataclass(frozen=True)
class ShardPart:
    """Images of one shard before they are read: their rows of a subset and more."""

    rows: np.ndarray
    uris: np.ndarray
    etags: np.ndarray
    labels: np.ndarray


def cut_shards(subset: Subset, shards: int, seed: int | None) -> list[ShardPart]:
    """`subset` in parts of equal size, give or take one; rows ascend within each."""
    return [
        ShardPart(rows, subset.uris[rows], subset.etags[rows], subset.labels[rows])
        for rows in map(np.sort, shard_rows(len(subset), shards, seed))
    ]


def read_part(
    reader: ShardReader, part: ShardPart
) -> tuple[ShardPart, np.ndarray, list[tuple[int, str]]]:
    """The readable images of a part, their pixels, and why others are missing.

    Returns:
        The part without the unreadable images, uint8 (n, H, W, 1), and (row, reason)
        of each unreadable one.
    """
    storage = Storage(reader.access, reader.threads)
    size = reader.image_size
    pixels = np.empty((len(part.rows), size, size, 1), np.uint8)
    good, bad = [], []
    outcomes = load_images(
        storage, part.uris, part.etags, size, reader.threads, reader.cache_dir
    )
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, str):
            bad.append((int(part.rows[index]), outcome))
        else:
            pixels[len(good)] = outcome
            good.append(index)
    kept = ShardPart(
        part.rows[good], part.uris[good], part.etags[good], part.labels[good]
    )
    return kept, pixels[: len(good)], bad


def _is_failure(row: tuple) -> bool:
    return isinstance(row[1], str)


def _is_image(row: tuple) -> bool:
    return not isinstance(row[1], str)


def _row_and_reason(row: tuple) -> tuple[int, str]:
    return row[0], row[1]


def pixels_and_labels(row: tuple) -> tuple[np.ndarray, np.ndarray]:
    """The pair Elephas trains on, from a row of `load_shards`."""
    return row[1], row[2]
