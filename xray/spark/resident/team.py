"""What each of the workers trains, however many there are, and what an epoch has left.

Where their number changes in an epoch (`runner.min_workers`), the images that were not
trained by the last average are cut anew over the workers there are.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace

import numpy as np

from xray.data.partition import Partition, cut_partitions
from xray.model.losses import class_weights
from xray.spark.resident.messages import (
    EpochReport,
    Order,
    Rest,
    Share,
    TrainEpoch,
)
from xray.training.batches import epoch_order, epoch_parts
from xray.training.journal import Journal

UNBALANCED = 1.1
"""The slowest worker's seconds over the mean from which on shares are cut anew."""


class Team:
    """The workers there are: their shares, and what they have left of an epoch.

    Attributes:
        shares: of each worker, once the data set is known.
        rest: what other workers left of the epoch under way; None is the whole epoch.
        balanced: whether the shares are in proportion to speed.

    Args:
        journal: of the run.
        shares: of the first workers.
    """

    def __init__(self, journal: Journal, shares: "Future[list[Share]]") -> None:
        self._journal, self.shares = journal, shares
        self.rest: Rest | None = None
        self.balanced = False

    def parts(self) -> int:
        """Averages in the epoch under way, or in its rest."""
        return (self.rest or self.shares.result()[0]).parts

    def regroup(self, workers: int, order: Order | None) -> None:
        """Even shares for so many workers, and what the order has left for them.

        Args:
            workers: from now on.
            order: under way; `part` of an epoch is the first that was not trained.
        """
        before = self.shares.result()
        after = cut_shares(self._journal, workers)
        if isinstance(order, TrainEpoch) and (order.part or order.rest):
            self.rest = cut_rest(self._journal, before, order, after)
        self._take(after)
        self.balanced = False

    def balance(self, reports: Sequence[EpochReport]) -> bool:
        """Whether the workers take shares by their speed in an epoch; only once.

        Args:
            reports: of that epoch; none where another one's mean nothing any more.
        """
        if self.balanced or not reports:
            return False
        shares = cut_by_speed(self._journal, self.shares.result(), reports)
        self.balanced = shares is not None
        if shares:
            self._take(shares)
        return self.balanced

    def _take(self, shares: list[Share]) -> None:
        cut: Future[list[Share]] = Future()
        cut.set_result(shares)
        self.shares = cut


def cut_shares(journal: Journal, workers: int) -> list[Share]:
    """Each worker's share of the journal's data set."""
    found = journal.dataset
    sets = {"train": found.train, "test": found.test, "validation": found.validation}
    partitions = {
        name: cut_partitions(subset, workers)
        for name, subset in sets.items()
        if subset is not None
    }
    parts = _averages(journal, (len(part.rows) for part in partitions["train"]))
    config = journal.config
    weights = class_weights(config.training, config.weighs_labels, found.train.labels)
    return [
        Share({name: cut[worker] for name, cut in partitions.items()}, parts, weights)
        for worker in range(workers)
    ]


def cut_by_speed(
    journal: Journal, shares: Sequence[Share], reports: Sequence[EpochReport]
) -> list[Share] | None:
    """Shares of the training set with which all would have taken as long.

    Args:
        journal: of the run.
        shares: as they are; their other sets stay.
        reports: of an epoch with them.

    Returns:
        None where the present ones will do.
    """
    seconds = np.array([report.fit_seconds for report in reports])
    images = np.array([report.images for report in reports])
    if not images.all() or seconds.max() < UNBALANCED * seconds.mean():
        return None
    speeds = images / seconds
    train = journal.dataset.train
    cut = cut_partitions(train, len(shares), weights=speeds.tolist())
    parts = _averages(journal, (len(part.rows) for part in cut))
    return [
        replace(share, partitions=share.partitions | {"train": part}, parts=parts)
        for share, part in zip(shares, cut, strict=True)
    ]


def cut_rest(
    journal: Journal,
    before: Sequence[Share],
    order: TrainEpoch,
    after: Sequence[Share],
) -> Rest:
    """What the workers of some shares have left of an epoch, for those of others.

    Args:
        journal: of the run; it knows by now which images are unreadable.
        before: of those who trained.
        order: as it stood after their last average: `part` is the first not trained.
        after: of those who train the rest.
    """
    rows = [_untrained(journal, before, order, n) for n in range(len(before))]
    rest = np.sort(np.concatenate(rows))
    images = (np.isin(s.partitions["train"].rows, rest).sum() for s in after)
    return Rest(rest, _averages(journal, images))


def _untrained(
    journal: Journal, shares: Sequence[Share], order: TrainEpoch, worker: int
) -> np.ndarray:
    """Rows of a worker's share, as its Feed orders them, from the order's part on."""
    recipe, share = journal.config.training, shares[worker].partitions["train"]
    rows = _readable(journal, share)
    visited = rows[epoch_order(len(rows), recipe.seed, order.epoch, worker)]
    parts = shares[worker].parts
    if order.rest:
        visited, parts = visited[np.isin(visited, order.rest.rows)], order.rest.parts
    trained = epoch_parts(visited, recipe.batch_size, parts)[: order.part]
    return visited[sum(len(batch) for part in trained for batch in part) :]


def _readable(journal: Journal, share: Partition) -> np.ndarray:
    return share.rows[journal.readable_rows(journal.dataset.train)[share.rows]]


def _averages(journal: Journal, images: Iterator[int]) -> int:
    """Averages in an epoch: one, or one for every `runner.sync_every` steps.

    Args:
        journal: of the run.
        images: that each worker trains.
    """
    every = journal.config.runner.sync_every
    if every == "epoch":
        return 1
    steps = -(-max(images) // journal.config.training.batch_size)
    return max(1, -(-steps // every))
