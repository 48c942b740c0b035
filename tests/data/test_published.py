"""A split by two lists of names, on S3 and on disk."""

import pytest
from pydantic import ValidationError

from tests.data.test_dataset import fill, find, identity
from tests.refusals import refused
from xray.report.page.summary import split_told


def name(number: int) -> str:
    return f"{number:08d}.png"


@pytest.fixture
def write_lists(own_bucket):
    """Fills the bucket with 12 images, two a patient, and writes both lists."""
    fill(own_bucket)

    def write(train, test):
        settings = {}
        for setting, numbers in (("train_list", train), ("test_list", test)):
            path = own_bucket.folder / f"{setting}.txt"
            path.write_text("".join(f"{name(n)}\n" for n in numbers))
            settings[setting] = f"s3://nih/{path.name}"
        return settings

    return write


def test_the_lists_decide(own_bucket, write_lists, caplog):
    dataset = find(own_bucket, **write_lists(range(4, 12), range(4)))
    assert list(dataset.train.names) == [name(n) for n in range(4, 12)]
    assert list(dataset.test.names) == [name(n) for n in range(4)]
    assert not caplog.records


def test_lists_on_disk_are_the_same_work(own_bucket, write_lists):
    on_s3 = write_lists(range(4, 12), range(4))
    on_disk = {key: own_bucket.folder / f"{key}.txt" for key in on_s3}
    on_disk = {key: str(path) for key, path in on_disk.items()}
    assert identity(own_bucket, **on_disk) == identity(own_bucket, **on_s3)
    assert identity(own_bucket, **on_s3) != identity(own_bucket)


def test_validation_comes_from_the_training_list(own_bucket, write_lists):
    lists = write_lists(range(4, 12), range(4))
    dataset = find(own_bucket, validation_fraction=0.25, **lists)
    assert len(dataset.validation) == 2
    assert {*dataset.validation.names, *dataset.train.names} == {
        name(n) for n in range(4, 12)
    }


def test_what_is_in_no_list_or_not_there_is_told(own_bucket, write_lists, caplog):
    lists = write_lists(range(4, 10), [0, 1, 100, 101, 102])
    dataset = find(own_bucket, **lists)
    assert list(dataset.test.names) == [name(0), name(1)]
    assert "3 of the 5 images of data.test_list are not there" in caplog.text
    assert "4 of 12 images stand in neither list" in caplog.text
    work = identity(own_bucket, **lists)
    assert work["split"]["published"] == {"train_list": 6, "test_list": 5}
    assert split_told(work) == "published split, 2 of its 5 test images"
    whole = identity(own_bucket, **write_lists(range(4, 10), [0, 1]))
    assert split_told(whole) == "published split, all 2 test images"
    assert split_told(identity(own_bucket)) == "own split by patient"


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        (range(3, 12), range(3), "Patient '1' has images in data.train_list and in"),
        (range(3, 12), range(4), "Image '00000003.png' stands in data.train_list and"),
        (range(12), [90, 91], "data.test_list names 2 images, and none of them is"),
        (range(12), [], "data.test_list must be a text with the name of an image in"),
    ],
)
def test_lists_that_cannot_be_used(own_bucket, write_lists, train, test, words):
    with refused(words):
        find(own_bucket, **write_lists(train, test))


def test_a_list_that_is_not_there_is_told_with_its_setting(own_bucket, write_lists):
    lists = write_lists(range(4, 12), range(4)) | {"test_list": "s3://nih/none.txt"}
    with refused("data.test_list"):
        find(own_bucket, **lists)


def test_one_list_alone_is_refused(own_bucket):
    with pytest.raises(ValidationError, match="test_list=.*needs train_list as well"):
        own_bucket.config(data={"test_list": "s3://nih/a.txt"})
