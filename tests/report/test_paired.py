"""Paired differences: known truth, an exact bootstrap, and a hand-worked case."""

import numpy as np
import pytest

from xray.records.metrics import bootstrap_auc, macro_auc
from xray.records.predictions import predictions_of
from xray.records.scores import Interval
from xray.report import paired
from xray.report.paired import Judge, Judged, drawn_macro

FINDINGS = ["Mass", "Hernia", "Edema"]


def made(noise, images=600, seed=0, shared=0):
    """Answers that know the labels but for `noise`; `shared` fools all models alike."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((images, 3)) < 0.3).astype(int)
    patients = rng.integers(0, images // 3, images)
    hard = shared * rng.standard_normal(labels.shape)
    own = np.random.default_rng(int(noise * 1000) + 1)
    scores = labels + hard + noise * own.standard_normal(labels.shape)
    names = [f"{n}.png" for n in range(images)]
    return predictions_of(names, patients, labels, scores, FINDINGS)


def test_a_model_against_itself_differs_by_nothing():
    found = Judge(made(1.0)).judge(made(1.0))
    assert found.difference == Interval(value=0.0, low=0.0, high=0.0)
    assert found.verdict == "no worse"


def test_the_difference_and_its_interval_are_those_of_an_exact_bootstrap():
    one, other = made(1.0), made(1.4)
    found = Judge(one).judge(other)
    draws = [
        bootstrap_auc(
            each.labels.astype(int), each.probabilities, one.patients, 0, 1000
        ).mean(axis=1)
        for each in (one, other)
    ]
    low, high = np.percentile(draws[1] - draws[0], [2.5, 97.5])
    exact = [
        macro_auc(each.labels.astype(int), each.probabilities) for each in (one, other)
    ]
    assert found.difference.value == pytest.approx(exact[1] - exact[0], abs=1e-12)
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high))
    assert low < found.difference.value < high


def test_pairing_sees_what_overlapping_intervals_hide():
    """Most errors are shared: each interval is wide, that of the difference narrow."""
    one, other = made(0.15, shared=1.2), made(0.5, shared=1.2)
    ends = [np.percentile(drawn_macro(each), [2.5, 97.5]) for each in (one, other)]
    assert ends[0][0] < ends[1][1]  # they overlap
    found = Judge(one, margin=0.0).judge(other)
    assert found.difference.high < 0
    assert found.verdict == "worse"


def test_large_sets_are_drawn_to_the_same_interval(monkeypatch):
    one, other = made(1.0, 4000), made(1.2, 4000)
    exact = Judge(one).judge(other).difference
    monkeypatch.setattr(paired, "LARGE", 0)
    fast = Judge(one).judge(other).difference
    assert fast.value == exact.value
    width = exact.high - exact.low
    assert abs(fast.low - exact.low) < 0.02 * width
    assert abs(fast.high - exact.high) < 0.02 * width


def test_uncertain_images_do_not_count(monkeypatch):
    rng = np.random.default_rng(5)
    labels = (rng.random((600, 3)) < 0.4).astype(np.uint8)
    probabilities = rng.random(labels.shape) / 2 + labels * rng.random(labels.shape) / 2
    labels[::3, 1] = 2
    patients = np.arange(600) // 3
    found = predictions_of(
        [f"{n}" for n in range(600)], patients, labels, probabilities, ["a", "b", "c"]
    )
    assert found.labels.dtype == np.uint8
    judge = Judge(found)
    assert judge._value == pytest.approx(macro_auc(labels, probabilities), abs=1e-6)
    exact = drawn_macro(found)
    monkeypatch.setattr(paired, "LARGE", 0)
    assert np.std(drawn_macro(found) - exact) < np.std(exact) / 10
    assert np.mean(drawn_macro(found)) == pytest.approx(np.mean(exact), abs=1e-3)
    assert judge.judge(found).difference.value == 0


def test_placement_values_worked_by_hand():
    """Positives 3 and 1, negatives 2, 1 and 0: told from 3, and 1.5, of three."""
    positive = np.array([True, True, False, False, False])
    found = paired._placement(positive, np.array([3.0, 1, 2, 1, 0]))
    assert found == pytest.approx([1, 0.5, 0.5, 0.75, 1])
    assert found[:2].mean() == found[2:].mean() == 0.75


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.001, 0.05, "better"),
        (-0.019, 0.05, "no worse"),
        (-0.019, -0.001, "no worse"),
        (-0.021, 0.05, "not decided"),
        (-0.08, -0.019, "not decided"),
        (-0.08, -0.021, "worse"),
        (None, None, "not decided"),
    ],
)
def test_verdict_with_a_margin(low, high, verdict):
    found = Judged(Interval(value=0.0, low=low, high=high), 10, 3, margin=0.02)
    assert found.verdict == verdict


def test_only_images_that_both_have_are_compared():
    one, other = made(1.0), made(1.4)
    few = other._replace(
        **{
            name: getattr(other, name)[100:]
            for name in ("images", "patients", "labels", "probabilities")
        }
    )
    found = Judge(one).judge(few)
    assert found.images == 500
    rest = one._replace(
        **{
            name: getattr(one, name)[100:]
            for name in ("images", "patients", "labels", "probabilities")
        }
    )
    assert found == Judge(rest).judge(few)


def test_other_labels_or_findings_are_no_pair():
    one = made(1.0)
    assert Judge(one).judge(one._replace(labels=~one.labels)) is None
    assert Judge(one).judge(one._replace(findings=["a", "b", "c"])) is None
    assert Judge(one).judge(one._replace(images=one.images + np.uint64(1))) is None


def test_findings_without_both_values_are_left_out():
    one, other = made(1.0), made(1.4)
    for each in (one, other):
        each.labels[:, 1] = False
    assert Judge(one).judge(other).findings == 2
