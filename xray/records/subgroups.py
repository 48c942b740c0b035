"""AUC in groups of patients apart, of the findings that a group has enough of."""

from collections.abc import Mapping, Sequence

import numpy as np

from xray.records.metrics import score_predictions
from xray.records.scores import LEAST, FindingScores, Interval, Scores, SubgroupScores


def score_subgroups(
    labels: np.ndarray,
    scores: np.ndarray,
    patients: np.ndarray,
    findings: Sequence[str],
    groups: Mapping[tuple[str, str], np.ndarray],
    seed: int,
) -> list[SubgroupScores]:
    """The scores of each group, by the function that scores the whole test set.

    The macro AUC of a group is over the findings that every group of its column has
    enough of: a mean over other findings would tell of those, not of the groups.

    Args:
        labels: (N, C), 0, 1 or UNCERTAIN.
        scores: (N, C), higher means more likely.
        patients: (N,).
        findings: C names.
        groups: column and condition to members, bool (N,).
        seed: of the resampling.
    """
    enough = {key: _enough(labels[members]) for key, members in groups.items()}
    found = []
    for (column, condition), members in groups.items():
        shared = np.logical_and.reduce(
            [able for (other, _), able in enough.items() if other == column]
        )
        of_group = labels[members], scores[members], patients[members]
        able = enough[column, condition]
        scored = macro = _score(*of_group, findings, able, seed)
        if (shared != able).any():
            macro = _score(*of_group, findings, shared, seed)
        found.append(
            SubgroupScores(
                column=column,
                condition=condition,
                images=int(members.sum()),
                patients=len(np.unique(patients[members])),
                macro_auc=macro.macro_auc if macro else Interval(),
                findings_scored=int(shared.sum()),
                findings=_counts(labels[members], findings)
                | (scored.findings if scored else {}),
            )
        )
    return found


def _enough(labels: np.ndarray) -> np.ndarray:
    with_it, without = (labels == 1).sum(axis=0), (labels == 0).sum(axis=0)
    return (with_it >= LEAST) & (without >= LEAST)


def _score(
    labels: np.ndarray,
    scores: np.ndarray,
    patients: np.ndarray,
    findings: Sequence[str],
    kept: np.ndarray,
    seed: int,
) -> Scores | None:
    """Of the kept findings alone; None where none is."""
    if not kept.any():
        return None
    names = [name for name, keep in zip(findings, kept, strict=True) if keep]
    return score_predictions(labels[:, kept], scores[:, kept], patients, names, seed)


def _counts(labels: np.ndarray, findings: Sequence[str]) -> dict[str, FindingScores]:
    """Of every finding, also where there are too few images for an AUC."""
    return {
        name: FindingScores(
            positives=int((labels[:, column] == 1).sum()),
            negatives=int((labels[:, column] == 0).sum()),
            auc=Interval(),
        )
        for column, name in enumerate(findings)
    }
