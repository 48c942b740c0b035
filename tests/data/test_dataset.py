"""The images of a run, joined with their labels and split."""

import dataclasses
import shutil

import numpy as np
import pytest

from tests.pictures import encode, noise
from tests.refusals import refused
from xray.data.dataset import Dataset, check_bad_images, find_dataset
from xray.data.labels import FINDINGS
from xray.storage.credentials import load_access
from xray.storage.s3 import Storage

HEADER = "Image Index,Finding Labels,Patient ID"


def find(bucket, **data) -> Dataset:
    config = bucket.config(data=data)
    return find_dataset(
        config.data,
        Storage(load_access(config.data.credentials, config.data.endpoint_url)),
    )


def identity(bucket, **data) -> dict:
    return find(bucket, **data).identity(bucket.config(data=data).data)


def names(dataset: Dataset) -> set[str]:
    return {*dataset.train.names, *dataset.test.names}


def fill(bucket, folder: str = "images", images: int = 12) -> None:
    """Two images a patient, all with Mass, and their label file."""
    rows = [f"{n:08d}.png,Mass,{n // 2}" for n in range(images)]
    (bucket.folder / folder).mkdir(parents=True, exist_ok=True)
    for n in range(images):
        path = bucket.folder / folder / f"{n:08d}.png"
        path.write_bytes(encode(noise(8, seed=n)))
    labels = bucket.folder / "Data_Entry_2017_v2020.csv"
    labels.write_text("\n".join([HEADER, *rows]) + "\n")


def test_images_are_joined_with_their_labels(bucket):
    dataset = find(bucket)
    files = sorted(path.name for path in (bucket.folder / "images").iterdir())
    assert dataset.listed == len(files) == len(dataset.train) + len(dataset.test)
    assert names(dataset) == set(files)
    for side in (dataset.train, dataset.test):
        assert list(side.names) == sorted(side.names)
        assert [uri.split("/")[-1] for uri in side.uris] == list(side.names)
        assert side.labels.shape == (len(side), 15)
        assert side.labels.dtype == np.uint8
        assert (side.labels.sum(axis=1) >= 1).all()
        # In the synthetic data the first part of a name is the patient.
        assert [int(n[:8]) for n in side.names] == list(side.patients.astype(int))


def test_labels_are_those_of_the_file(own_bucket):
    fill(own_bucket)
    dataset = find(own_bucket)
    assert dataset.train.labels[:, FINDINGS.index("Mass")].all()
    assert dataset.train.labels.sum() == len(dataset.train)


def test_no_patient_is_on_both_sides(bucket):
    dataset = find(bucket)
    assert not set(dataset.train.patients) & set(dataset.test.patients)


def test_images_without_a_label_are_left_out_with_a_warning(own_bucket, caplog):
    fill(own_bucket)
    for extra in ("x.png", "y.png"):
        shutil.copy(own_bucket.folder / "images" / "00000000.png",
                    own_bucket.folder / "images" / extra)  # fmt: skip
    dataset = find(own_bucket)
    assert (dataset.listed, len(names(dataset))) == (14, 12)
    assert "2 of 14 images under s3://nih/images/ have no label" in caplog.text


def test_complete_data_give_no_warning(own_bucket, caplog):
    fill(own_bucket)
    find(own_bucket)
    assert not caplog.records


def test_nested_folders_and_other_files(own_bucket):
    fill(own_bucket, "images/part_1")
    (own_bucket.folder / "images" / "part_2").mkdir()
    (own_bucket.folder / "images" / "part_1" / "00000003.png").rename(
        own_bucket.folder / "images" / "part_2" / "00000003.PNG"
    )
    (own_bucket.folder / "images" / "part_1" / "00000005.png").rename(
        own_bucket.folder / "images" / "part_2" / "00000005.png"
    )
    (own_bucket.folder / "images" / "readme.txt").write_text("not an image")
    dataset = find(own_bucket)
    assert dataset.listed == 12  # 00000003.PNG is listed under a name without label
    assert names(dataset) == {f"{n:08d}.png" for n in range(12) if n != 3}


def test_same_name_in_two_folders_is_refused(own_bucket):
    fill(own_bucket, "images/a")
    fill(own_bucket, "images/b")
    with refused("Image '00000000.png' stands more than once under s3://nih/images/"):
        find(own_bucket)


def test_empty_prefix(bucket):
    with refused("No image .*.png.* under s3://nih/nothing/. Check the prefix"):
        find(bucket, images="s3://nih/nothing/")


def test_no_image_in_the_label_file(own_bucket):
    fill(own_bucket)
    labels = own_bucket.folder / "Data_Entry_2017_v2020.csv"
    labels.write_text(f"{HEADER}\nother.png,Mass,1\n")
    with refused("None of the 12 images .*first image: .00000000.png.*both addr"):
        find(own_bucket)


def test_missing_label_file(bucket):
    with refused("Label file s3://nih/none.csv cannot be read: no such key. Check"):
        find(bucket, labels="s3://nih/none.csv")


def test_one_patient_cannot_be_split(own_bucket):
    fill(own_bucket, images=2)
    with refused("2 images of 1 patients cannot be split with data.test_fraction=0.2"):
        find(own_bucket)


@pytest.mark.parametrize("limit", [20, 47, 150])
def test_limit_takes_whole_patients_but_the_last(bucket, limit):
    everything, limited = find(bucket), find(bucket, limit=limit)
    assert len(names(limited)) == limit
    assert names(limited) == names(find(bucket, limit=limit))
    everyone = [*everything.train.patients, *everything.test.patients]
    chosen = [*limited.train.patients, *limited.test.patients]
    partial = [p for p in set(chosen) if chosen.count(p) < everyone.count(p)]
    assert len(partial) <= 1


def test_limit_follows_the_seed_and_may_exceed_the_images(bucket):
    assert names(find(bucket, limit=40)) != names(find(bucket, limit=40, seed=1))
    assert names(find(bucket, limit=1000)) == names(find(bucket))


def test_too_few_positives_are_listed(own_bucket):
    fill(own_bucket)
    with refused(r"at least 1 positive .* Too few: Atelectasis \(0\), .*set data.min_"):
        find(own_bucket, min_train_positives=1)
    with refused(r"at least 50 positive .* Mass \(\d+\)"):
        find(own_bucket, min_train_positives=50)


def test_identity_is_that_of_the_content_not_of_the_place(own_bucket):
    fill(own_bucket)
    here = identity(own_bucket)
    other = own_bucket.folder.parent / "other" / "deep" / "er"
    shutil.copytree(own_bucket.folder, other)
    labels = "s3://other/deep/er/Data_Entry_2017_v2020.csv"
    images = "s3://other/deep/er/images/"
    assert identity(own_bucket, images=images, labels=labels) == here


def test_identity_follows_content_labels_seed_and_size(own_bucket):
    fill(own_bucket)
    before = identity(own_bucket)
    one = find(own_bucket).train.names[0]  # its side's content alone may change
    # The seed in itself is part of the work, and so is what it chooses.
    other = identity(own_bucket, seed=5)
    assert changed(before, other) >= {"seed", "train_content", "test_content"}
    assert changed(before, identity(own_bucket, image_size=64)) == {"image_size"}
    assert "images" in changed(before, identity(own_bucket, limit=8))
    (own_bucket.folder / "images" / one).write_bytes(encode(noise(8, 99)))
    after = identity(own_bucket)
    assert changed(before, after) == {"train_content"}
    labels = own_bucket.folder / "Data_Entry_2017_v2020.csv"
    text = labels.read_text()
    labels.write_text(text.replace(f"{one},Mass,", f"{one},Mass,9"))
    assert changed(after, identity(own_bucket)) >= {"train_content"}


@pytest.mark.parametrize("column", ["names", "etags", "patients", "labels"])
def test_digest_follows_every_column_and_not_the_place(own_bucket, column):
    fill(own_bucket)
    train = find(own_bucket).train
    other = getattr(train, column).copy()
    other[0] = 1 - other[0] if column == "labels" else "9"
    changed_one = dataclasses.replace(train, **{column: other})
    assert changed_one.digest() != train.digest()
    elsewhere = dataclasses.replace(train, uris=train.uris + "x")
    assert elsewhere.digest() == train.digest()


def changed(before: dict, after: dict) -> set[str]:
    """Names of the fields that differ."""
    return {
        name
        for section in before
        for name in before[section]
        if before[section][name] != after[section][name]
    }


def test_few_bad_images_are_warned_of(caplog):
    check_bad_images({"a.png": "truncated"}, 100, 0.01)
    assert "1 of 100 images skipped: a.png (truncated)" in caplog.text


def test_no_bad_image_is_no_warning(caplog):
    check_bad_images({}, 100, 0.0)
    assert not caplog.records


@pytest.mark.parametrize(("bad", "fraction"), [(2, 0.01), (1, 0.0), (100, 0.99)])
def test_too_many_bad_images(bad, fraction):
    reasons = {f"{n}.png": "truncated" for n in range(bad)}
    with refused(f"{bad} of 100 images cannot be read, more than data.max_bad_fracti"):
        check_bad_images(reasons, 100, fraction)


def test_message_names_the_first_five_bad_images():
    reasons = {f"{n}.png": "cut" for n in range(9)}
    with refused(r"First: 0.png \(cut\); .*4.png \(cut\). Repair"):
        check_bad_images(reasons, 100, 0.01)
