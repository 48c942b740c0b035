"""Batches for training and scoring: seeded order, no autotuning."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from xray.pixels import PixelFile

if TYPE_CHECKING:
    import tensorflow as tf

SCORE_BATCH = 64


def epoch_order(count: int, seed: int, epoch: int, worker: int = 0) -> np.ndarray:
    """The order in which epoch `epoch` visits `count` images; equal in any process.

    The first worker's order is that of a run with one worker.
    """
    key = [seed, epoch, worker] if worker else [seed, epoch]
    return np.random.default_rng(key).permutation(count)


class Feed:
    """The training images of one worker, in another order each epoch.

    Attributes:
        epoch: whose order the next iteration takes, from 0; the trainer sets it.
        part: which of the epoch's parts the next iteration takes, from 0.
        on_batch: called with the number of images of each batch, for progress.

    Args:
        images: uint8 (N, H, W, 1), in memory or in a file.
        labels: targets of the images, as `losses.training_targets` gives them.
        batch_size: images per step; the last batch of an epoch may be smaller.
        seed: of the order.
        worker: whose shard this is, from 0.
        parts: consecutive parts that an epoch's batches are cut into.
    """

    def __init__(
        self,
        images: np.ndarray | PixelFile,
        labels: np.ndarray,
        batch_size: int,
        seed: int,
        worker: int = 0,
        parts: int = 1,
    ) -> None:
        self.images, self.labels = images, labels.astype(np.float32, copy=False)
        self.batch_size, self.seed, self.worker = batch_size, seed, worker
        self.parts = parts
        self.epoch = self.part = 0
        self.on_batch: Callable[[int], object] = lambda count: None

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.labels) // self.batch_size)

    def count(self) -> int:
        """Images in the part of the epoch that comes next."""
        return sum(map(len, self._rows()))

    def progress(self, batch: int) -> float:
        """Epochs trained once batch `batch` of the next part is, a fraction."""
        first = len(self) * self.part // self.parts
        seen = min((first + batch + 1) * self.batch_size, len(self.labels))
        return self.epoch + seen / len(self.labels)

    def _rows(self) -> list[np.ndarray]:
        order = epoch_order(len(self.labels), self.seed, self.epoch, self.worker)
        batches = [
            order[start : start + self.batch_size]
            for start in range(0, len(order), self.batch_size)
        ]
        first, end = (
            len(batches) * n // self.parts for n in (self.part, self.part + 1)
        )
        return batches[first:end]

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """One part of an epoch: uint8 (B, H, W, 1) and the float32 targets."""
        for rows in self._rows():
            yield self.images[rows], self.labels[rows]
            self.on_batch(len(rows))


def training_pipeline(feed: Feed) -> "tf.data.Dataset":
    """A tf.data pipeline over `feed`, which may be iterated once per epoch.

    Autotuning is off: with one thread its thread sleeps up to ten seconds at the end
    of an epoch while training waits for it.
    """
    import tensorflow as tf

    signature = (
        tf.TensorSpec((None, *feed.images.shape[1:]), tf.uint8),
        tf.TensorSpec((None, *feed.labels.shape[1:]), tf.float32),
    )
    pipeline = tf.data.Dataset.from_generator(
        lambda: iter(feed), output_signature=signature
    )
    if feed.parts == 1:  # else the number of batches varies, and is not asserted
        pipeline = pipeline.apply(tf.data.experimental.assert_cardinality(len(feed)))
    return _without_autotune(pipeline.prefetch(2))


def predict(model: object, images: np.ndarray | PixelFile) -> np.ndarray:
    """Scores of `images`, float (N, 15), in their order."""
    import tensorflow as tf

    starts = range(0, len(images), SCORE_BATCH)
    pipeline = tf.data.Dataset.from_generator(
        lambda: (images[start : start + SCORE_BATCH] for start in starts),
        output_signature=tf.TensorSpec((None, *images.shape[1:]), tf.uint8),
    ).apply(tf.data.experimental.assert_cardinality(len(starts)))
    return model.predict(_without_autotune(pipeline.prefetch(2)), verbose=0)


def _without_autotune(pipeline: "tf.data.Dataset") -> "tf.data.Dataset":
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return pipeline.with_options(options)
