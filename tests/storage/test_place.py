"""A folder and a prefix on S3 are used alike."""

from pathlib import Path

import pytest

from tests.refusals import refused
from xray.storage.credentials import load_access
from xray.storage.place import Place, access_for


@pytest.mark.parametrize("prefix", ["nih", "nih/", "nih/deep/er", "nih/deep/er/"])
def test_a_bucket_and_a_prefix_list_names_below_them(own_bucket, prefix):
    place = Place(f"s3://{prefix}", load_access(own_bucket.credentials))
    assert place.write("parts/b", b"2")  # its ETag
    assert "parts/b" in place.names()
    place.delete("parts/b")
    assert "parts/b" not in place.names()


def test_a_folder_lists_whole_files_alone(tmp_path):
    place = Place(f"{tmp_path}/")
    place.write("parts/b", b"2")
    place.write("a", b"1")
    (tmp_path / "c.x.tmp").touch()
    assert place.names() == ["a", "parts/b"]
    assert place.read("parts/b") == b"2"
    place.delete("a")
    place.delete("a")
    with refused("/a does not exist"):
        place.read("a")
    with refused("cannot be written: "):
        place.write("parts/b/c", b"")


@pytest.mark.parametrize(
    ("address", "place", "name"),
    [
        ("m.keras", ".", "m.keras"),
        ("models/m.keras", "models", "m.keras"),
        ("/m.keras", "/", "m.keras"),
        ("s3://nih/models/m.keras", "s3://nih/models", "m.keras"),
        ("s3://nih/m.keras", "s3://nih", "m.keras"),
    ],
)
def test_a_file_has_its_place(address, place, name):
    found, its_name = Place.of_file(address)
    assert (found.root, its_name) == (place, name)
    assert found.at(name) == address


def test_a_path_needs_no_access(own_bucket):
    assert access_for("models/m.keras", Path("none.yaml")) is None
    access = access_for("s3://nih/m.keras", own_bucket.credentials, "http://host")
    assert access.endpoint_url == "http://host"
