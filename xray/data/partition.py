"""Which worker trains which images."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xray.common.errors import UserError
from xray.data.dataset import Subset
from xray.data.pixels import PixelFile
from xray.data.reader import ImageReader


@dataclass(frozen=True)
class ShardPart:
    """Images of one shard before they are read: their rows of a subset and more."""

    rows: np.ndarray
    uris: np.ndarray
    etags: np.ndarray
    labels: np.ndarray

    def take(self, kept: np.ndarray) -> "ShardPart":
        """The images at `kept`."""
        return ShardPart(
            self.rows[kept], self.uris[kept], self.etags[kept], self.labels[kept]
        )


def spread(names: Sequence[str]) -> np.ndarray:
    """uint64 (N,): a place for each image, spread evenly and decided by its name.

    Staged shards and workers' shards are both runs of images in this order. So every
    worker gets a random sample of images, the same from raw images and staged ones,
    and reads few staged shards besides its own share.
    """
    digests = (hashlib.blake2b(str(n).encode(), digest_size=8).digest() for n in names)
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)


def cut_shards(
    subset: Subset, shards: int, order_seed: int | None = None
) -> list[ShardPart]:
    """`subset` in parts of equal size, give or take one.

    Args:
        subset: the images.
        shards: how many parts.
        order_seed: of the order within each part; None is that of the subset.
    """
    whole = ShardPart(np.arange(len(subset)), subset.uris, subset.etags, subset.labels)
    parts = np.array_split(np.argsort(spread(subset.names), kind="stable"), shards)
    if order_seed is None:
        return [whole.take(np.sort(part)) for part in parts]
    rng = np.random.default_rng(order_seed)
    return [whole.take(rng.permutation(part)) for part in parts]


def read_part(
    reader: ImageReader, part: ShardPart
) -> tuple[ShardPart, np.ndarray | PixelFile, list[tuple[int, str]]]:
    """The readable images of a part, their pixels, and why others are missing.

    Returns:
        The part without the unreadable images, uint8 (n, H, W, 1), and (row, reason)
        of each unreadable one.
    """
    pixels, good, bad = reader.load(part.uris, part.etags)
    return part.take(good), pixels, [(int(part.rows[n]), why) for n, why in bad.items()]


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
