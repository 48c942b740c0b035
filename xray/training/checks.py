"""Refusals of a run that its data or its loss brings about."""

import numpy as np

from xray.common.errors import UserError
from xray.config.run import RunConfig
from xray.data.dataset import check_bad_images
from xray.training.journal import Journal


def check_batch_size(config: RunConfig, images: int, devices: int = 1) -> None:
    """Refuse a batch of all devices together that is larger than the training set.

    Raises:
        UserError: it is.
    """
    size = config.training.batch_size
    if size * devices > images:
        each = f" on each of {devices} GPUs" if devices > 1 else ""
        raise UserError(
            f"training.batch_size must be at most the {images} training images. Got "
            f"{size}{each}. Lower it or use more images."
        )


def check_loss(loss: float | None, epoch: int, config: RunConfig) -> None:
    """Stop a run that diverged in `epoch`, counted from 1.

    Raises:
        UserError: the loss is NaN or infinite.
    """
    if loss is not None and not np.isfinite(loss):
        raise UserError(
            f"The loss is {loss} after epoch {epoch}. Lower "
            f"training.learning_rate={config.training.learning_rate}."
        )


def check_skipped(journal: Journal) -> None:
    """Warn of or refuse the images that `journal` lists as skipped.

    Raises:
        UserError: more than `data.max_bad_fraction` of all.
    """
    check_bad_images(
        journal.skipped,
        len(journal.dataset),
        journal.config.data.max_bad_fraction,
    )
