"""Test probabilities beside a record: read back, in one order, without names."""

import numpy as np
import pytest

from xray.records.predictions import find_predictions, predictions_of, read_predictions

NAMES = [f"{number:08d}_000.png" for number in range(40)]
PATIENTS = [f"patient {number // 3}" for number in range(40)]
RNG = np.random.default_rng(0)
LABELS, SCORES = RNG.integers(0, 2, (40, 2)), RNG.random((40, 2))


def made(order=slice(None)):
    return predictions_of(
        np.array(NAMES)[order],
        np.array(PATIENTS)[order],
        LABELS[order],
        SCORES[order],
        ["Mass", "Hernia"],
    )


def assert_equal(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_written_predictions_are_read_back(tmp_path):
    path = made().write(tmp_path / "new", "run1")
    assert path.name == "run1.predictions.npz"
    assert_equal(read_predictions(path), made())
    assert find_predictions([tmp_path]) == {"run1": path}
    record = path.with_name("run1.json")
    record.write_text("{}")
    assert find_predictions([record]) == {"run1": path}


def test_the_order_of_the_images_does_not_matter():
    """Two runs list them in another order; the same image is in the same row."""
    assert_equal(made(), made(RNG.permutation(40)))


def test_each_row_belongs_to_its_image():
    whole, alone = made(), made(slice(7, 8))
    (row,) = np.flatnonzero(whole.images == alone.images[0])
    np.testing.assert_array_equal(whole.labels[row], LABELS[7].astype(bool))
    np.testing.assert_allclose(whole.probabilities[row], SCORES[7], rtol=1e-6)


def test_images_of_one_patient_share_a_number_that_is_not_his():
    found = made()
    rows = {name: made(slice(n, n + 1)).images[0] for n, name in enumerate(NAMES)}
    place = {image: row for row, image in enumerate(found.images)}
    numbers = [found.patients[place[rows[name]]] for name in NAMES]
    groups = [set(numbers[start : start + 3]) for start in range(0, 40, 3)]
    assert all(len(group) == 1 for group in groups)
    assert len(set.union(*groups)) == 14
    of_patient = dict(zip(PATIENTS, numbers, strict=True))
    by_name = [of_patient[name] for name in sorted(of_patient)]
    assert by_name != sorted(by_name)  # or the numbers would tell who is who


def test_no_name_is_in_the_file(tmp_path):
    content = made().write(tmp_path, "run").read_bytes()
    with np.load(tmp_path / "run.predictions.npz") as file:
        content += b"".join(file[name].tobytes() for name in file.files)
    for word in (b"000.png", b"patient ", "patient".encode("utf-32-le")):
        assert word not in content


@pytest.mark.parametrize("damage", ["cut", "other", "short", "nan"])
def test_a_damaged_file_is_a_value_error(tmp_path, damage):
    path = made().write(tmp_path, "run")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-80])
    if damage == "other":
        np.savez_compressed(path, images=np.arange(3))
    if damage == "short":
        made()._replace(patients=np.arange(3)).write(tmp_path, "run")
    if damage == "nan":
        made()._replace(probabilities=np.full((40, 2), np.nan)).write(tmp_path, "run")
    with pytest.raises(ValueError, match="run.predictions.npz"):
        read_predictions(path)
