"""What findings weigh, and the loss that uses it."""

import numpy as np
import pytest

from xray.config.recipe import TrainingConfig
from xray.model.losses import (
    balanced_weights,
    choose_loss,
    class_weights,
    training_targets,
    weighted_binary_crossentropy,
)

LABELS = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 1, 0]], np.uint8)


def test_positives_and_negatives_weigh_the_same_in_all():
    weights = balanced_weights(LABELS)
    assert weights.tolist() == [[0.25, 0.5, 0.0], [0.75, 0.5, 1.0]]
    positives = LABELS.sum(axis=0)
    assert (positives * weights[1] == (4 - positives) * weights[0])[:2].all()


def test_targets_carry_the_weight_of_each_label():
    targets = training_targets(LABELS, balanced_weights(LABELS))
    assert (targets.shape, targets.dtype) == ((4, 2, 3), np.float32)
    assert (targets[:, 0] == LABELS).all()
    assert targets[0, 1].tolist() == [0.75, 0.5, 0.0]
    assert targets[2, 1].tolist() == [0.25, 0.5, 0.0]


def test_targets_are_the_labels_without_weights():
    targets = training_targets(LABELS, None)
    assert (targets == LABELS).all()
    assert targets.dtype == np.float32


@pytest.mark.slow
def test_weights_of_one_give_keras_own_loss():
    import keras

    probabilities = np.random.default_rng(0).uniform(0, 1, LABELS.shape)
    probabilities = probabilities.astype(np.float32)
    targets = training_targets(LABELS, np.ones((2, 3), np.float32))
    ours = weighted_binary_crossentropy(targets, probabilities)
    plain = keras.losses.binary_crossentropy(LABELS.astype(np.float32), probabilities)
    np.testing.assert_allclose(ours, plain, rtol=1e-5)
    heavier = training_targets(LABELS, np.full((2, 3), 2, np.float32))
    np.testing.assert_allclose(
        weighted_binary_crossentropy(heavier, probabilities), 2 * plain, rtol=1e-5
    )


@pytest.mark.slow
def test_the_recipe_names_the_loss():
    focal = choose_loss(TrainingConfig(loss="focal", focal_gamma=3), False)
    assert focal.gamma == 3
    assert choose_loss(TrainingConfig(), False) == "binary_crossentropy"
    assert choose_loss(TrainingConfig(), True) is weighted_binary_crossentropy


def test_what_is_uncertain_weighs_nothing():
    labels = np.array([[1, 0, 2], [2, 2, 2], [0, 1, 2], [0, 0, 1]], np.uint8)
    known = [labels[labels[:, c] != 2, c] for c in range(3)]
    weights = balanced_weights(labels)
    for column in range(3):
        expected = balanced_weights(known[column][:, np.newaxis])
        assert weights[:, [column]].tolist() == expected.tolist()
    alike = class_weights(TrainingConfig(), True, labels)
    assert alike.tolist() == np.ones((2, 3)).tolist()
    targets = training_targets(labels, alike)
    assert targets[:, 0].tolist() == (labels == 1).astype(float).tolist()
    assert targets[:, 1].tolist() == (labels != 2).astype(float).tolist()
    assert class_weights(TrainingConfig(), False, labels[:1, :2]) is None


@pytest.mark.slow
def test_the_loss_is_that_of_what_is_known():
    import keras

    labels = np.array([[1, 0, 2], [2, 2, 0]], np.uint8)
    probabilities = np.array([[0.9, 0.2, 0.7], [0.1, 0.6, 0.3]], np.float32)
    targets = training_targets(labels, np.ones((2, 3), np.float32))
    ours = np.array(weighted_binary_crossentropy(targets, probabilities))
    of_one = -np.log(0.9) - np.log(0.8)
    np.testing.assert_allclose(ours, [of_one / 3, -np.log(0.7) / 3], rtol=1e-5)
    moved = probabilities.copy()
    moved[0, 2], moved[1, :2] = 0.01, 0.99  # of what is uncertain
    again = keras.ops.convert_to_numpy(weighted_binary_crossentropy(targets, moved))
    np.testing.assert_array_equal(again, ours)
