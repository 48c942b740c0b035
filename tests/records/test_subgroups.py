"""AUC in groups of patients, against scikit-learn on their images alone."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from xray.records.metrics import score_predictions
from xray.records.scores import LEAST, Interval
from xray.records.subgroups import score_subgroups

FINDINGS = ("often", "in one", "seldom")
SEX, AGE = "Sex", "Age"


@pytest.fixture(scope="module")
def drawn():
    """Labels, probabilities, patients, and groups; a finding that women alone have."""
    rng = np.random.default_rng(0)
    labels = (rng.random((200, 3)) < (0.4, 0.3, 0.4)).astype(np.uint8)
    women = np.arange(200) % 2 == 0
    labels[:, 1] *= women
    labels[:, 2] = 0
    labels[: LEAST - 1, 2] = 1  # one too few
    scores = rng.random(labels.shape) + 0.3 * labels
    groups = {
        (SEX, "F"): women,
        (SEX, "M"): ~women,
        (AGE, "..10"): np.arange(200) < 80,
        (AGE, "11.."): np.zeros(200, bool),
    }
    return labels, scores, np.arange(200) // 4, groups


@pytest.fixture(scope="module")
def found(drawn):
    labels, scores, patients, groups = drawn
    scored = score_subgroups(labels, scores, patients, FINDINGS, groups, seed=0)
    return {(one.column, one.condition): one for one in scored}


def test_a_group_is_scored_on_its_own_images(drawn, found):
    labels, scores, patients, groups = drawn
    for key in ((SEX, "F"), (SEX, "M"), (AGE, "..10")):
        members, one = groups[key], found[key]
        assert one.images == members.sum()
        assert one.patients == len({*patients[members]})
        expected = roc_auc_score(labels[members, 0], scores[members, 0])
        assert one.findings["often"].auc.value == pytest.approx(expected)
        assert one.findings["often"].positives == labels[members, 0].sum()
    whole = score_predictions(
        labels[groups[SEX, "F"]], scores[groups[SEX, "F"]],
        patients[groups[SEX, "F"]], FINDINGS, 0,
    )  # fmt: skip
    assert found[SEX, "F"].findings["in one"] == whole.findings["in one"]


def test_the_mean_is_over_what_all_groups_of_the_column_have(found):
    women, men = found[SEX, "F"], found[SEX, "M"]
    assert women.findings["in one"].auc.value is not None
    assert men.findings["in one"].auc == Interval()
    assert women.findings_scored == men.findings_scored == 1
    for one in (women, men):
        assert one.macro_auc == one.findings["often"].auc


def test_small_groups_have_counts_and_no_figure(drawn, found):
    labels, *_ = drawn
    assert labels[:, 2].sum() == LEAST - 1
    assert {one.findings["seldom"].auc.value for one in found.values()} == {None}
    assert found[AGE, "..10"].findings["seldom"].positives == LEAST - 1
    empty = found[AGE, "11.."]
    assert (empty.images, empty.patients, empty.findings_scored) == (0, 0, 0)
    assert empty.macro_auc == Interval() == found[AGE, "..10"].macro_auc
    assert empty.findings["often"].positives == 0
