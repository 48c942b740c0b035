"""A model's weights as one vector, as workers exchange them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras


class WeightVector:
    """A model's weights, and its optimizer's state if wanted, as one float32 vector.

    Attributes:
        values: the vector.
    """

    def __init__(self, model: "keras.Model", with_optimizer: bool) -> None:
        model.optimizer.build(model.trainable_variables)
        self._variables = list(model.weights)
        self._weights = len(self._variables)
        if with_optimizer:
            self._variables += model.optimizer.variables
        self.values = np.empty(
            sum(int(np.prod(v.shape)) for v in self._variables), np.float32
        )
        self._learned = {id(v) for v in model.trainable_variables}
        self.collect()

    def collect(self) -> None:
        """Fill the vector from the model."""
        for variable, part in self._parts(self.values):
            part[:] = np.asarray(variable).ravel()

    def restore(self) -> None:
        """Fill the model from the vector."""
        for variable, part in self._parts(self.values):
            if "int" in str(variable.dtype):  # the number of steps so far
                part = np.rint(part)
            variable.assign(part.reshape(variable.shape))

    def learned(self) -> np.ndarray:
        """Which elements gradients move: no moving statistics, no optimizer's state."""
        mask = np.zeros(self.values.shape, bool)
        for variable, part in self._parts(mask):
            part[:] = id(variable) in self._learned
        return mask

    def weights(self, values: np.ndarray) -> list[np.ndarray]:
        """The model's part of `values`, such a vector, as `get_weights` gives it."""
        parts = [part.reshape(v.shape) for v, part in self._parts(values)]
        return parts[: self._weights]

    def _parts(self, values: np.ndarray) -> Iterator[tuple[Any, np.ndarray]]:
        start = 0
        for variable in self._variables:
            size = int(np.prod(variable.shape))
            yield variable, values[start : start + size]
            start += size
