"""Momentum on the averages of the workers' weights."""

import numpy as np


class OuterMomentum:
    """Takes what an average changes for a gradient, and steps with Nesterov momentum.

    The outer optimizer of DiLoCo (Douillard et al. 2023, arXiv:2311.08105) at a
    learning rate of 1, where momentum 0 is the plain average. With c for what the
    average has changed since the last step: v becomes momentum v + c, and the weights
    move by c + momentum v.

    Attributes:
        velocity: float32 vector, v.

    Args:
        values: the vector before the first average.
        moved: of its elements, those with momentum; the others take their average.
        momentum: at least 0 and below 1.
        velocity: to go on from; None is at rest.
    """

    def __init__(
        self,
        values: np.ndarray,
        moved: np.ndarray,
        momentum: float,
        velocity: np.ndarray | None = None,
    ) -> None:
        self._before = values.copy()
        self._moved, self._momentum = moved, np.float32(momentum)
        self.velocity = np.zeros_like(values) if velocity is None else velocity.copy()

    def step(self, values: np.ndarray) -> None:
        """Turn an average into the weights that the workers go on from, in place."""
        change = np.where(self._moved, values - self._before, np.float32(0))
        self.velocity *= self._momentum
        self.velocity += change
        values += self._momentum * self.velocity
        self._before[:] = values
