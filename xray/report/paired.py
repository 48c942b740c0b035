"""Is one model's AUC another's, on the same patients? The paired difference, judged.

Whether two intervals overlap is no test: both models are scored on the same patients,
and what makes one patient hard for one makes him hard for the other. So patients are
drawn again, both models are scored on each draw, and the difference has an interval of
its own (Efron and Tibshirani, An Introduction to the Bootstrap, 1993).
"""

from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from xray.config.schemas import UNCERTAIN
from xray.records.metrics import (
    RESAMPLES,
    bootstrap_auc,
    both_values,
    percentile_interval,
    resampled_patients,
)
from xray.records.predictions import TestPredictions
from xray.records.scores import MARGIN, Interval

LARGE = 5000
"""Images from which on the AUC of a draw comes from placement values."""
SEED = 0


class Judged(NamedTuple):
    """A configuration's macro AUC less its baseline's, on the same images."""

    difference: Interval
    images: int
    findings: int
    margin: float

    @property
    def verdict(self) -> str:
        """`better`, `no worse`, `worse`, or `not decided` with a loss of `margin`."""
        low, high = self.difference.low, self.difference.high
        if low is None or high is None:
            return "not decided"
        if low > 0:
            return "better"
        if low > -self.margin:
            return "no worse"
        return "worse" if high < -self.margin else "not decided"


class Judge:
    """Compares models with one baseline, on the draws of patients of its test set.

    Args:
        baseline: what it said of the test set.
        margin: loss of macro AUC that is borne, set before anyone looked.
    """

    def __init__(self, baseline: TestPredictions, margin: float = MARGIN) -> None:
        self.baseline, self.margin = baseline, margin

    def judge(self, other: TestPredictions) -> Judged | None:
        """`other` against the baseline; None where they are not of one test set.

        That is so with other findings or labels, or not one image in common.
        """
        mine, theirs = self._common(other)
        same = np.array_equal(mine.labels, theirs.labels)
        if self.baseline.findings != other.findings or not same or not len(mine.images):
            return None
        defined = both_values(mine.labels.astype(int))
        if not defined.any():
            return None
        whole = len(mine.images) == len(self.baseline.images)
        one = self._drawn if whole else drawn_macro(mine)
        value = _macro(theirs) - (self._value if whole else _macro(mine))
        difference = percentile_interval(value, drawn_macro(theirs) - one)
        return Judged(difference, len(mine.images), int(defined.sum()), self.margin)

    def _common(self, other: TestPredictions) -> tuple[TestPredictions, ...]:
        """Both, of the images that both have, in one order; patients as the baseline's.

        Numbers of patients are of one set: another set numbers them anew.
        """
        _, mine, theirs = np.intersect1d(
            self.baseline.images, other.images, return_indices=True
        )
        one, two = _take(self.baseline, mine), _take(other, theirs)
        return one, two._replace(patients=one.patients)

    @cached_property
    def _value(self) -> float:
        return _macro(self.baseline)

    @cached_property
    def _drawn(self) -> np.ndarray:
        return drawn_macro(self.baseline)


def _take(whole: TestPredictions, rows: np.ndarray) -> TestPredictions:
    images, patients, labels, probabilities, findings = whole
    return TestPredictions(
        images[rows], patients[rows], labels[rows], probabilities[rows], findings
    )


def _macro(found: TestPredictions) -> float:
    """Mean AUC over the findings with both values, as the mean placement value."""
    labels = found.labels.astype(int)
    values = []
    for column in np.flatnonzero(both_values(labels)):
        known = labels[:, column] != UNCERTAIN
        positive = labels[known, column] == 1
        placed = _placement(positive, found.probabilities[known, column])
        values.append(placed[positive].mean())
    return float(np.mean(values))


def drawn_macro(found: TestPredictions) -> np.ndarray:
    """Macro AUC in draws of patients, the same ones for every model: (RESAMPLES,)."""
    labels, scores = found.labels.astype(int), found.probabilities
    defined = np.flatnonzero(both_values(labels))
    labels, scores = labels[:, defined], scores[:, defined]
    if len(labels) > LARGE:
        auc = np.concatenate([*_auc_by_placement(labels, scores, found.patients)])
    else:
        auc = bootstrap_auc(labels, scores, found.patients, SEED, RESAMPLES)
    with np.errstate(invalid="ignore"):
        return np.nanmean(auc, axis=1)


def _auc_by_placement(
    labels: np.ndarray, scores: np.ndarray, patients: np.ndarray
) -> Iterator[np.ndarray]:
    """AUC of every finding in draws of patients, to first order: (R, C), in parts.

    The placement value of an image is the share of the other class that it is rightly
    told from; the AUC is the mean of either class's (DeLong, DeLong and Clarke-Pearson,
    Biometrics 44, 1988). A draw moves both means, and what is left out is of order 1/n.
    """
    _, group = np.unique(patients, return_inverse=True)
    people = int(group.max()) + 1
    sums = []
    for column in range(labels.shape[1]):
        positive, known = labels[:, column] == 1, labels[:, column] != UNCERTAIN
        values = np.zeros(len(labels))
        values[known] = _placement(positive[known], scores[known, column])
        for chosen in (positive, known & ~positive):
            for weights in (values * chosen, chosen):
                sums.append(np.bincount(group, weights, people))
    by_patient = np.array(sums, np.float32).T  # (people, 4 C)
    auc = _of_sums(by_patient.sum(0)[None]) / 2
    for draws in _draws(people):
        yield _of_sums(draws @ by_patient) - auc


@lru_cache(maxsize=1)
def _draws(people: int) -> list[np.ndarray]:
    """The same ones for every model of one test set: 32 MB for 8,000 patients."""
    return list(resampled_patients(people, SEED, RESAMPLES))


def _of_sums(sums: np.ndarray) -> np.ndarray:
    """Twice the mean placement value, by finding: of positives and of negatives."""
    value, count = sums[:, 0::2], np.where(sums[:, 1::2] > 0, sums[:, 1::2], np.nan)
    means = value / count
    return means[:, 0::2] + means[:, 1::2]


def _placement(positive: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Of each image: the share of the other class that is on its right side: (N,)."""
    found = np.empty(len(scores))
    for mine, sign in ((positive, 1.0), (~positive, -1.0)):
        others = np.sort(sign * scores[~mine])
        own = sign * scores[mine]
        below = np.searchsorted(others, own, "left")
        not_above = np.searchsorted(others, own, "right")
        found[mine] = (below + not_above) / 2 / max(1, len(others))
    return found
