"""What an epoch has left for other workers, against the batches that were fed."""

import numpy as np
import pytest

from tests.spark.resident.test_coordinator import make_coordinator, make_journal
from xray.common.background import in_background
from xray.spark.resident.messages import Ready, TrainEpoch
from xray.spark.resident.team import cut_shares
from xray.training.batches import Feed

EPOCH = 3


def feeds(journal, shares):
    """Each worker's feed, whose images hold the rows of the training set."""
    recipe = journal.config.training
    for worker, share in enumerate(shares):
        rows = share.partitions["train"].rows
        names = journal.dataset.train.names[rows]
        rows = rows[[str(name) not in journal.skipped for name in names]]
        labels = np.zeros((len(rows), 15))
        yield rows, Feed(rows, labels, recipe.batch_size, recipe.seed, worker)


def trained(journal, shares, order, parts):
    """Rows that the workers train in so many parts of what was ordered."""
    found = []
    for rows, feed in feeds(journal, shares):
        feed.epoch, feed.parts = order.epoch, shares[0].parts
        if order.rest:
            feed.parts = order.rest.parts
            feed.left = np.isin(rows, order.rest.rows)
        for part in range(order.part, min(order.part + parts, feed.parts)):
            feed.part = part
            batches = [images for images, _ in feed]
            assert len(batches) <= 1, "runner.sync_every=1"
            found += [row for batch in batches for row in batch]
    return found


@pytest.mark.parametrize("skipped", [0, 5])
@pytest.mark.parametrize(
    "teams",
    [
        [(3, 1), (2, 99)],  # workers, and averages before the next have their turn
        [(3, 2), (2, 1), (1, 2), (2, 99)],
        [(2, 0), (3, 99)],
        [(4, 99)],
    ],
)
def test_each_image_counts_once_however_many_workers_train_it(bucket, teams, skipped):
    journal = make_journal(bucket)
    names = journal.dataset.train.names
    journal.skipped = {str(name): "broken" for name in names[:skipped]}
    workers = teams[0][0]
    shares = cut_shares(journal, workers)
    coordinator = make_coordinator(journal, shares)
    in_background(coordinator.train_epoch, EPOCH, 1.0)
    rounds, seen = 0, []
    for nth, (workers, averages) in enumerate(teams):
        if nth:
            coordinator.regroup(workers, None)
        shares = coordinator.team.shares.result()
        assert len(shares) == workers
        order = coordinator.on_gather([Ready()] * workers)
        assert isinstance(order, TrainEpoch)
        seen += trained(journal, shares, order, averages)
        if averages < 99:
            for _ in range(averages):
                rounds += 1
                coordinator.on_average({"rounds": rounds}, 0)
    assert sorted(seen) == list(range(skipped, len(names)))
    coordinator.abandon()


def test_a_rest_takes_as_many_averages_as_its_largest_share(bucket):
    journal = make_journal(bucket)
    coordinator = make_coordinator(journal, cut_shares(journal, 3))
    in_background(coordinator.train_epoch, 0, 1.0)
    coordinator.on_gather([Ready()] * 3)
    coordinator.on_average({"rounds": 1}, 0)
    coordinator.regroup(2, None)
    rest = coordinator.on_gather([Ready()] * 2).rest
    batch, images = journal.config.training.batch_size, len(journal.dataset.train)
    assert len(rest.rows) == images - 3 * batch
    shares = coordinator.team.shares.result()
    counts = [np.isin(s.partitions["train"].rows, rest.rows).sum() for s in shares]
    assert sum(counts) == len(rest.rows)
    assert rest.parts == -(-max(counts) // batch)
    coordinator.abandon()
