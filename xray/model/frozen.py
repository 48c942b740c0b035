"""A network that is trained no more, as one graph of constants.

With its weights as constants TensorFlow multiplies normalization into the convolutions
before it, once, and computes what follows them in the same kernels.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from xray.data.pipeline import backend_name
from xray.model.predict import SCORE_BATCH

if TYPE_CHECKING:
    import keras

Forward = Callable[[np.ndarray], np.ndarray]
_KEPT: "WeakKeyDictionary[keras.Model, Forward]" = WeakKeyDictionary()


def predict_frozen(model: "keras.Model", images: np.ndarray) -> np.ndarray:
    """Scores of `images`, float32 (N, 15), in their order, as `predict` gives them.

    In batches of one size, the last filled up, so that an image gets the same scores
    wherever it stands. The graph is made when the model is first seen, and kept as long
    as the model: weights that change later are not heard of.

    Args:
        model: uint8 (N, H, W, 1) to (N, 15).
        images: uint8 (N, H, W, 1).
    """
    forward, scores = _forward_of(model), []
    for start in range(0, len(images), SCORE_BATCH):
        batch = images[start : start + SCORE_BATCH]
        filled = np.zeros((SCORE_BATCH, *images.shape[1:]), np.uint8)
        filled[: len(batch)] = batch
        scores.append(forward(filled)[: len(batch)])
    return np.concatenate(scores) if scores else np.empty((0, model.output_shape[-1]))


def _forward_of(model: "keras.Model") -> Forward:
    if backend_name() != "tensorflow":
        return lambda batch: np.asarray(model.predict_on_batch(batch))
    if model not in _KEPT:
        frozen = freeze_graph(
            lambda batch: model(batch, training=False),
            (SCORE_BATCH, *model.input_shape[1:]),
        )
        _KEPT[model] = lambda batch: frozen(batch)[0].numpy()
    return _KEPT[model]


def freeze_graph(
    function: Callable[[Any], Any], shape: tuple[int, ...]
) -> Callable[[np.ndarray], Sequence[Any]]:
    """`function` as a graph of constants: the variables that it reads, as they are now.

    Args:
        function: of TensorFlow's tensors, uint8 of `shape`.
        shape: of all that it will get, the batch included.

    Returns:
        A function of uint8 arrays of that shape: the list of `function`'s tensors.
    """
    import tensorflow as tf

    # Not in tf's public face, though its documents use it and converters build on it.
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    traced = tf.function(function, autograph=False)
    pixels = tf.TensorSpec(shape, tf.uint8)
    frozen = convert_variables_to_constants_v2(traced.get_concrete_function(pixels))
    return lambda batch: frozen(tf.constant(batch))
