"""Training and test sets that share no patient, stratified over the findings."""

import numpy as np


def split_by_patient(
    labels: np.ndarray, patients: np.ndarray, test_fraction: float, seed: int
) -> np.ndarray:
    """Which images are in the test set: bool (N,), whole patients only.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML PKDD 2011) over
    patients instead of images: patients with the rarest finding are placed first,
    each on the side that still lacks most of what the patient brings.

    Args:
        labels: (N, C), 1 where a finding is there.
        patients: (N,), any comparable values.
        test_fraction: share of the images wanted in the test set.
        seed: decides between patients that are equal.
    """
    _, group = np.unique(patients, return_inverse=True)
    # The column of ones makes the number of images a goal beside the findings.
    brings = np.column_stack([labels == 1, np.ones(len(labels))])
    totals = np.zeros((group.max() + 1, brings.shape[1]))
    np.add.at(totals, group, brings)
    wanted = totals.sum(axis=0) * test_fraction
    in_test = np.zeros(len(totals), dtype=bool)
    lacking = np.stack([totals.sum(axis=0) - wanted, wanted])
    scale = np.maximum(lacking.copy(), 1e-9)
    # Patients who would more than double the test set train, before all others.
    giant = totals[:, -1] > 2 * wanted[-1]
    giant &= not giant.all()
    lacking[0] -= totals[giant].sum(axis=0)
    for patient in _rarest_first(totals, seed):
        if giant[patient]:
            continue
        need = (lacking / scale) @ totals[patient]
        side = int(need[1] > need[0])
        in_test[patient] = bool(side)
        lacking[side] -= totals[patient]
    return in_test[group]


def _rarest_first(totals: np.ndarray, seed: int) -> np.ndarray:
    """Patients ordered by their rarest finding, then by size, ties shuffled."""
    prevalence = totals.sum(axis=0)
    rarest = np.where(totals > 0, prevalence, np.inf).min(axis=1)
    shuffled = np.random.default_rng(seed).permutation(len(totals))
    order = np.lexsort((-totals[shuffled, -1], rarest[shuffled]))
    return shuffled[order]
