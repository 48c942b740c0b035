"""What is told to look unlike the pictures that a model was trained on."""

import numpy as np
import pytest

from tests.pictures import noise
from xray.data import appearance
from xray.data.appearance import (
    BORNE,
    COMPONENTS,
    MAX_UNLIKE,
    SIDE,
    Appearance,
    find_appearance,
    fit_appearance,
)
from xray.data.dataset import Subset
from xray.data.labels import FINDINGS
from xray.local.phantom import draw

COUNT = 120


def chests(seed, count=COUNT, size=64):
    """Drawn X-rays, each with a finding."""
    rng = np.random.default_rng(seed)
    drawn = [draw([FINDINGS[n % 10]], size, rng) for n in range(count)]
    return np.stack(drawn)[..., None]


@pytest.fixture(scope="module")
def fitted():
    return fit_appearance(*(appearance.to_cells(chests(seed)) for seed in (0, 1)))


def test_other_chests_are_alike_and_what_is_none_is_not(fitted):
    others = chests(2)
    assert (fitted.unlike(others) > 1).mean() < 0.1
    for changed in (255 - others, others[:, ::-1], np.rot90(others, 1, (1, 2))):
        assert (fitted.unlike(changed) > 1).mean() > 0.9
    assert fitted.unlike(noise(64)[None, ..., None]) > 1


def test_the_bound_is_what_the_test_pictures_keep(fitted):
    beyond = (fitted.unlike(chests(1)) > 1).sum()
    assert beyond == np.ceil((1 - BORNE) * (COUNT - 1))


def test_light_is_no_matter(fitted):
    picture = chests(3, 1).astype(float)
    changed = [picture, picture / 2, picture / 2 + 60]
    found = [fitted.unlike(p.round().astype(np.uint8))[0] for p in changed]
    assert found == pytest.approx([found[0]] * 3, rel=0.05)
    size = fitted.unlike(chests(3, 1, size=96))[0]  # of the same picture
    assert size == pytest.approx(found[0], rel=0.5)


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_flat_picture_is_as_unlike_as_can_be(fitted, grey):
    assert fitted.unlike(np.full((1, 64, 64, 1), grey, np.uint8)) == MAX_UNLIKE


def test_the_distance_is_that_of_the_covariance(fitted):
    """Of probabilistic PCA, x C^-1 x, with C written out."""
    cells = appearance.to_cells(chests(4, 5)) - appearance._decoded(fitted.mean)
    along = appearance._decoded(fitted.components).reshape(COMPONENTS, -1)
    np.testing.assert_allclose(along @ along.T, np.eye(COMPONENTS), atol=1e-5)
    noise_part = fitted.noise * (np.eye(SIDE**2) - along.T @ along)
    covariance = along.T @ np.diag(fitted.variances) @ along + noise_part
    expected = np.einsum("ni,in->n", cells, np.linalg.solve(covariance, cells.T))
    found = fitted.unlike(chests(4, 5)) * fitted.bound
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    again = Appearance.model_validate_json(fitted.model_dump_json())
    np.testing.assert_array_equal(again.unlike(chests(4, 5)) * fitted.bound, found)


class Reader:
    """Hands out pictures by the number in their address, some unreadable."""

    def __init__(self, readable=True, different=50):
        self.asked, self.readable, self.different = [], readable, different

    def outcomes(self, uris, etags):
        self.asked.append([int(uri) for uri in uris])
        pictures = chests(0, self.different)
        for number in reversed(range(len(uris))):
            gone = number == 3 or not self.readable
            yield number, "gone" if gone else pictures[number % self.different]


def subset(count):
    names = np.array([str(number) for number in range(count)])
    return Subset(names, names, names, names, np.zeros((count, 15), np.uint8))


def test_some_of_many_are_read_and_few_are_not_enough():
    reader = Reader()
    assert find_appearance(subset(20), subset(5000), reader) is None
    assert find_appearance(subset(50), subset(50), Reader(readable=False)) is None
    assert find_appearance(subset(50), subset(50), Reader(different=1)) is None
    reader.asked.clear()
    found = find_appearance(subset(5000), subset(100), reader)
    assert (found.train_images, found.test_images) == (999, 99)
    train, test = reader.asked
    assert (len(train), train[0], train[-1]) == (1000, 0, 4999)
    assert set(np.diff(train)) <= {5, 6}
    assert test == list(range(100))
