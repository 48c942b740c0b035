"""Thresholds chosen on validation images; calibration measured on test images."""

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.metrics import roc_curve

from xray.config.schemas import UNCERTAIN
from xray.records.metrics import (
    RESAMPLES,
    both_values,
    percentile_interval,
    resampled_weights,
)
from xray.records.scores import (
    Bin,
    Calibration,
    FindingCalibration,
    Interval,
    OperatingPoint,
    share,
)
from xray.records.temperature import scale

BINS = 10
DIGITS = 6  # of the mean probability of a bin

Thresholds = Mapping[str, Mapping[str, float]]
"""Finding to {name of the rule: probability from which on it is called present}."""


def choose_thresholds(
    labels: np.ndarray,
    probabilities: np.ndarray,
    findings: Sequence[str],
    sensitivity: float,
) -> dict[str, dict[str, float]]:
    """Thresholds of every finding that has both values, by two rules.

    `youden` has the largest sensitivity + specificity - 1 (Youden, Cancer 3, 1950);
    of several as good, the highest. `sensitivity_0.9`, named after the value given, has
    the fewest false positives of those with at least that sensitivity; of several as
    good, the most sensitive. Each is the probability of one of the images.

    Args:
        labels: (N, C), 0, 1 or UNCERTAIN, of images that the model was not trained on
            and will not be scored on.
        probabilities: (N, C).
        findings: C names.
        sensitivity: wanted at least, above 0 and at most 1.
    """
    known = labels != UNCERTAIN
    return {
        findings[column]: _choose(
            labels[known[:, column], column],
            probabilities[known[:, column], column],
            sensitivity,
        )
        for column in np.flatnonzero(both_values(labels))
    }


def score_calibration(
    labels: np.ndarray,
    probabilities: np.ndarray,
    patients: np.ndarray,
    findings: Sequence[str],
    thresholds: Thresholds,
    seed: int,
    resamples: int = RESAMPLES,
    temperature: float | None = None,
) -> Calibration:
    """Brier score, reliability and what the thresholds do, of every finding.

    The Brier score is the mean squared difference of probability and label (Brier,
    Monthly Weather Review 78, 1950), its interval over resampled patients as that of
    the AUC. A finding with one value only has neither it nor a reliability.

    Args:
        labels: (N, C), 0, 1 or UNCERTAIN, of the test images.
        probabilities: (N, C), from 0 to 1.
        patients: (N,), any comparable values.
        findings: C names.
        thresholds: chosen on other images; findings may be missing.
        seed: of the resampling.
        resamples: how many.
        temperature: fitted on other images; None measures none.
    """
    scaled = temperature and score_calibration(
        *(labels, scale(probabilities, temperature), patients, findings),
        *({}, seed, resamples),
    )
    known, defined = labels != UNCERTAIN, both_values(labels)
    positive, probabilities = labels == 1, probabilities.astype(float)
    prevalence = positive.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    errors = np.where(known, (probabilities - positive) ** 2, 0)
    briers = _brier(errors, known, defined, patients, seed, resamples)
    references = prevalence * (1 - prevalence)
    table = {}
    for column, name in enumerate(findings):
        rows = known[:, column]
        truth, found = positive[rows, column], probabilities[rows, column]
        points = {
            rule: _operate(truth, found, threshold)
            for rule, threshold in thresholds.get(name, {}).items()
        }
        table[name] = FindingCalibration(thresholds=points)
        if defined[column]:
            table[name].brier = briers[column]
            table[name].brier_reference = float(references[column])
            table[name].reliability = _reliability(truth, found)
    return Calibration(
        macro_brier=briers[-1],
        macro_brier_reference=float(references[defined].mean())
        if defined.any()
        else None,
        findings=table,
        temperature=temperature,
        scaled=scaled or None,
    )


def _choose(
    labels: np.ndarray, probabilities: np.ndarray, sensitivity: float
) -> dict[str, float]:
    curve = roc_curve(labels, probabilities, drop_intermediate=False)
    # The first point lies above every probability and calls nothing present.
    false, true, thresholds = (part[1:] for part in curve)
    fewest = false[np.argmax(true >= sensitivity)]
    chosen = {
        "youden": np.argmax(true - false),
        f"sensitivity_{sensitivity:g}": np.flatnonzero(false == fewest)[-1],
    }
    return {rule: float(thresholds[place]) for rule, place in chosen.items()}


def _brier(
    errors: np.ndarray,
    known: np.ndarray,
    defined: np.ndarray,
    patients: np.ndarray,
    seed: int,
    resamples: int,
) -> list[Interval]:
    """Of each column, and of the mean over those that are defined."""
    if not defined.any():
        return [Interval()] * (len(defined) + 1)
    counts = known.astype(float)
    with np.errstate(invalid="ignore"):  # a draw may hold nothing that is known
        drawn = np.concatenate(
            [
                weights @ errors / (weights @ counts)
                for weights in resampled_weights(patients, seed, resamples)
            ]
        )
        values = errors.sum(axis=0) / counts.sum(axis=0)
    macro = values[defined].mean(), np.nanmean(drawn[:, defined], axis=1)
    return [
        *map(percentile_interval, values, drawn.T),
        percentile_interval(*macro),
    ]


def _reliability(truth: np.ndarray, probabilities: np.ndarray) -> list[Bin]:
    """Bins between the deciles of the probabilities, equal ones in the same bin.

    A rare finding's are nearly all small: bins of equal width would be one full bin.
    """
    deciles = np.quantile(probabilities, np.arange(1, BINS) / BINS)
    places = np.searchsorted(deciles, probabilities)
    bins = []
    for place in np.unique(places):
        inside = places == place
        bins.append(
            Bin(
                images=int(inside.sum()),
                positives=int(truth[inside].sum()),
                predicted=round(float(probabilities[inside].mean()), DIGITS),
            )
        )
    return bins


def _operate(
    truth: np.ndarray, probabilities: np.ndarray, threshold: float
) -> OperatingPoint:
    called = probabilities >= threshold
    return OperatingPoint(
        threshold=threshold,
        sensitivity=share(int((called & truth).sum()), int(truth.sum())),
        specificity=share(int((~called & ~truth).sum()), int((~truth).sum())),
    )
