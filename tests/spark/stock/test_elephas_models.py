"""Elephas in each mode, on a real Spark context, with a small model."""

import socket

import numpy as np
import pytest

from xray.spark.stock.elephas_models import (
    make_asynchronous_model,
    make_synchronous_model,
)
from xray.spark.stock.rows import pixels_and_labels

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rows(cluster):
    """Two partitions of 20 and 20 random images."""
    rng = np.random.default_rng(0)
    data = [
        (
            row,
            rng.integers(0, 255, (32, 32, 1), dtype=np.uint8),
            (rng.random(15) > 0.7).astype(np.float32),
        )
        for row in range(40)
    ]
    rdd = cluster.context.parallelize([data[:20], data[20:]], 2).flatMap(list)
    return rdd.map(pixels_and_labels).cache()


def small_model():
    """Convolution, BatchNormalization and 15 sigmoids; traced in a second."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((32, 32, 1), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            # A bias before BatchNormalization has no gradient but rounding noise,
            # which Adam would blow up.
            keras.layers.Conv2D(4, 3, strides=4, use_bias=False),
            keras.layers.BatchNormalization(momentum=0.5),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(15, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy")
    return model


@pytest.fixture
def model():
    return small_model()


@pytest.mark.cluster
def test_synchronous_epochs_continue_and_repeat_exactly(rows):
    def fit(calls):
        spark_model = make_synchronous_model(small_model(), seed=3)
        for epochs in calls:
            spark_model.fit(rows, epochs=epochs, batch_size=8, verbose=0)
        assert spark_model.epoch == sum(calls)
        return spark_model.master_network.get_weights()

    for one, other in zip(fit([2]), fit([1, 1]), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_synchronous_workers_report(model, rows):
    spark_model = make_synchronous_model(model, seed=0)
    spark_model.fit(rows, epochs=1, batch_size=8, verbose=0)
    assert [report.worker for report in spark_model.reports] == [0, 1]
    for report in spark_model.reports:
        assert report.images == 20
        assert len(report.losses) == 1
        assert 0 < report.losses[0] < 5
        assert report.peak_memory_bytes > 2**26
        assert 0 < report.cpu_seconds


@pytest.mark.parametrize(
    ("mode", "frequency", "updates"),
    [
        ("asynchronous", "epoch", 2),
        ("asynchronous", "batch", 6),
        ("hogwild", "epoch", 2),
        ("hogwild", "batch", 6),
    ],
)
def test_asynchronous_modes_train_and_keep_variances_positive(
    model, rows, mode, frequency, updates
):
    before = model.get_weights()
    spark_model = make_asynchronous_model(
        model, 0, mode, frequency, "127.0.0.1", workers=2, images=40
    )
    spark_model.fit(rows, epochs=2, batch_size=8, verbose=0)
    after = model.get_weights()
    assert any((a != b).any() for a, b in zip(before, after, strict=True))
    for report in spark_model.reports:
        assert len(report.update_times) == updates
        assert len(report.losses) == (2 if frequency == "epoch" else 0)
    variances = [
        weight
        for variable, weight in zip(model.weights, after, strict=True)
        if variable.path.endswith("moving_variance")
    ]
    assert variances
    assert min(variance.min() for variance in variances) > 0


def test_a_failed_fit_leaves_no_server(model, rows):
    spark_model = make_asynchronous_model(
        model, 0, "asynchronous", "epoch", "127.0.0.1", workers=2, images=40
    )
    port = spark_model.parameter_server.port

    def fail(row):
        raise RuntimeError("no such row")

    with pytest.raises(Exception, match="no such row"):
        spark_model.fit(rows.map(fail), epochs=1, batch_size=8, verbose=0)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
