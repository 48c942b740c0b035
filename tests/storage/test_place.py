"""A folder and a prefix on S3: joined, read and refused alike."""

import pytest

from tests.refusals import refused
from xray.storage.place import Place, under


@pytest.mark.parametrize(
    ("address", "root", "name"),
    [
        ("m.keras", ".", "m.keras"),
        ("/m.keras", "/", "m.keras"),
        ("a/b/m.keras", "a/b", "m.keras"),
        ("s3://bucket/m.keras", "s3://bucket", "m.keras"),
        ("s3://bucket/a/m.keras", "s3://bucket/a", "m.keras"),
    ],
)
def test_a_file_is_found_again_at_its_place(address, root, name):
    place, found = Place.of_file(address)
    assert (place.root, found) == (root, name)
    assert place.at(found) == under(root, name) == address


def test_a_missing_file_is_told_with_its_setting_and_what_to_do(tmp_path):
    place = Place(str(tmp_path))
    with refused(f"^model.weights {tmp_path}/none does not exist. Check the path.$"):
        place.read("none", "model.weights", ". Check the path")
    with refused(f"^{tmp_path}/none does not exist.$"):
        place.read("none")
