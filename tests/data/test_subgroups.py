"""Which images belong to a group that the label file tells."""

import numpy as np
import pytest

from tests.data.test_dataset import find, identity, names
from tests.data.test_matching import ROWS, described  # noqa: F401
from tests.refusals import refused


def image(number: int) -> str:
    return f"{number:08d}.png"


def test_images_are_found_by_column_and_condition(described):  # noqa: F811
    asked = {"Patient Sex": ["F", "M"], "Patient Age": ["..17", "18.."]}
    dataset = find(described, subgroups=asked)
    expected = {
        ("Patient Sex", "F"): [0, 1, 6, 7],
        ("Patient Sex", "M"): [2, 3, 4, 5],
        ("Patient Age", "..17"): [2, 3, 7],
        ("Patient Age", "18.."): [0, 1, 4, 5],
    }
    found = {(one.column, one.condition): one for one in dataset.subgroups}
    assert list(found) == list(expected)
    everything = np.array([image(n) for n in range(len(ROWS))])
    for key, numbers in expected.items():
        assert np.flatnonzero(found[key].among(everything)).tolist() == numbers
    assert names(dataset) == {*everything}  # nothing is left out


def test_groups_change_no_work(described):  # noqa: F811
    asked = {"Patient Sex": ["F"]}
    assert identity(described, subgroups=asked) == identity(described)
    assert find(described).subgroups == ()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"Patient Sex": ["F", "female"]},
            "None of the 8 images fulfils data.subgroups .Patient Sex female",
        ),
        ({"Patient Sexes": ["F"]}, "lacks column.*Did you mean 'Patient Sex'"),
    ],
)
def test_a_group_that_is_nobodys_is_refused(described, asked, message):  # noqa: F811
    with refused(message):
        find(described, subgroups=asked)
