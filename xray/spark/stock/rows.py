"""Stock Elephas' RDD: an image a row, read and decoded by the executors."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from xray.data.dataset import Subset
from xray.data.partition import ShardPart, cut_shards, read_part
from xray.data.reader import ImageReader
from xray.spark.cluster import Cluster

if TYPE_CHECKING:
    from pyspark import RDD


def load_shards(
    cluster: Cluster, subset: Subset, reader: ImageReader, seed: int
) -> tuple["RDD", dict[str, str]]:
    """The images of `subset`, one partition a worker, read, decoded and kept.

    Args:
        cluster: whose executors read.
        subset: the images.
        reader: how to read them.
        seed: of the order of the images within a partition.

    Returns:
        An RDD of (row of `subset`, uint8 (H, W, 1), float32 (15,)), persisted with
        its partitions filled, and why the unreadable images are missing from it, by
        name.
    """
    from pyspark import StorageLevel

    # One element a partition: Spark cuts longer lists in batches of its own choice.
    parts = cut_shards(subset, cluster.workers, seed)
    outcomes = (
        cluster.context.parallelize(parts, cluster.workers)
        .mapPartitions(partial(_read_rows, reader))
        .persist(StorageLevel.MEMORY_AND_DISK)
    )
    outcomes.setName("images")
    failures = outcomes.filter(_is_failure).map(_row_and_reason).collect()
    bad = {str(subset.names[row]): reason for row, reason in sorted(failures)}
    return outcomes.filter(_is_image), bad


def _read_rows(reader: ImageReader, parts: Iterator[ShardPart]) -> Iterator[tuple]:
    """Runs on an executor: (row, pixels or reason, labels) of each image."""
    for part in parts:
        kept, pixels, bad = read_part(reader, part)
        for row, reason in bad:
            yield row, reason, None
        labels = kept.labels.astype(np.float32)
        for number, row in enumerate(kept.rows):
            yield int(row), pixels[number : number + 1][0], labels[number]


def _is_failure(row: tuple) -> bool:
    return isinstance(row[1], str)


def _is_image(row: tuple) -> bool:
    return not isinstance(row[1], str)


def _row_and_reason(row: tuple) -> tuple[int, str]:
    return row[0], row[1]


def pixels_and_labels(row: tuple) -> tuple[np.ndarray, np.ndarray]:
    """The pair Elephas trains on, from a row of `load_shards`."""
    return row[1], row[2]
