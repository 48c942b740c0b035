"""A loss that is no number stops a run, scored in that epoch or not."""

from concurrent.futures import Future

import numpy as np
import pytest

from xray.common.errors import UserError
from xray.common.progress import progress_bar
from xray.data.dataset import find_dataset
from xray.spark.resident.coordinator import Coordinator
from xray.spark.resident.messages import EpochReport
from xray.storage.credentials import load_access
from xray.storage.s3 import Storage
from xray.training.checks import check_loss
from xray.training.journal import Journal


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_the_epoch_and_the_next_step_are_named(bucket, loss):
    with pytest.raises(UserError, match="after epoch 3. Lower training.learning_rate"):
        check_loss(loss, 3, bucket.config())


def test_an_unknown_loss_passes(bucket):
    check_loss(None, 1, bucket.config())


def test_resident_workers_are_stopped_by_their_report(bucket):
    config = bucket.config()
    journal = Journal("elephas", config)
    journal.dataset = find_dataset(
        config.data,
        Storage(load_access(config.data.credentials, config.data.endpoint_url)),
    )
    reports = [
        EpochReport(worker, 0, images, loss, 1e-3, 1.0, 1.0, 0.0, 1.0, 1)
        # A worker without images has no loss, and that is no divergence.
        for worker, images, loss in ((0, 9, 0.5), (1, 0, float("nan")))
    ]
    with progress_bar(10, "fit") as bar:
        coordinator = Coordinator(journal, np.zeros(1, np.float32), Future(), bar)
        assert coordinator.on_gather(reports) is None
        reports[1] = EpochReport(1, 0, 9, float("nan"), 1e-3, 1.0, 1.0, 0.0, 1.0, 1)
        with pytest.raises(UserError, match="The loss is nan after epoch 1"):
            coordinator.on_gather(reports)
