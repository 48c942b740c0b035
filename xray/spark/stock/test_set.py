"""Scores of the test set, computed on the executors that hold its images."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from xray.data.dataset import Subset
from xray.model.predict import predict

if TYPE_CHECKING:
    import keras
    from pyspark import RDD


@dataclass(frozen=True)
class TestSet:
    """The test images where the executors hold them.

    Attributes:
        everything: the test set as the driver listed it.
        readable: bool (N,), which of them have pixels.
        rows: RDD of `load_shards` with the pixels.
    """

    __test__ = False  # not a test case, whatever pytest reads into the name

    everything: Subset
    readable: np.ndarray
    rows: "RDD"

    @property
    def subset(self) -> Subset:
        """The readable test images."""
        return self.everything.take(self.readable)

    def predict(self, model: "keras.Model") -> np.ndarray:
        """Scores of `subset`, float (n, 15), in its order.

        Elephas' own `predict` runs the model three times, and its `evaluate`
        averages per partition, which is wrong for an AUC.
        """
        shared = self.rows.context.broadcast(model.get_weights())
        score = partial(score_partition, model.to_json(), shared)
        scores = np.empty((len(self.everything), model.output_shape[-1]))
        try:
            for numbers, values in self.rows.mapPartitions(score).collect():
                scores[numbers] = values
        finally:
            shared.destroy()
        return scores[self.readable]


def score_partition(
    model_json: str, weights: Any, rows: Iterator[tuple]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Runs on an executor: row numbers (n,) and scores (n, 15) of its partition."""
    rows = list(rows)
    if not rows:
        return
    model = _model_from_json(model_json)
    model.set_weights(weights.value)
    pixels = np.stack([row[1] for row in rows])
    yield np.array([row[0] for row in rows]), predict(model, pixels)


@lru_cache(maxsize=1)
def _model_from_json(model_json: str) -> "keras.Model":
    """Kept in the worker's process, so that later epochs do not trace it again."""
    import keras

    return keras.models.model_from_json(model_json)
