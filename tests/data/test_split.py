"""The split: no patient on both sides, every finding on both."""

import numpy as np
import pytest

from xray.data.split import split_by_patient

SEEDS = range(5)


def draw(seed: int, images: int = 600, findings: int = 15):
    """Labels with common and rare findings, and patients of 1 to 8 images."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, images)
    patients = np.repeat(np.arange(images), sizes)[:images]
    labels = rng.random((images, findings)) < np.geomspace(0.3, 0.005, findings)
    return labels.astype(np.uint8), np.array([f"{p:05d}" for p in patients])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_no_patient_is_on_both_sides(seed, fraction):
    labels, patients = draw(seed)
    in_test = split_by_patient(labels, patients, fraction, seed)
    assert in_test.dtype == bool
    assert in_test.shape == (len(labels),)
    assert not set(patients[in_test]) & set(patients[~in_test])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_share_of_the_test_set_is_close(seed, fraction):
    labels, patients = draw(seed)
    in_test = split_by_patient(labels, patients, fraction, seed)
    assert in_test.mean() == pytest.approx(fraction, abs=0.02)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_finding_of_several_patients_is_on_both_sides(seed):
    labels, patients = draw(seed)
    in_test = split_by_patient(labels, patients, 0.2, seed)
    for column in labels.T.astype(bool):
        if len(np.unique(patients[column])) >= 4:
            assert column[in_test].any()
            assert column[~in_test].any()


@pytest.mark.parametrize("seed", SEEDS)
def test_common_findings_are_as_common_on_both_sides(seed):
    labels, patients = draw(seed)
    in_test = split_by_patient(labels, patients, 0.2, seed)
    common = labels.sum(axis=0) >= 50
    share = labels[in_test].sum(axis=0)[common] / labels.sum(axis=0)[common]
    assert np.abs(share - 0.2).max() < 0.08


def test_same_seed_same_split_other_seed_other_split():
    labels, patients = draw(0)
    first = split_by_patient(labels, patients, 0.2, 1)
    assert (split_by_patient(labels, patients, 0.2, 1) == first).all()
    assert (split_by_patient(labels, patients, 0.2, 2) != first).any()


def test_names_of_the_patients_do_not_matter():
    labels, patients = draw(0)
    numbers = patients.astype(int)
    by_name = split_by_patient(labels, patients, 0.2, 1)
    assert (split_by_patient(labels, numbers, 0.2, 1) == by_name).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_one_giant_patient_leaves_others_for_the_test_set(seed):
    labels, patients = draw(seed, images=200)
    patients[:150] = "giant"
    in_test = split_by_patient(labels, patients, 0.2, seed)
    assert in_test.any()
    assert not in_test[patients == "giant"].any()


def test_one_patient_alone_stays_whole():
    labels, _ = draw(0, images=20)
    in_test = split_by_patient(labels, np.array(["1"] * 20), 0.2, 0)
    assert len(set(in_test)) == 1


def test_finding_that_never_occurs_does_no_harm():
    labels, patients = draw(0)
    labels[:, :3] = 0
    in_test = split_by_patient(labels, patients, 0.2, 0)
    assert in_test.mean() == pytest.approx(0.2, abs=0.02)


def test_two_patients_of_the_same_size_are_still_split():
    labels, _ = draw(0, images=20)
    in_test = split_by_patient(labels, np.repeat(["1", "2"], 10), 0.1, 0)
    assert in_test.sum() == 10
