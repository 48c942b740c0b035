"""Temperature scaling: one number makes all probabilities more, or less, certain.

Logits are divided by a temperature that is fitted on images that trained nothing (Guo
et al., On Calibration of Modern Neural Networks, ICML 2017). No order changes, and so
no AUC. One temperature serves all findings: a validation set has too few positives of
most to fit a number of its own.
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from xray.config.schemas import UNCERTAIN

LARGEST = 20.0
"""Of temperatures; its inverse is the smallest. Only probabilities that know nothing,
or never err, ask for more."""
NEAREST = 1e-7
"""To 0 and 1; what lies nearer, as float32 has it, is taken as this."""


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    """The temperature with the smallest mean log loss, from 1/20 to 20.

    Args:
        labels: (N, C), 0, 1 or UNCERTAIN, of images that the model was not trained on
            and will not be scored on.
        probabilities: (N, C).

    Returns:
        None where there is nothing to fit it on.
    """
    known = labels != UNCERTAIN
    if not known.any():
        return None
    # Of the right answer; the loss is convex in the logits' factor, 1 / temperature.
    sides = np.where(labels == 1, 1.0, -1.0)
    margins = (sides * _logits(probabilities))[known]
    found = minimize_scalar(
        lambda factor: np.logaddexp(0, -factor * margins).mean(),
        bounds=(1 / LARGEST, LARGEST),
        method="bounded",
    )
    return float(1 / found.x)


def scale(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities at a temperature, float64 of the same shape; NaN stays NaN."""
    return expit(_logits(probabilities) / temperature)


def _logits(probabilities: np.ndarray) -> np.ndarray:
    return logit(np.clip(probabilities.astype(float), NEAREST, 1 - NEAREST))
