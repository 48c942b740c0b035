"""Batches: every image once an epoch, in an order that any process repeats."""

import json
import subprocess
import sys

import numpy as np
import pytest

from xray.training.batches import Feed, epoch_order

COUNT, BATCH = 10, 4


def make_feed(seed: int = 0) -> Feed:
    """Image n is filled with n, and so is its first label."""
    images = np.arange(COUNT, dtype=np.uint8)[:, None, None, None]
    images = np.broadcast_to(images, (COUNT, 8, 8, 1)).copy()
    labels = np.zeros((COUNT, 15), np.uint8)
    labels[:, 0] = np.arange(COUNT)
    return Feed(images, labels, BATCH, seed)


def visited(feed: Feed, epoch: int) -> list[int]:
    feed.epoch = epoch
    return [int(image.max()) for images, _ in feed for image in images]


def test_each_epoch_visits_each_image_once():
    feed = make_feed()
    for epoch in range(3):
        assert sorted(visited(feed, epoch)) == list(range(COUNT))


def test_order_differs_by_epoch_and_seed():
    orders = [visited(make_feed(seed), epoch) for seed in (0, 1) for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 6


def test_order_is_drawn_from_seed_epoch_and_worker():
    def drawn(*key):
        return np.random.Generator(np.random.PCG64(key)).permutation(COUNT).tolist()

    for worker, key in [(0, ()), (1, (1,)), (2, (2,))]:
        for seed, epoch in [(0, 0), (0, 1), (5, 1)]:
            order = epoch_order(COUNT, seed, epoch, worker).tolist()
            assert order == drawn(seed, epoch, *key)
    feed = make_feed()
    other = Feed(feed.images, feed.labels, BATCH, 0, 2)
    assert visited(other, 1) == drawn(0, 1, 2)


def test_order_is_that_of_any_other_feed():
    assert visited(make_feed(3), 2) == visited(make_feed(3), 2)
    assert visited(make_feed(3), 2) == list(epoch_order(COUNT, 3, 2))


def test_order_is_that_of_any_other_process():
    code = (
        "from xray.training.batches import epoch_order; "
        "print(epoch_order(50, 7, 3).tolist())"
    )
    shown = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert json.loads(shown) == epoch_order(50, 7, 3).tolist()


def test_batches():
    feed = make_feed()
    batches = list(feed)
    assert len(feed) == len(batches) == 3
    assert [len(images) for images, _ in batches] == [4, 4, 2]
    for images, labels in batches:
        assert images.shape[1:] == (8, 8, 1)
        assert (images.dtype, labels.dtype) == (np.uint8, np.float32)
        assert (labels[:, 0] == images[:, 0, 0, 0]).all()


@pytest.mark.parametrize(("count", "batches"), [(4, 1), (5, 2), (8, 2), (1, 1)])
def test_number_of_batches(count, batches):
    feed = make_feed()
    feed.images, feed.labels = feed.images[:count], feed.labels[:count]
    assert len(feed) == len(list(feed)) == batches


def test_batches_drawn_ahead_are_the_same():
    feed = make_feed()
    assert feed.wait_seconds is None
    for ahead, batch in zip(feed.ahead(), make_feed(), strict=True):
        assert all((a == b).all() for a, b in zip(ahead, batch, strict=True))
    assert feed.wait_seconds > 0


@pytest.mark.parametrize("devices", [2, 3, 4])
def test_devices_share_every_batch_equally_and_lose_no_image(devices):
    feed = make_feed()
    shared = Feed(feed.images, feed.labels, BATCH, 0, devices=devices)
    for (images, labels, weights), (own, _) in zip(shared, feed, strict=True):
        assert len(images) == len(labels) == len(weights)
        assert len(images) % devices == 0
        assert len(images) - len(own) < devices
        assert (images[: len(own)] == own).all()
        assert (labels[:, 0] == images[:, 0, 0, 0]).all()
        # Keras divides by all images, so the mean over the real ones stays as it was.
        assert weights.dtype == np.float32
        assert weights[: len(own)] == pytest.approx(len(images) / len(own))
        assert not weights[len(own) :].any()


@pytest.mark.parametrize(
    ("count", "every_size", "sizes"),
    [(10, True, [4, 2]), (10, False, [4]), (8, True, [4]), (3, True, [3])],
)
def test_sample_has_a_batch_of_each_size(count, every_size, sizes):
    feed = make_feed()
    feed.images, feed.labels = feed.images[:count], feed.labels[:count]
    assert [len(images) for images, _ in feed.sample(every_size)] == sizes


def test_progress_counts_the_images_of_each_batch():
    feed, counts = make_feed(), []
    feed.on_batch = counts.append
    list(feed)
    assert counts == [4, 4, 2]


@pytest.mark.slow
def test_pipeline_gives_the_batches_of_the_feed():
    from xray.training.batches import training_pipeline

    feed = make_feed(2)
    pipeline = training_pipeline(feed)
    assert int(pipeline.cardinality()) == 3
    assert pipeline.options().autotune.enabled is False
    for epoch in range(2):
        feed.epoch = epoch
        batches = list(pipeline.as_numpy_iterator())
        assert len(batches) == 3
        for (images, labels), (our_images, our_labels) in zip(
            batches, feed, strict=True
        ):
            assert (images.dtype, labels.dtype) == (np.uint8, np.float32)
            assert (images == our_images).all()
            assert (labels == our_labels).all()


@pytest.mark.slow
@pytest.mark.parametrize(("count", "xla"), [(1, False), (64, False), (130, True)])
def test_predictions_keep_the_order(count, xla):
    import keras

    from xray.model.predict import predict

    pixels = keras.Input((2, 2, 1), dtype="uint8")
    scaled = keras.layers.Rescaling(1.0)(pixels)
    model = keras.Model(pixels, keras.layers.GlobalMaxPooling2D()(scaled))
    model.jit_compile = xla
    values = np.random.default_rng(0).integers(0, 256, count, dtype=np.uint8)
    images = np.broadcast_to(values[:, None, None, None], (count, 2, 2, 1)).copy()
    scores = predict(model, images)
    assert scores.shape == (count, 1)
    assert (scores[:, 0] == values).all()
