"""ROC AUC and average precision per finding, with intervals by patient."""

from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from xray.config.schemas import UNCERTAIN
from xray.records.scores import FindingScores, Interval, Scores, is_pathology

RESAMPLES = 1000
CONFIDENCE = 0.95
CHUNK = 100  # resamples held at once: 20 MB at 25,000 images


def score_predictions(
    labels: np.ndarray,
    scores: np.ndarray,
    patients: np.ndarray,
    findings: Sequence[str],
    seed: int,
    resamples: int = RESAMPLES,
) -> Scores:
    """AUC and average precision of every finding and their means.

    A finding with one value only has no AUC: it is null and joins no mean. Images of
    which a finding is uncertain do not count for it. Intervals
    are percentiles over resampled patients (Efron and Tibshirani, An Introduction to
    the Bootstrap, 1993), since images of one patient are not independent.

    Args:
        labels: (N, C), 0, 1 or UNCERTAIN.
        scores: (N, C), higher means more likely; must be finite.
        patients: (N,), any comparable values.
        findings: C names.
        seed: of the resampling.
        resamples: how many.

    Raises:
        ValueError: shapes differ or a score is not finite.
    """
    if labels.shape != scores.shape or labels.shape[1] != len(findings):
        raise ValueError(f"shapes differ. Got {labels.shape} and {scores.shape}.")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite. Got NaN or infinity.")
    defined = both_values(labels)
    drawn = bootstrap_auc(labels, scores, patients, seed, resamples)
    drawn[:, ~defined] = np.nan
    pathologies = defined & np.array([is_pathology(name) for name in findings])
    table = {}
    for column, name in enumerate(findings):
        known = labels[:, column] != UNCERTAIN
        table[name] = _score_finding(
            *(labels[known, column], scores[known, column]),
            *(drawn[:, column], defined[column]),
        )
    return Scores(
        macro_auc=_macro(table, drawn, defined),
        pathology_auc=_macro(table, drawn, pathologies),
        macro_average_precision=_mean([f.average_precision for f in table.values()]),
        findings_scored=int(defined.sum()),
        findings=table,
        resamples=resamples,
    )


def macro_auc(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Mean AUC over the findings with both values; None when there is none."""
    defined = np.flatnonzero(both_values(labels))
    known = labels != UNCERTAIN
    return _mean(
        [roc_auc_score(labels[known[:, c], c], scores[known[:, c], c]) for c in defined]
    )


def both_values(labels: np.ndarray) -> np.ndarray:
    """The findings that can be scored, since both 0 and 1 occur: bool (C,)."""
    return (labels == 0).any(axis=0) & (labels == 1).any(axis=0)


def bootstrap_auc(
    labels: np.ndarray,
    scores: np.ndarray,
    patients: np.ndarray,
    seed: int,
    resamples: int,
) -> np.ndarray:
    """AUC of every finding in every resample of patients: float (resamples, C).

    NaN where a resample holds one value only. The weighted AUC is the weighted
    Mann-Whitney statistic, ties counting half (Hanley and McNeil, Radiology 143, 1982).
    """
    known = labels != UNCERTAIN

    def column_auc(column: int, weights: np.ndarray) -> np.ndarray:
        rows = known[:, column]
        if not rows.all():  # a copy of the weights, which NIH's labels do without
            weights = weights[:, rows]
        return _weighted_auc(labels[rows, column], scores[rows, column], weights)

    return np.concatenate(
        [
            np.column_stack([column_auc(c, weights) for c in range(labels.shape[1])])
            for weights in resampled_weights(patients, seed, resamples)
        ]
    )


def resampled_weights(
    patients: np.ndarray, seed: int, resamples: int
) -> Iterator[np.ndarray]:
    """How often each image counts in resamples of patients: float32 (R, N), in parts.

    An image counts as often as its patient was drawn.
    """
    _, group = np.unique(patients, return_inverse=True)
    for draws in resampled_patients(group.max() + 1, seed, resamples):
        yield draws[:, group]


def resampled_patients(people: int, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """How often each patient is drawn in resamples: float32 (R, people), in parts."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        draws = rng.multinomial(people, np.full(people, 1 / people), size)
        yield draws.astype(np.float32)


def _weighted_auc(
    labels: np.ndarray, scores: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """AUC of one finding for every row of weights: (R, N) -> (R,)."""
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    positive = np.flatnonzero(labels[order])
    weights = weights[:, order]
    of_positives = weights[:, positive].astype(np.float64)
    weights[:, positive] = 0
    # Sums of whole numbers below 2**24 are exact in float32.
    negatives = np.zeros((len(weights), len(order) + 1), np.float32)
    np.cumsum(weights, axis=1, out=negatives[:, 1:])
    below = negatives[:, np.searchsorted(ranked, ranked[positive], "left")]
    not_above = negatives[:, np.searchsorted(ranked, ranked[positive], "right")]
    won = (of_positives * (below + not_above)).sum(axis=1) / 2
    pairs = of_positives.sum(axis=1) * negatives[:, -1]
    with np.errstate(invalid="ignore"):
        return won / np.where(pairs > 0, pairs, np.nan)


def _score_finding(
    labels: np.ndarray, scores: np.ndarray, drawn: np.ndarray, defined: bool
) -> FindingScores:
    positives = int(labels.sum())
    if not defined:
        return FindingScores(
            positives=positives, negatives=len(labels) - positives, auc=Interval()
        )
    return FindingScores(
        positives=positives,
        negatives=len(labels) - positives,
        auc=percentile_interval(roc_auc_score(labels, scores), drawn),
        average_precision=float(average_precision_score(labels, scores)),
    )


def _macro(
    table: dict[str, FindingScores], drawn: np.ndarray, defined: np.ndarray
) -> Interval:
    """The mean over the findings at `defined`, with its interval."""
    if not defined.any():
        return Interval()
    kept = drawn[:, defined]
    complete = kept[np.isfinite(kept).any(axis=1)]
    values = [finding.auc.value for finding in table.values()]
    value = float(np.mean([values[column] for column in np.flatnonzero(defined)]))
    return percentile_interval(
        value, np.nanmean(complete, axis=1) if len(complete) else complete
    )


def percentile_interval(value: float, drawn: np.ndarray) -> Interval:
    """A score with its 95% interval, from its values in the resamples: (R,)."""
    drawn = drawn[np.isfinite(drawn)]
    if not drawn.size:
        return Interval(value=float(value))
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return Interval(value=float(value), low=float(low), high=float(high))


def _mean(values: Sequence[float | None]) -> float | None:
    kept = [value for value in values if value is not None]
    return float(np.mean(kept)) if kept else None
