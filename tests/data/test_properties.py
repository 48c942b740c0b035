"""Labels and split, over drawn label files and drawn patients."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.test_labels import SOURCE, csv
from xray.common.errors import UserError
from xray.data.labels import FINDINGS, read_labels
from xray.data.split import split_by_patient

quick = settings(derandomize=True, deadline=None, max_examples=40)
FOUND = st.lists(st.sampled_from(FINDINGS), min_size=1, max_size=4, unique=True)
IMAGES = st.lists(st.tuples(st.integers(0, 9), FOUND), min_size=1, max_size=12)
SHORT = "Image Index,Finding Labels,Patient ID"


@quick
@given(IMAGES, st.sampled_from(["|", " | ", "| "]))
def test_every_label_of_the_file_is_read_and_no_other(images, between):
    rows = [
        f"{number}.png,{between.join(found)},{patient}"
        for number, (patient, found) in enumerate(images)
    ]
    table = read_labels(
        csv(*rows, header="Image Index,Finding Labels,Patient ID"), SOURCE
    )
    assert [*table.index] == [f"{number}.png" for number in range(len(images))]
    for (patient, found), (_, row) in zip(images, table.iterrows(), strict=True):
        assert row["patient"] == str(patient)
        assert {name for name in FINDINGS if row[name]} == set(found)


@quick
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_labels_or_refused_in_one_line(content):
    try:
        table = read_labels(content, SOURCE)
    except UserError as error:
        assert str(error).splitlines() == [str(error)]
        return
    assert table.index.is_unique


@quick
@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 7)), min_size=2, max_size=60),
    st.floats(0.05, 0.95),
    st.integers(0, 2**32 - 1),
)
def test_patients_stay_whole_on_either_side(images, fraction, seed):
    patients = np.array([patient for patient, _ in images])
    labels = np.array([[bits >> n & 1 for n in range(3)] for _, bits in images])
    in_test = split_by_patient(labels, patients, fraction, seed)
    assert not set(patients[in_test]) & set(patients[~in_test])
    assert (in_test == split_by_patient(labels, patients, fraction, seed)).all()
    # Patients, not their names: renamed in their order they fall where they fell.
    assert (in_test == split_by_patient(labels, patients * 3 + 1, fraction, seed)).all()
    largest = np.bincount(patients).max()
    assert in_test.sum() <= 2 * fraction * len(images) + largest
