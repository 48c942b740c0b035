"""Metrics, over drawn labels, probabilities and patients."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from xray.records.metrics import (
    bootstrap_auc,
    macro_auc,
    percentile_interval,
    resampled_weights,
    score_predictions,
)

quick = settings(derandomize=True, deadline=None, max_examples=15)
# Few values of each, so that ties and findings of one value only are common.
IMAGES = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 4), st.integers(0, 5)),
    min_size=2,
    max_size=30,
)


def columns(images):
    labels, scores, patients = (np.array(part) for part in zip(*images, strict=True))
    return labels[:, None], scores[:, None] / 4, patients


@quick
@given(IMAGES)
def test_auc_turns_around_with_the_scores_and_heeds_their_order_alone(images):
    labels, scores, _ = columns(images)
    assume(len(set(labels[:, 0])) == 2)
    value = macro_auc(labels, scores)
    assert macro_auc(labels, -scores) == pytest.approx(1 - value)
    assert macro_auc(1 - labels, scores) == pytest.approx(1 - value)
    assert macro_auc(labels, np.exp(3 * scores)) == value


@quick
@given(IMAGES, st.integers(0, 2**32 - 1))
def test_a_resample_scores_as_sklearn_scores_its_patients(images, seed):
    labels, scores, patients = columns(images)
    drawn = bootstrap_auc(labels, scores, patients, seed, 5)[:, 0]
    (weights,) = resampled_weights(patients, seed, 5)
    for value, counts in zip(drawn, weights.astype(int), strict=True):
        for patient in set(patients):  # whole patients
            assert len(set(counts[patients == patient])) == 1
        chosen = np.repeat(labels[:, 0], counts)
        if len(set(chosen)) < 2:
            assert np.isnan(value)
        else:
            expected = roc_auc_score(chosen, np.repeat(scores[:, 0], counts))
            assert value == pytest.approx(expected)


@quick
@given(IMAGES, st.integers(0, 2**32 - 1))
def test_intervals_are_in_order_and_what_is_undefined_is_null(images, seed):
    labels, scores, patients = columns(images)
    found = score_predictions(labels, scores, patients, ["Mass"], seed, resamples=20)
    one = found.findings["Mass"]
    assert one.positives + one.negatives == len(images)
    if len(set(labels[:, 0])) < 2:
        assert (one.auc.value, found.macro_auc.value) == (None, None)
        assert found.findings_scored == 0
        return
    assert found.macro_auc.value == one.auc.value == macro_auc(labels, scores)
    if one.auc.low is not None:
        assert 0 <= one.auc.low <= one.auc.high <= 1


def test_an_interval_leaves_a_fortieth_out_on_either_side():
    found = percentile_interval(0.5, np.arange(1001) / 1000)
    assert (found.low, found.high) == pytest.approx((0.025, 0.975), abs=1e-9)
