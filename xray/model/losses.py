"""The loss over the 15 findings, and what each finding's images weigh in it."""

from typing import TYPE_CHECKING, Any

import numpy as np

from xray.config.recipe import TrainingConfig
from xray.config.schemas import UNCERTAIN

if TYPE_CHECKING:
    from keras import KerasTensor


def choose_loss(training: TrainingConfig, weighted: bool) -> Any:
    """The loss as `Model.compile` takes it; Keras knows it by name from then on.

    Args:
        training: the recipe.
        weighted: whether labels weigh differently (`RunConfig.weighs_labels`).
    """
    import keras

    if weighted:
        register = keras.saving.register_keras_serializable("xray")
        return register(weighted_binary_crossentropy)
    if training.loss == "focal":
        return keras.losses.BinaryFocalCrossentropy(gamma=training.focal_gamma)
    return "binary_crossentropy"


def class_weights(
    training: TrainingConfig, weighted: bool, labels: np.ndarray
) -> np.ndarray | None:
    """What each finding's images weigh, as `balanced_weights`; None weighs them alike.

    Args:
        training: the recipe.
        weighted: as for `choose_loss`.
        labels: (N, C) of all training images, 0, 1 or UNCERTAIN.
    """
    if training.class_weights == "balanced":
        return balanced_weights(labels)
    return np.ones((2, labels.shape[1]), np.float32) if weighted else None


def balanced_weights(labels: np.ndarray) -> np.ndarray:
    """What negatives (row 0) and positives (row 1) of each finding weigh.

    Positives weigh as the share of negatives and the reverse, so that both add up to
    the same (Rajpurkar et al. 2017, arXiv:1711.05225, section 2.1).

    Args:
        labels: (N, C), 0, 1 or UNCERTAIN, which does not count.

    Returns:
        float32 (2, C).
    """
    known = (labels != UNCERTAIN).sum(axis=0)
    positive = (labels == 1).sum(axis=0) / np.maximum(known, 1)
    return np.stack([positive, 1 - positive]).astype(np.float32)


def training_targets(labels: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """What the model is fitted to.

    Args:
        labels: (N, C), 0, 1 or UNCERTAIN.
        weights: (2, C) of `class_weights`, or None, where nothing is uncertain.

    Returns:
        float32: the labels (N, C), or (N, 2, C) with a weight beside each, which is 0
        for what is uncertain.
    """
    if weights is None:
        return labels.astype(np.float32)
    positive, known = labels == 1, labels != UNCERTAIN
    weighing = np.where(positive, weights[1], weights[0]) * known
    return np.stack([positive, weighing], axis=1).astype(np.float32)


def weighted_binary_crossentropy(
    targets: "KerasTensor", probabilities: "KerasTensor"
) -> "KerasTensor":
    """Binary cross-entropy of (N, C) with the weights beside the labels; (N,)."""
    from keras import ops

    labels, weights = targets[:, 0], targets[:, 1]
    kept = ops.clip(probabilities, 1e-7, 1 - 1e-7)
    entropy = labels * ops.log(kept) + (1 - labels) * ops.log(1 - kept)
    return -ops.mean(weights * entropy, axis=-1)
