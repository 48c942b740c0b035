"""Batches for training and scoring: seeded order, no autotuning."""

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from xray.data.pipeline import as_dataset, backend_name, draw_ahead, without_autotune
from xray.data.pixels import PixelFile

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


def epoch_order(count: int, seed: int, epoch: int, worker: int = 0) -> np.ndarray:
    """The order in which epoch `epoch` visits `count` images; equal in any process.

    The first worker's order is that of a run with one worker.
    """
    key = [seed, epoch, worker] if worker else [seed, epoch]
    return np.random.default_rng(key).permutation(count)


def epoch_parts(
    order: np.ndarray, batch_size: int, parts: int
) -> list[list[np.ndarray]]:
    """The batches of an epoch in that order, in consecutive parts."""
    starts = range(0, len(order), batch_size)
    batches = [order[start : start + batch_size] for start in starts]
    cuts = [len(batches) * part // parts for part in range(parts + 1)]
    return [batches[first:end] for first, end in itertools.pairwise(cuts)]


class Feed:
    """The training images of one worker, in another order each epoch.

    Attributes:
        epoch: whose order the next iteration takes, from 0; the trainer sets it.
        part: which of the epoch's parts the next iteration takes, from 0.
        parts: consecutive parts that the epoch's batches are cut into.
        left: bool (N,), the images to train in the epoch; None is all of them.
        on_batch: called with the number of images of each batch, for progress.
        wait_seconds: for which the last pass of `ahead` was waited for.

    Args:
        images: uint8 (N, H, W, 1), in memory or in a file.
        labels: targets of the images, as `losses.training_targets` gives them.
        batch_size: images per step; the last batch of an epoch may be smaller.
        seed: of the order.
        worker: whose shard this is, from 0.
        parts: of each epoch, until that is set otherwise.
        devices: that share each batch. With more than one, batches carry weights: a
            last one that cannot be shared equally repeats some of its images, which
            then weigh nothing.
    """

    def __init__(
        self,
        images: np.ndarray | PixelFile,
        labels: np.ndarray,
        batch_size: int,
        seed: int,
        worker: int = 0,
        parts: int = 1,
        devices: int = 1,
    ) -> None:
        self.images, self.labels = images, labels.astype(np.float32, copy=False)
        self.batch_size, self.seed, self.worker = batch_size, seed, worker
        self.parts, self.devices = parts, devices
        self.epoch = self.part = 0
        self.left: np.ndarray | None = None
        self.on_batch: Callable[[int], object] = lambda count: None
        self.wait_seconds: float | None = None

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.labels) // self.batch_size)

    def count(self) -> int:
        """Images in the part of the epoch that comes next."""
        return sum(map(len, self._rows()))

    def batches(self) -> int:
        """Batches in the part of the epoch that comes next."""
        steps = self._steps()
        before, after = (steps * n // self.parts for n in (self.part, self.part + 1))
        return after - before

    def earlier(self) -> int:
        """Batches of the epoch that come before the next part."""
        steps = self._steps()
        return len(self) - steps + steps * self.part // self.parts

    def _steps(self) -> int:
        """Batches that are to be trained in the epoch."""
        images = len(self.labels) if self.left is None else np.count_nonzero(self.left)
        return -(-images // self.batch_size)

    def progress(self, batch: int) -> float:
        """Epochs trained once batch `batch` of the next part is, a fraction."""
        seen = (self.earlier() + batch + 1) * self.batch_size
        return self.epoch + min(seen, len(self.labels)) / len(self.labels)

    def _order(self) -> np.ndarray:
        order = epoch_order(len(self.labels), self.seed, self.epoch, self.worker)
        return order if self.left is None else order[self.left[order]]

    def _rows(self) -> list[np.ndarray]:
        return epoch_parts(self._order(), self.batch_size, self.parts)[self.part]

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        """One part of an epoch: uint8 (B, H, W, 1) and the float32 targets."""
        for rows in self._rows():
            if self.devices == 1:
                yield self.images[rows], self.labels[rows]
            else:
                yield self._shared(rows)
            self.on_batch(len(rows))

    def _shared(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Images, labels and float32 (B,) weights, whose mean is 1."""
        size = -(-len(rows) // self.devices) * self.devices
        shared = np.resize(rows, size)
        weights = np.where(np.arange(size) < len(rows), size / len(rows), 0)
        return self.images[shared], self.labels[shared], weights.astype(np.float32)

    def ahead(self) -> Iterator[tuple[np.ndarray, ...]]:
        """The same, drawn ahead by a thread; `wait_seconds` tells of the wait."""
        self.wait_seconds = 0.0

        def add(seconds: float) -> None:
            self.wait_seconds += seconds

        return draw_ahead(iter(self), add)

    def sample(self, every_size: bool) -> "Feed":
        """Its first images: a batch, and one of the last batch's size if wanted."""
        rest = len(self.labels) % self.batch_size if every_size else 0
        count = self.batch_size + rest
        images, labels = self.images[:count], self.labels[:count]
        return Feed(images, labels, self.batch_size, self.seed, devices=self.devices)


def training_pipeline(
    feed: Feed, timed: bool = False
) -> "tf.data.Dataset | keras.utils.PyDataset":
    """What Keras trains on, which may be iterated once per epoch.

    With TensorFlow it is a tf.data pipeline without autotuning: with one thread its
    thread sleeps up to ten seconds at the end of an epoch while training waits for it.

    Args:
        feed: of the batches.
        timed: let the feed tell how long it was waited for, which with JAX it always
            does; on one CPU thread that would cost time.
    """
    if backend_name() == "jax":
        return as_dataset(feed.ahead, len(feed))
    import tensorflow as tf

    signature = (
        tf.TensorSpec((None, *feed.images.shape[1:]), tf.uint8),
        tf.TensorSpec((None, *feed.labels.shape[1:]), tf.float32),
    )
    pipeline = tf.data.Dataset.from_generator(
        feed.ahead if timed else lambda: iter(feed), output_signature=signature
    )
    if feed.parts == 1:  # else the number of batches varies, and is not asserted
        pipeline = pipeline.apply(tf.data.experimental.assert_cardinality(len(feed)))
    return without_autotune(pipeline if timed else pipeline.prefetch(2))
