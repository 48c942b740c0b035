"""What one resident worker trained in one epoch."""

import time
from typing import TYPE_CHECKING, Any

from xray.records.machine import peak_memory_bytes
from xray.spark.resident.messages import EpochReport
from xray.training.batches import Feed

if TYPE_CHECKING:
    import keras


class Tally:
    """Sums up one worker's epoch over its parts."""

    def __init__(self, worker: int, epoch: int) -> None:
        self.worker, self.epoch = worker, epoch
        self.images, self.loss_sum = 0, 0.0
        self.fit_seconds = self.cpu_seconds = 0.0
        self.started = self.ended = 0.0

    def fit(self, model: "keras.Model", pipeline: Any, feed: Feed) -> int:
        """Train one part of the epoch; the images trained."""
        images = feed.count()
        if not images:
            return 0
        self.started = self.started or time.time()
        wall, cpu = time.perf_counter(), time.process_time()
        # A step that finds no more data may still count in the optimizer.
        history = model.fit(
            pipeline, steps_per_epoch=feed.batches(), shuffle=False, verbose=0
        )
        self.fit_seconds += time.perf_counter() - wall
        self.cpu_seconds += time.process_time() - cpu
        self.ended = time.time()
        self.images += images
        self.loss_sum += images * history.history["loss"][0]
        return images

    def report(self, learning_rate: float) -> EpochReport:
        """The epoch as the driver notes it; the rate is that of its last step."""
        return EpochReport(
            self.worker,
            self.epoch,
            self.images,
            self.loss_sum / self.images if self.images else float("nan"),
            learning_rate,
            self.fit_seconds,
            self.cpu_seconds,
            self.started,
            self.ended,
            peak_memory_bytes(),
        )
