"""AUC by hand, against scikit-learn, and its intervals by patient."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from xray.records.metrics import bootstrap_auc, macro_auc, score_predictions


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)[:, np.newaxis]


def score(labels: np.ndarray, scores: np.ndarray, patients=None, **settings):
    patients = np.arange(len(labels)) if patients is None else patients
    findings = [f"f{c}" for c in range(labels.shape[1])]
    settings = {"seed": 0, "resamples": 50} | settings
    return score_predictions(labels, scores, patients, findings, **settings)


def draw(seed: int = 0, images: int = 120, findings: int = 3):
    """Labels, scores with many ties that know a little, and patients."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((images, findings)) < 0.3).astype(np.uint8)
    scores = np.round(rng.random(labels.shape) + 0.4 * labels, 1)
    return labels, scores, rng.integers(0, images // 3, images)


@pytest.mark.parametrize(
    ("labels", "scores", "auc"),
    [
        ((0, 0, 1, 1), (0.1, 0.2, 0.8, 0.9), 1.0),
        ((1, 1, 0, 0), (0.1, 0.2, 0.8, 0.9), 0.0),
        ((0, 1, 0, 1), (0.5, 0.5, 0.5, 0.5), 0.5),
        # Pairs (positive, negative): 3 of 4 in the right order.
        ((0, 1, 0, 1), (0.1, 0.3, 0.4, 0.8), 0.75),
        # A tie counts half: 0.5 + 1 + 1 + 1 of 4.
        ((0, 1, 0, 1), (0.1, 0.4, 0.4, 0.8), 0.875),
        # Three positives, one negative, which ties with one and beats one.
        ((1, 1, 1, 0), (0.1, 0.5, 0.9, 0.5), 0.5),
    ],
)
def test_auc_worked_by_hand(labels, scores, auc):
    labels, scores = column(*labels), column(*scores)
    assert score(labels, scores).findings["f0"].auc.value == pytest.approx(auc)
    assert macro_auc(labels, scores) == pytest.approx(auc)


def test_findings_and_means_agree_with_scikit_learn():
    labels, scores, patients = draw()
    result = score(labels, scores, patients)
    aucs, precisions = zip(
        *(
            (roc_auc_score(y, s), average_precision_score(y, s))
            for y, s in zip(labels.T, scores.T, strict=True)
        ),
        strict=True,
    )
    found = result.findings.values()
    assert [f.auc.value for f in found] == pytest.approx(aucs)
    assert [f.average_precision for f in found] == pytest.approx(precisions)
    assert [f.positives for f in found] == list(labels.sum(axis=0))
    assert [f.positives + f.negatives for f in found] == [len(labels)] * 3
    assert result.macro_auc.value == pytest.approx(np.mean(aucs))
    assert result.macro_average_precision == pytest.approx(np.mean(precisions))
    assert macro_auc(labels, scores) == pytest.approx(np.mean(aucs))
    assert result.findings_scored == 3


@pytest.mark.parametrize("resamples", [7, 150])  # less and more than one chunk
def test_resamples_agree_with_scikit_learn(resamples):
    labels, scores, patients = draw(1)
    people, group = np.unique(patients, return_inverse=True)
    rng, expected = np.random.default_rng(3), []
    for start in range(0, resamples, 100):
        draws = rng.multinomial(
            len(people),
            np.full(len(people), 1 / len(people)),
            min(100, resamples - start),
        )
        expected += [
            [
                roc_auc_score(y, s, sample_weight=weights[group])
                for y, s in zip(labels.T, scores.T, strict=True)
            ]
            for weights in draws
        ]
    drawn = bootstrap_auc(labels, scores, patients, 3, resamples)
    np.testing.assert_allclose(drawn, expected, rtol=1e-9)


def test_resample_with_one_value_only_is_nan():
    labels, scores = column(1, 0), column(0.9, 0.1)
    drawn = bootstrap_auc(labels, scores, np.array(["a", "b"]), 0, 40)
    assert np.isnan(drawn).any()
    assert set(drawn[np.isfinite(drawn)]) == {1.0}


@pytest.mark.parametrize("value", [0, 1])
def test_finding_with_one_value_only_joins_no_mean(value):
    labels, scores, patients = draw()
    labels[:, 1] = value
    result = score(labels, scores, patients)
    undefined = result.findings["f1"]
    assert undefined.auc.model_dump() == {"value": None, "low": None, "high": None}
    assert undefined.average_precision is None
    assert undefined.positives == value * len(labels)
    assert result.findings_scored == 2
    rest = [result.findings[name].auc.value for name in ("f0", "f2")]
    assert result.macro_auc.value == pytest.approx(np.mean(rest))
    assert macro_auc(labels, scores) == pytest.approx(np.mean(rest))


def test_no_finding_with_both_values():
    labels, scores = np.zeros((4, 2)), np.random.default_rng(0).random((4, 2))
    result = score(labels, scores)
    assert result.findings_scored == 0
    assert (result.macro_auc.value, result.macro_auc.low) == (None, None)
    assert result.macro_average_precision is None
    assert macro_auc(labels, scores) is None


@pytest.mark.parametrize("seed", range(5))
def test_interval_holds_the_value(seed):
    result = score(*draw(seed), resamples=200)
    intervals = [f.auc for f in result.findings.values()] + [result.macro_auc]
    for interval in intervals:
        assert 0 <= interval.low < interval.value < interval.high <= 1
    widths = [interval.high - interval.low for interval in intervals]
    assert widths[-1] < max(widths)


def test_interval_follows_the_seed_alone():
    drawn = draw()
    assert score(*drawn, seed=1) == score(*drawn, seed=1)
    assert score(*drawn, seed=1) != score(*drawn, seed=2)


def test_patients_are_drawn_whole():
    labels, scores, _ = draw()
    one = score(labels, scores, np.zeros(len(labels)))
    for interval in [f.auc for f in one.findings.values()] + [one.macro_auc]:
        assert interval.low == pytest.approx(interval.value)
        assert interval.high == pytest.approx(interval.value)


def test_fewer_patients_widen_the_interval():
    labels, scores, _ = draw(images=20, findings=1)
    labels, scores = np.repeat(labels, 20, axis=0), np.repeat(scores, 20, axis=0)
    by_image = score(labels, scores, np.arange(400), resamples=300).macro_auc
    by_patient = score(labels, scores, np.arange(400) // 20, resamples=300).macro_auc
    assert by_patient.value == by_image.value
    assert by_patient.high - by_patient.low > 2 * (by_image.high - by_image.low)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_score_that_is_not_finite_is_refused(bad):
    labels, scores, patients = draw()
    scores[5, 1] = bad
    with pytest.raises(ValueError, match="scores must be finite. Got NaN or infinity"):
        score(labels, scores, patients)


def test_shapes_that_differ_are_refused():
    labels, scores, patients = draw()
    with pytest.raises(ValueError, match=r"shapes differ. Got \(120, 3\) and \(120, 2"):
        score(labels, scores[:, :2], patients)
    with pytest.raises(ValueError, match="shapes differ"):
        score_predictions(labels, scores, patients, ["one"], 0)


def test_no_finding_is_no_pathology():
    """Its AUC is in the mean of all labels and not in that of the pathologies."""
    rng = np.random.default_rng(1)
    labels, scores = rng.integers(0, 2, (80, 3)), rng.random((80, 3))
    names = ["Mass", "No Finding", "Hernia"]
    found = score_predictions(labels, scores, np.arange(80), names, 0, 50)
    auc = {name: finding.auc.value for name, finding in found.findings.items()}
    assert found.macro_auc.value == pytest.approx(np.mean(list(auc.values())))
    mean = (auc["Mass"] + auc["Hernia"]) / 2
    assert found.pathology_auc.value == pytest.approx(mean)
    assert found.pathology_auc.low < mean < found.pathology_auc.high
    labels[:, [0, 2]] = 0
    alone = score_predictions(labels, scores, np.arange(80), names, 0, 50)
    assert alone.pathology_auc.value is None


def test_uncertain_images_do_not_count():
    """As if they were not there, finding by finding."""
    labels, scores, patients = draw()
    labels[::5, 0], labels[1::7, 1] = 2, 2
    result = score(labels, scores, patients)
    for column in range(3):
        known = labels[:, column] != 2
        alone = score(
            labels[known][:, [column]], scores[known][:, [column]], patients[known]
        ).findings["f0"]
        found = result.findings[f"f{column}"]
        counts = (found.positives, found.negatives)
        assert counts == (alone.positives, alone.negatives)
        assert found.auc.value == pytest.approx(alone.auc.value)
        assert found.average_precision == pytest.approx(alone.average_precision)
        assert found.auc.low < found.auc.value < found.auc.high
    values = [one.auc.value for one in result.findings.values()]
    assert result.macro_auc.value == pytest.approx(np.mean(values))
    assert macro_auc(labels, scores) == pytest.approx(np.mean(values))
