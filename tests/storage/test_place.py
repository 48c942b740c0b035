"""A folder and a prefix on S3: joined, listed, read, written and refused alike."""

from pathlib import Path

import pytest

from tests.refusals import refused
from xray.storage.address import under
from xray.storage.credentials import load_access
from xray.storage.place import Place, access_for


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


def test_a_path_needs_no_access(own_bucket):
    assert access_for("models/m.keras", Path("none.yaml")) is None
    access = access_for("s3://nih/m.keras", own_bucket.credentials, "http://host")
    assert access.endpoint_url == "http://host"
