"""Images as Spark partitions."""

import urllib.request

import numpy as np
import pytest
import yaml

from xray.common.errors import UserError
from xray.data.dataset import find_dataset
from xray.data.images import load_images
from xray.data.partition import (
    check_partitions,
    cut_partitions,
    cut_runs,
    read_partition,
    reread_partition,
    spread,
)
from xray.data.reader import ImageReader
from xray.spark.stock.rows import load_rows
from xray.storage.credentials import load_access
from xray.storage.s3 import Storage


@pytest.fixture(scope="module")
def subset(bucket):
    data = bucket.config().data
    return find_dataset(
        data, Storage(load_access(data.credentials, data.endpoint_url))
    ).train


@pytest.mark.parametrize("shards", [1, 2, 3, 7])
def test_shards_are_equal_and_complete(subset, shards):
    parts = cut_partitions(subset, shards)
    sizes = [len(part.rows) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert sorted(np.concatenate([part.rows for part in parts])) == [
        *range(len(subset))
    ]
    for part in parts:
        assert list(part.rows) == sorted(part.rows)
        np.testing.assert_array_equal(part.uris, subset.uris[part.rows])
        np.testing.assert_array_equal(part.labels, subset.labels[part.rows])


def test_shards_are_in_proportion_to_weights(subset):
    parts = cut_partitions(subset, 3, weights=[1, 2, 5])
    sizes = [len(part.rows) for part in parts]
    expected = len(subset) * np.array([1, 2, 5]) / 8
    assert np.abs(sizes - expected).max() <= 1
    assert sorted(np.concatenate([part.rows for part in parts])) == [
        *range(len(subset))
    ]


def test_what_is_read_already_is_not_read_again(bucket, subset):
    """Two images are broken: one that is here, one that is new."""
    read = []

    class Counting(ImageReader):
        def outcomes(self, uris, etags):
            read.extend(uris)
            return super().outcomes(uris, etags)

    subset = subset.take(np.arange(40))
    before, after = (cut_partitions(subset, 2, weights=w)[0] for w in ([1, 1], [3, 1]))
    new = np.setdiff1d(after.rows, before.rows)
    for row in (before.rows[3], new[1]):
        subset.uris[row] = "unreadable:broken"
    before, after = (cut_partitions(subset, 2, weights=w)[0] for w in ([1, 1], [3, 1]))
    data = bucket.config().data
    access = load_access(data.credentials, data.endpoint_url)
    reader = Counting(access, data.image_size, 2)
    kept, pixels, _ = read_partition(reader, before)
    read.clear()
    part, merged, bad = reread_partition(reader, after, kept, pixels)
    broken_again = {subset.uris[before.rows[3]]}  # nobody keeps what cannot be read
    assert set(read) == {*subset.uris[new]} | broken_again
    assert len(read) == len(new) + 1
    whole = read_partition(reader, after)
    np.testing.assert_array_equal(part.rows, whole[0].rows)
    np.testing.assert_array_equal(merged, whole[1])
    assert sorted(bad) == sorted(whole[2])


def test_a_worker_keeps_its_images_when_others_are_added(subset):
    """Places are decided by the name alone, so a grown data set moves few images."""
    few = subset.take(np.arange(len(subset)) % 8 != 0)
    old = {*few.names[cut_partitions(few, 2)[0].rows]}
    new = {*subset.names[cut_partitions(subset, 2)[0].rows]}
    assert len(old - new) <= len(subset) // 8


def test_names_are_spread_evenly():
    places = spread([f"{number:08d}_000.png" for number in range(8000)])
    counts = np.bincount((places >> np.uint64(61)).astype(int), minlength=8)
    assert counts.min() > 880  # of 1000, eight times


@pytest.mark.parametrize(("count", "cut"), [(0.2, 1), (3, 4), (8, 8), (9, 16)])
def test_runs_hold_each_image_once_in_the_order_of_places(count, cut):
    names = [f"{number:08d}_000.png" for number in range(2000)]
    runs = cut_runs(names, count)
    assert [number for number, _ in runs] == [*range(cut)]
    rows = np.concatenate([rows for _, rows in runs])
    np.testing.assert_array_equal(rows, np.argsort(spread(names), kind="stable"))


def test_a_new_image_changes_one_run_alone():
    names = [f"{number:08d}_000.png" for number in range(2001)]
    before, after = (
        [[names[row] for row in rows] for _, rows in cut_runs(names[:count], 8)]
        for count in (2000, 2001)
    )
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1


def test_order_within_a_shard_is_seeded(subset):
    first, again, other = (
        cut_partitions(subset, 2, seed)[0].rows for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert set(first) == set(other)


def test_more_workers_than_images_are_refused():
    with pytest.raises(UserError, match="at most the 3 training images. Got 4"):
        check_partitions(3, 4, 1)


@pytest.mark.parametrize("images", [63, 64, 65])
def test_a_partition_of_one_batch_is_refused(images):
    # Elephas trains a partition only if it has more rows than the batch size.
    with pytest.raises(UserError, match=f"{images // 2} images.*batch_size is 32"):
        check_partitions(images, 2, 32)


def test_a_partition_above_one_batch_passes():
    check_partitions(66, 2, 32)


@pytest.fixture(scope="module")
def loaded(bucket, cluster):
    data = bucket.config().data
    access = load_access(data.credentials, data.endpoint_url)
    train = find_dataset(data, Storage(access)).train
    rows, bad = load_rows(cluster, train, ImageReader.of(data, access), 0)
    return train, rows, bad, data, access


@pytest.mark.slow
class TestLoadShards:
    def test_rows_hold_the_same_pixels_as_the_local_runners(self, loaded):
        train, rows, bad, data, access = loaded
        expected = list(
            load_images(Storage(access), train.uris, train.etags, data.image_size, 4)
        )
        collected = rows.collect()
        assert not bad
        assert sorted(row for row, _, _ in collected) == list(range(len(train)))
        for row, pixels, labels in collected:
            np.testing.assert_array_equal(pixels, expected[row])
            np.testing.assert_array_equal(labels, train.labels[row])
            assert pixels.dtype == np.uint8
            assert labels.dtype == np.float32

    def test_partitions_are_equal(self, loaded):
        _, rows, *_ = loaded
        sizes = rows.mapPartitions(lambda part: [sum(1 for _ in part)]).collect()
        assert len(sizes) == 2
        assert max(sizes) - min(sizes) <= 1

    def test_a_vanished_key_is_named(self, loaded, cluster):
        train, _, _, data, access = loaded
        first = train.take(np.arange(4))
        first.uris[1] = "s3://nih/images/gone.png"
        rows, bad = load_rows(cluster, first, ImageReader.of(data, access), 0)
        assert bad == {str(first.names[1]): "no such key"}
        assert sorted(row for row, _, _ in rows.collect()) == [0, 2, 3]

    def test_the_spark_ui_shows_no_secret(self, loaded, cluster, bucket):
        secret = yaml.safe_load(bucket.credentials.read_text())["aws_secret_key_id"]
        base, api = cluster.context.uiWebUrl, "api/v1/applications"
        application = cluster.context.applicationId
        pages = ["environment", "jobs", "stages", "storage", "executors"]
        addresses = [f"{base}/{page}/" for page in pages]
        for name in ("environment", "jobs", "stages", "storage/rdd"):
            addresses.append(f"{base}/{api}/{application}/{name}")
        for address in addresses:
            with urllib.request.urlopen(address) as reply:
                page = reply.read().decode()
            assert "spark" in page.lower() or page.startswith("[")
            assert secret not in page
