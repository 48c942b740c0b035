"""Thresholds and Brier scores by hand, against scikit-learn, and what always holds."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from tests.records.test_metrics import column, draw
from xray.records.calibration import choose_thresholds, score_calibration
from xray.records.scores import Calibration, Interval, share


def choose(labels, probabilities, sensitivity=0.9):
    findings = [f"f{c}" for c in range(labels.shape[1])]
    return choose_thresholds(labels, probabilities, findings, sensitivity)


def measure(labels, probabilities, patients=None, thresholds=None, **settings):
    patients = np.arange(len(labels)) if patients is None else patients
    findings = [f"f{c}" for c in range(labels.shape[1])]
    settings = {"seed": 0, "resamples": 50} | settings
    return score_calibration(
        labels, probabilities, patients, findings, thresholds or {}, **settings
    )


def probabilities(seed=0, **size):
    """Labels, probabilities with ties that know a little, and patients."""
    labels, scores, patients = draw(seed, **size)
    return labels, scores / 1.4, patients


@pytest.mark.parametrize(
    ("labels", "scores", "youden", "wanted", "at_sensitivity"),
    [
        # Perfect: the lowest positive, whichever the rule.
        ((0, 0, 1, 1), (0.1, 0.2, 0.8, 0.9), 0.8, 0.9, 0.8),
        ((0, 0, 1, 1), (0.1, 0.2, 0.8, 0.9), 0.8, 0.5, 0.8),
        # 0.8: 1/2 + 1 - 1; 0.3: 1 + 1/2 - 1 as good: the highest of them.
        ((0, 1, 0, 1), (0.1, 0.3, 0.4, 0.8), 0.8, 0.9, 0.3),
        ((0, 1, 0, 1), (0.1, 0.3, 0.4, 0.8), 0.8, 0.5, 0.8),
        # Images with the same probability are called together.
        ((0, 1, 0, 1), (0.1, 0.4, 0.4, 0.8), 0.8, 0.9, 0.4),
        # All alike: the only threshold calls all present.
        ((0, 1, 0, 1), (0.5, 0.5, 0.5, 0.5), 0.5, 0.9, 0.5),
        # Worse than chance: no threshold is better than calling all present.
        ((1, 1, 0, 0), (0.1, 0.2, 0.8, 0.9), 0.1, 1.0, 0.1),
        # Sensitivity steps by thirds: 2/3 is too low for 0.7.
        ((1, 1, 1, 0), (0.9, 0.5, 0.1, 0.7), 0.9, 0.7, 0.1),
    ],
)
def test_thresholds_worked_by_hand(labels, scores, youden, wanted, at_sensitivity):
    chosen = choose(column(*labels), column(*scores), wanted)
    assert chosen == {
        "f0": {"youden": youden, f"sensitivity_{wanted:g}": at_sensitivity}
    }


@pytest.mark.parametrize("value", [0, 1])
def test_a_finding_with_one_value_only_has_no_threshold(value):
    labels, scores, _ = probabilities()
    labels[:, 1] = value
    assert list(choose(labels, scores)) == ["f0", "f2"]


@pytest.mark.parametrize("wanted", [0.01, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_thresholds_are_the_best_there_are(seed, wanted):
    labels, scores, patients = probabilities(seed)
    chosen = choose(labels, scores, wanted)
    for c, rules in enumerate(chosen.values()):
        # Every probability as a threshold, on the images it was chosen on.
        tried = {
            threshold: measure(
                labels[:, [c]],
                scores[:, [c]],
                thresholds={"f0": {"x": threshold}},
                resamples=1,
            )
            .findings["f0"]
            .thresholds["x"]
            for threshold in np.unique(scores[:, c])
        }
        reached = {
            t: (p.sensitivity.value, p.specificity.value) for t, p in tried.items()
        }
        youden, wished = rules["youden"], rules[f"sensitivity_{wanted:g}"]
        assert sum(reached[youden]) == pytest.approx(max(map(sum, reached.values())))
        enough = [found for found in reached.values() if found[0] >= wanted]
        assert reached[wished] == max(enough, key=lambda found: found[::-1])


def test_thresholds_survive_float32_and_json():
    labels, scores, _ = probabilities()
    scores = scores.astype(np.float32)
    found = measure(labels, scores, thresholds=choose(labels, scores, 1.0))
    again = Calibration.model_validate_json(found.model_dump_json())
    assert again == found
    for points in again.findings.values():
        # The lowest positive is the threshold, and is called present itself.
        assert points.thresholds["sensitivity_1"].sensitivity.value == 1


def test_thresholds_are_measured_on_the_images_given():
    labels, scores = column(0, 0, 1, 1, 1), column(0.1, 0.5, 0.3, 0.5, 0.9)
    found = measure(labels, scores, thresholds={"f0": {"youden": 0.5}})
    point = found.findings["f0"].thresholds["youden"]
    assert point.threshold == 0.5
    assert (point.sensitivity.value, point.specificity.value) == (2 / 3, 1 / 2)
    assert found.thresholds() == {"f0": {"youden": 0.5}}
    assert measure(labels, scores).thresholds() is None


def test_brier_and_reliability_agree_with_scikit_learn():
    labels, scores, patients = probabilities(images=400)
    result = measure(labels, scores, patients)
    briers = [brier_score_loss(y, p) for y, p in zip(labels.T, scores.T, strict=True)]
    found = list(result.findings.values())
    assert [f.brier.value for f in found] == pytest.approx(briers)
    assert result.macro_brier.value == pytest.approx(np.mean(briers))
    always = [
        brier_score_loss(y, np.full(len(y), y.mean())) for y in labels.T.astype(float)
    ]
    assert [f.brier_reference for f in found] == pytest.approx(always)
    assert result.macro_brier_reference == pytest.approx(np.mean(always))
    for f, y, p in zip(found, labels.T, scores.T, strict=True):
        observed, predicted = calibration_curve(y, p, n_bins=10, strategy="quantile")
        assert [b.observed.value for b in f.reliability] == pytest.approx(observed)
        assert [b.predicted for b in f.reliability] == pytest.approx(
            predicted, abs=1e-6
        )
        assert sum(b.images for b in f.reliability) == len(y)
        assert sum(b.positives for b in f.reliability) == y.sum()


def test_a_brier_worked_by_hand():
    found = measure(column(0, 1), column(0.1, 0.6)).findings["f0"]
    assert found.brier.value == pytest.approx((0.01 + 0.16) / 2)
    assert found.brier_reference == 0.25
    assert [(b.images, b.positives, b.predicted) for b in found.reliability] == [
        (1, 0, 0.1),
        (1, 1, 0.6),
    ]


@pytest.mark.parametrize("value", [0, 1])
def test_a_finding_with_one_value_only_is_null_and_joins_no_mean(value):
    labels, scores, patients = probabilities()
    labels[:, 1] = value
    result = measure(labels, scores, patients, {"f1": {"youden": 0.5}})
    undefined = result.findings["f1"]
    assert (undefined.brier, undefined.brier_reference) == (Interval(), None)
    assert undefined.reliability == []
    point = undefined.thresholds["youden"]
    known, unknown = point.sensitivity.value, point.specificity.value
    assert (unknown if value else known) is None
    assert (known if value else unknown) is not None
    rest = [result.findings[name].brier.value for name in ("f0", "f2")]
    assert result.macro_brier.value == pytest.approx(np.mean(rest))


def test_no_finding_with_both_values():
    result = measure(np.zeros((4, 2)), np.full((4, 2), 0.3))
    assert (result.macro_brier, result.macro_brier_reference) == (Interval(), None)
    assert choose(np.zeros((4, 2)), np.full((4, 2), 0.3)) == {}


@pytest.mark.parametrize("seed", range(3))
def test_intervals_hold_their_values(seed):
    labels, scores, patients = probabilities(seed)
    result = measure(labels, scores, patients, choose(labels, scores), resamples=200)
    found = [*result.findings.values()]
    intervals = [result.macro_brier, *(f.brier for f in found)]
    points = [point for f in found for point in f.thresholds.values()]
    intervals += [i for point in points for i in (point.sensitivity, point.specificity)]
    intervals += [b.observed for f in found for b in f.reliability]
    for interval in intervals:
        assert 0 <= interval.low <= interval.value <= interval.high <= 1
        assert interval.low < interval.high


def test_patients_are_drawn_whole():
    labels, scores, _ = probabilities()
    one = measure(labels, scores, np.zeros(len(labels))).macro_brier
    assert one.low == pytest.approx(one.value) == pytest.approx(one.high)


def test_a_share_of_nothing_is_null():
    assert share(0, 0) == Interval()
    assert share(0, 9).low == 0 < share(0, 9).high < 1
    # Wilson (1927) at 1.96: (k + z²/2 ± z √(k(n - k)/n + z²/4)) / (n + z²).
    z, k, n = 1.959964, 3, 10
    middle, half = k + z**2 / 2, z * (k * (n - k) / n + z**2 / 4) ** 0.5
    expected = [(middle - half) / (n + z**2), (middle + half) / (n + z**2)]
    assert [share(k, n).low, share(k, n).high] == pytest.approx(expected)


def test_uncertain_images_do_not_count():
    """As if they were not there, finding by finding."""
    labels, scores, patients = draw(seed=3)
    probabilities = scores / scores.max()
    labels[::4, 0], labels[1::9, 2] = 2, 2
    names = ["a", "b", "c"]
    chosen = choose_thresholds(labels, probabilities, names, 0.9)
    whole = score_calibration(labels, probabilities, patients, names, chosen, 0, 50)
    for place, name in enumerate(names):
        known = labels[:, place] != 2
        one = labels[known][:, [place]], probabilities[known][:, [place]]
        rules = choose_thresholds(*one, [name], 0.9)
        assert rules[name] == chosen[name]
        alone = score_calibration(*one, patients[known], [name], rules, 0, 50)
        found, expected = whole.findings[name], alone.findings[name]
        assert found.brier.value == pytest.approx(expected.brier.value)
        assert found.brier_reference == pytest.approx(expected.brier_reference)
        assert found.reliability == expected.reliability
        assert found.thresholds == expected.thresholds
    values = [one.brier.value for one in whole.findings.values()]
    assert whole.macro_brier.value == pytest.approx(np.mean(values))
    assert whole.macro_brier.low < whole.macro_brier.value < whole.macro_brier.high
