"""The temperature by hand, against a regression, and what it leaves as it is."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from xray.records.temperature import LARGEST, fit_temperature, scale


def drawn(temperature, seed=0, images=4000):
    """Labels drawn from probabilities, and what a model says that is too sure."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 1, (images, 3))
    labels = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(int)
    return labels, 1 / (1 + np.exp(-temperature * logits))


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_was_drawn_is_found(temperature):
    found = fit_temperature(*drawn(temperature))
    assert found == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_slope_of_a_logistic_regression(seed):
    labels, said = drawn(2.5, seed, images=300)
    logits = np.log(said / (1 - said)).reshape(-1, 1)
    line = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10)
    slope = line.fit(logits, labels.ravel()).coef_.item()
    assert fit_temperature(labels, said) == pytest.approx(1 / slope, rel=1e-3)


def test_worked_by_hand():
    # Right in 3 of 4 and always sure to 0.9: the best it can say is 0.75, and
    # ln(0.9 / 0.1) / T = ln(0.75 / 0.25) at T = ln 9 / ln 3 = 2.
    labels = np.array([[1], [1], [1], [0]])
    assert fit_temperature(labels, np.full((4, 1), 0.9)) == pytest.approx(2, rel=1e-4)
    assert scale(np.array([0.9]), 2.0) == pytest.approx(0.75)


def test_it_lowers_the_loss_on_other_images_and_leaves_every_auc():
    labels, said = drawn(3.0, seed=1)
    temperature = fit_temperature(labels[:2000], said[:2000])
    truth, before = labels[2000:, 0], said[2000:, 0]
    after = scale(before, temperature)
    assert log_loss(truth, after) < log_loss(truth, before) - 0.05
    assert roc_auc_score(truth, after) == roc_auc_score(truth, before)


@pytest.mark.parametrize(
    ("labels", "said", "expected"),
    [
        ([[1], [0]], [[0.9], [0.1]], 1 / LARGEST),  # never errs: as sure as may be
        ([[0], [1]], [[0.9], [0.1]], LARGEST),  # always errs
        ([[1], [0]], [[1.0], [0.0]], None),  # as float32 rounds it: any will do
        ([[0], [1]], [[1.0], [0.0]], LARGEST),
    ],
)
def test_extremes_are_bounded(labels, said, expected):
    found = fit_temperature(np.array(labels), np.array(said, np.float32))
    assert 1 / LARGEST <= found <= LARGEST
    if expected:
        assert found == pytest.approx(expected, rel=1e-2)


def test_nothing_to_fit_on():
    assert fit_temperature(np.zeros((0, 3)), np.zeros((0, 3))) is None


def test_what_has_no_probability_gets_none():
    assert np.isnan(scale(np.array([np.nan, 0.5], np.float32), 2.0)).tolist() == [
        True,
        False,
    ]


def test_uncertain_labels_do_not_count():
    labels, said = drawn(2.0)
    labels = labels.astype(np.uint8).copy()
    expected = fit_temperature(labels[::2], said[::2])
    labels[1::2] = 2
    assert fit_temperature(labels, said) == pytest.approx(expected)
    assert fit_temperature(np.full((3, 1), 2), np.full((3, 1), 0.5)) is None
