"""Files of this machine, listed, read and written as the objects of S3 are."""

import hashlib
import platform

import pytest

from tests.refusals import refused
from xray.config.data import DataConfig
from xray.storage.address import StoredObject
from xray.storage.credentials import S3Access, data_access, store_name
from xray.storage.failures import ReplacedObject, UnreadableObject
from xray.storage.s3 import Storage


@pytest.fixture
def storage():
    return Storage(S3Access())


def test_a_folder_is_listed_from_wherever_it_is_named(storage, tmp_path, monkeypatch):
    for name in ("b/z.png", "a.png", "b/empty.png"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12" * (path.stem != "empty"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "c.png").write_bytes(b"345")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "gone.png").symlink_to(tmp_path / "none")
    monkeypatch.chdir(tmp_path)
    root = f"{tmp_path}/data"
    found = [
        StoredObject(f"{root}/a.png", "a.png", 2),
        StoredObject(f"{root}/b/z.png", "b/z.png", 2),
        StoredObject(f"{root}/link/c.png", "link/c.png", 3),
    ]
    for name in ("data", "data/", root):
        storage.check(name)
        assert storage.list_objects(name) == found
    assert "b/empty.png" in [o.key for o in storage.list_objects("data", True)]
    assert storage.list_objects("data/a.png") == found[:1]


def test_a_folder_that_is_not_there_is_refused(storage, tmp_path):
    for ask in (storage.check, storage.list_objects):
        with refused(f"^{tmp_path}/none cannot be listed: No such file or directory"):
            ask(f"{tmp_path}/none")


def test_an_etag_is_the_md5_of_the_content(storage, tmp_path):
    (tmp_path / "a").write_bytes(b"pixels")
    (found,) = storage.list_objects(str(tmp_path))
    md5 = hashlib.md5(b"pixels").hexdigest()
    assert storage.etag(found) == md5 == storage.write(found.uri, b"pixels")
    assert storage.read(found.uri, md5, md5) == b"pixels"
    with pytest.raises(UnreadableObject, match=f"MD5 {md5} instead of other"):
        storage.read(found.uri, md5="other")
    (tmp_path / "a").write_bytes(b"pixelt")
    with pytest.raises(ReplacedObject, match=f"{tmp_path}/a was replaced since"):
        storage.read(found.uri, md5)


def test_what_is_missing_says_whether_its_folder_is(storage, tmp_path):
    with pytest.raises(UnreadableObject, match="^no such file or directory$"):
        storage.read(f"{tmp_path}/none")
    where = f"^no folder {tmp_path}/none on host {platform.node()}$"
    with pytest.raises(UnreadableObject, match=where):
        storage.read(f"{tmp_path}/none/a")


def test_a_disk_that_refuses_is_one_line(storage, tmp_path):
    with refused("^/dev/full/a cannot be written: File exists"):
        storage.write("/dev/full/a", b"1")
    storage.delete(f"{tmp_path}/none")
    with refused(f"^{tmp_path} cannot be removed: "):
        storage.delete(str(tmp_path))


def test_folders_need_no_keys(tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    inside = DataConfig(images="images/", labels="labels.csv")
    assert data_access(inside) == S3Access()
    assert store_name(S3Access(), inside.images) == "a folder"
    for name in ("labels", "staged", "test_list"):
        mixed = inside.model_copy(update={name: "s3://nih/labels.csv"})
        with refused("No S3 credentials found"):
            data_access(mixed)
    with refused("Credentials file .*none.yaml cannot be read"):
        data_access(inside.model_copy(update={"credentials": tmp_path / "none.yaml"}))
