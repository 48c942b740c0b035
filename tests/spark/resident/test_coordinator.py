"""What the coordinator orders of workers that start anew, from real data's counts."""

from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pytest

from xray.common.background import in_background
from xray.data.dataset import find_dataset
from xray.spark.resident.coordinator import Coordinator
from xray.spark.resident.messages import Loaded, Ready, Share, TrainEpoch
from xray.storage.credentials import load_access
from xray.storage.s3 import Storage
from xray.training.journal import Journal

WORKERS, PARTS = 2, 4


@pytest.mark.parametrize(
    ("rounds", "part"), [(0, 0), (1, 1), (4, 0), (6, 2), (7, 3), (8, 0)]
)
def test_a_new_start_begins_with_the_part_that_is_missing(bucket, rounds, part):
    config = bucket.config()
    access = load_access(config.data.credentials, config.data.endpoint_url)
    journal = Journal("elephas", config, workers=WORKERS, exchange={"rounds": rounds})
    journal.dataset = find_dataset(config.data, Storage(access))
    shares: Future = Future()
    shares.set_result([Share({}, PARTS)] * WORKERS)
    bar = SimpleNamespace(reset=lambda total: None, update=lambda count: None)
    coordinator = Coordinator(journal, np.zeros(3, np.float32), shares, bar)
    coordinator.on_gather([Loaded({}, 0)] * WORKERS)
    in_background(coordinator.train_epoch, 1, 0.5)
    order = coordinator.on_gather([Ready()] * WORKERS)
    assert order == TrainEpoch(1, 0.5, part)
    again = coordinator.on_gather([Ready()] * WORKERS)  # after another loss
    assert again == order
    coordinator.abandon()
