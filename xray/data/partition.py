"""Which worker trains which images."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xray.common.errors import UserError
from xray.data.dataset import Subset
from xray.data.pixels import PixelFile, empty_pixels
from xray.data.reader import ImageReader


@dataclass(frozen=True)
class Partition:
    """A worker's share of a subset before it is read: rows of the subset, and more."""

    rows: np.ndarray
    uris: np.ndarray
    etags: np.ndarray
    labels: np.ndarray

    def take(self, kept: np.ndarray) -> "Partition":
        """The images at `kept`."""
        return Partition(
            self.rows[kept], self.uris[kept], self.etags[kept], self.labels[kept]
        )


def spread(names: Sequence[str]) -> np.ndarray:
    """uint64 (N,): a place for each image, spread evenly and decided by its name.

    Staged shards and workers' partitions are cut along this order. So every worker
    gets a random sample of images, the same from raw images and staged ones, and reads
    few staged shards besides its own share.
    """
    digests = (hashlib.blake2b(str(n).encode(), digest_size=8).digest() for n in names)
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)


def cut_runs(names: Sequence[str], count: float) -> list[tuple[int, np.ndarray]]:
    """Images in runs that stay what they are when others come or go.

    Args:
        names: of the images, one at least.
        count: how many runs to cut, rounded up to a power of two.

    Returns:
        For each run that has images its number, which is the leading bits of their
        places, and their rows, in the order of their places.
    """
    places = spread(names)
    rows = np.argsort(places, kind="stable")
    bits = max(0, int(np.ceil(np.log2(count))))
    # numpy would not shift by all 64 bits at once
    numbers = (places[rows] >> np.uint64(32)) >> np.uint64(32 - bits)
    found, starts = np.unique(numbers, return_index=True)
    return list(zip(found.tolist(), np.split(rows, starts[1:]), strict=True))


def cut_partitions(
    subset: Subset,
    workers: int,
    order_seed: int | None = None,
    weights: Sequence[float] | None = None,
) -> list[Partition]:
    """`subset` in parts of equal size, give or take one.

    Args:
        subset: the images.
        workers: how many parts.
        order_seed: of the order within each part; None is that of the subset.
        weights: to which the sizes are in proportion instead, give or take one.
    """
    whole = Partition(np.arange(len(subset)), subset.uris, subset.etags, subset.labels)
    order = np.argsort(spread(subset.names), kind="stable")
    parts = np.array_split(order, workers)
    if weights is not None:
        ends = np.cumsum(weights) / np.sum(weights) * len(subset)
        parts = np.split(order, np.rint(ends[:-1]).astype(int))
    if order_seed is None:
        return [whole.take(np.sort(part)) for part in parts]
    rng = np.random.default_rng(order_seed)
    return [whole.take(rng.permutation(part)) for part in parts]


def read_partition(
    reader: ImageReader, part: Partition
) -> tuple[Partition, np.ndarray | PixelFile, list[tuple[int, str]]]:
    """The readable images of a part, their pixels, and why others are missing.

    Returns:
        The part without the unreadable images, uint8 (n, H, W, 1), and (row, reason)
        of each unreadable one.
    """
    pixels, good, bad = reader.load(part.uris, part.etags)
    return part.take(good), pixels, [(int(part.rows[n]), why) for n, why in bad.items()]


def reread_partition(
    reader: ImageReader,
    part: Partition,
    before: Partition,
    pixels: np.ndarray | PixelFile,
) -> tuple[Partition, np.ndarray | PixelFile, list[tuple[int, str]]]:
    """What `read_partition` returns, reading nothing that is here.

    Args:
        reader: of the images.
        part: to be read.
        before: readable images of another part, and
        pixels: theirs.
    """
    known = np.isin(part.rows, before.rows)
    new, new_pixels, bad = read_partition(reader, part.take(~known))
    part = part.take(known | np.isin(part.rows, new.rows))
    size = reader.image_size
    merged = empty_pixels(len(part.rows), size, reader.memory_bytes, reader.cache_dir)
    for rows, images in ((before.rows, pixels), (new.rows, new_pixels)):
        here = {row: n for n, row in enumerate(rows.tolist())}
        for n, row in enumerate(part.rows.tolist()):
            if row in here:
                merged[n] = images[[here[row]]][0]
    return part, merged, bad


def check_partitions(images: int, workers: int, batch_size: int) -> None:
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
