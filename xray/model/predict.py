"""What a network says of images, batch by batch."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from xray.data.pipeline import as_dataset, backend_name, draw_ahead, without_autotune
from xray.data.pixels import PixelFile

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

SCORE_BATCH = 64


def predict(model: "keras.Model", images: np.ndarray | PixelFile) -> np.ndarray:
    """Scores of `images`, float (N, 15), in their order."""
    size = SCORE_BATCH * device_count()
    starts = range(0, len(images), size)

    def batches() -> Iterator[np.ndarray]:
        for start in starts:
            batch = images[start : start + size]
            if model.jit_compile:  # XLA compiles once for each size of batch
                batch = np.resize(batch, (size, *batch.shape[1:]))
            yield batch

    if backend_name() == "jax":
        pipeline = as_dataset(lambda: draw_ahead((b,) for b in batches()), len(starts))
    else:
        pipeline = _scoring_pipeline(batches, images.shape[1:], len(starts))
    return model.predict(pipeline, verbose=0)[: len(images)]


def _scoring_pipeline(
    batches: Callable[[], Iterator[np.ndarray]], shape: tuple[int, ...], count: int
) -> "tf.data.Dataset":
    import tensorflow as tf

    pipeline = tf.data.Dataset.from_generator(
        batches, output_signature=tf.TensorSpec((None, *shape), tf.uint8)
    ).apply(tf.data.experimental.assert_cardinality(count))
    return without_autotune(pipeline.prefetch(2))


def device_count() -> int:
    """The devices over which Keras distributes this process' batches."""
    import keras

    distribution = keras.distribution.distribution()
    return distribution.num_model_replicas if distribution else 1
