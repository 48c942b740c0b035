"""Scores computed on the executors."""

import numpy as np
import pytest

from xray.data.dataset import find_dataset
from xray.data.reader import ImageReader
from xray.model.network import build_model
from xray.model.predict import predict
from xray.spark.stock.rows import load_rows
from xray.spark.stock.test_set import TestSet
from xray.storage.credentials import load_access
from xray.storage.s3 import Storage

pytestmark = pytest.mark.slow


def test_scores_equal_the_local_ones_in_order(bucket, cluster):
    config = bucket.config()
    access = load_access(config.data.credentials, config.data.endpoint_url)
    test = find_dataset(config.data, Storage(access)).test
    rows, _ = load_rows(cluster, test, ImageReader.of(config.data, access), 0)
    model = build_model(config)
    readable = np.ones(len(test), dtype=bool)
    scores = TestSet(test, readable, rows).predict(model)
    pixels = np.stack([pixels for _, pixels, _ in sorted(rows.collect(), key=first)])
    np.testing.assert_allclose(scores, predict(model, pixels), atol=1e-5)


def first(row):
    return row[0]


def test_unreadable_images_are_left_out(bucket, cluster):
    config = bucket.config()
    access = load_access(config.data.credentials, config.data.endpoint_url)
    test = find_dataset(config.data, Storage(access)).test.take(np.arange(5))
    test.uris[2] = "s3://nih/images/gone.png"
    rows, bad = load_rows(cluster, test, ImageReader.of(config.data, access), 0)
    readable = np.array([name not in bad for name in test.names])
    test_set = TestSet(test, readable, rows)
    assert len(test_set.subset) == 4
    assert test_set.predict(build_model(config)).shape == (4, 15)
