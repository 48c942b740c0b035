"""The images of a run, with labels and split: the same for all runners."""

import hashlib
import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from xray.common.errors import UserError
from xray.config.data import DataConfig
from xray.data.matching import limit_images, match_images
from xray.data.published import split_as_published
from xray.data.split import split_by_patient
from xray.data.staged import read_index
from xray.data.subgroups import Subgroup, find_subgroups
from xray.storage.s3 import Storage

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Subset:
    """The images of one side of the split, ordered by name.

    Attributes:
        names: (N,) file names.
        uris: (N,) where the pixels are: s3://BUCKET/KEY of an image, its path, that of
            one in a shard (`staged.ShardAddress`), or unreadable:REASON.
        etags: (N,) ETags.
        patients: (N,) patient ids.
        labels: uint8 (N, C), 0, 1 or UNCERTAIN, columns as in `DataConfig.findings`: 15
            of NIH.
    """

    names: np.ndarray
    uris: np.ndarray
    etags: np.ndarray
    patients: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:  # noqa: D105
        return len(self.names)

    def take(self, rows: np.ndarray) -> "Subset":
        """The images at `rows`: indices or a boolean mask."""
        return Subset(
            self.names[rows],
            self.uris[rows],
            self.etags[rows],
            self.patients[rows],
            self.labels[rows],
        )

    def digest(self) -> str:
        """Hash of everything but where the images are kept."""
        content = hashlib.sha256(self.labels.tobytes())
        for column in (self.names, self.etags, self.patients):
            content.update("\n".join(column).encode())
        return content.hexdigest()[:16]


@dataclass(frozen=True)
class Dataset:
    """The images of a run, and how many the bucket listed.

    Attributes:
        train: they are trained.
        test: they are scored at the end; None where nobody asks for that.
        listed: in the bucket.
        validation: they choose the best epoch; None without such a set.
        published: images in each of the two lists that a published split has; None for
            one of our own.
        subgroups: in which the test images are scored besides.
    """

    train: Subset
    test: Subset | None
    listed: int
    validation: Subset | None = None
    published: dict[str, int] | None = None
    subgroups: tuple[Subgroup, ...] = ()

    def __len__(self) -> int:
        """Images of all sets together."""
        return sum(map(len, self.subsets()))

    def subsets(self) -> list[Subset]:
        """The sets that there are."""
        return [s for s in (self.train, self.test, self.validation) if s]

    def identity(self, data: DataConfig) -> dict[str, Any]:
        """The dataset and split parts of the work: equal for equal data."""
        return {
            "dataset": {
                "images": len(self),
                "image_size": data.image_size,
                **({"where": data.where} if data.where else {}),
                **_labelling_identity(data),
            },
            "split": {
                "test_fraction": None if self.published else data.test_fraction,
                "seed": data.seed,
                "train_images": len(self.train),
                "train_content": self.train.digest(),
                "test_images": len(self.test),
                "test_content": self.test.digest(),
                **({"published": self.published} if self.published else {}),
                **self._validation_identity(data),
            },
        }

    def _validation_identity(self, data: DataConfig) -> dict[str, Any]:
        if not self.validation:
            return {}
        return {
            "validation_fraction": data.validation_fraction,
            "validation_images": len(self.validation),
            "validation_content": self.validation.digest(),
        }


def _labelling_identity(data: DataConfig) -> dict[str, Any]:
    """Of NIH's findings nothing is said, as earlier versions said nothing."""
    if data.label_schema == "nih":
        return {}
    return {"findings": list(data.findings), "uncertain": data.uncertain}


def find_dataset(data: DataConfig, storage: Storage) -> Dataset:
    """The images of the bucket that the label file knows, split by patient.

    Raises:
        UserError: the bucket, the label file or a list of a published split cannot be
            used, no image has a label, or a subgroup has none, or a finding has too
            few positives to be learned.
    """
    if data.staged:
        known, listed = read_index(data, storage)
    else:
        known, listed = match_images(data, storage)
    known = limit_images(known.sort_index(), data.limit, data.seed)
    everything = _to_subset(known, data.findings)
    dataset = _split(everything, data, storage, listed)
    _check_findings(dataset, data)
    groups = find_subgroups(data, storage, everything.names)
    return replace(dataset, subgroups=groups)


def _to_subset(table: pd.DataFrame, findings: tuple[str, ...]) -> Subset:
    return Subset(
        names=table.index.to_numpy(dtype=str),
        uris=table["uri"].to_numpy(dtype=object),
        etags=table["etag"].to_numpy(dtype=str),
        patients=table["patient"].to_numpy(dtype=str),
        labels=table[list(findings)].to_numpy(dtype=np.uint8),
    )


def _split(
    everything: Subset, data: DataConfig, storage: Storage, listed: int
) -> Dataset:
    published = validation = None
    if data.test_list:
        names, patients = everything.names, everything.patients
        found = split_as_published(names, patients, data, storage)
        published = found.listed
        train, test = everything.take(found.train), everything.take(found.test)
    else:
        train, test = set_apart(everything, data, "test_fraction")
    if data.validation_fraction:
        train, validation = set_apart(train, data, "validation_fraction")
    return Dataset(train, test, listed, validation, published)


def set_apart(whole: Subset, data: DataConfig, fraction: str) -> tuple[Subset, Subset]:
    """What stays of `whole` and what is set apart, by patient.

    Args:
        whole: to be cut.
        data: names the share and the seed.
        fraction: test_fraction or validation_fraction.

    Raises:
        UserError: one side would be empty.
    """
    apart = split_by_patient(
        whole.labels, whole.patients, getattr(data, fraction), data.seed
    )
    if apart.all() or not apart.any():
        raise UserError(
            f"{len(whole)} images of {len(np.unique(whole.patients))} patients cannot "
            f"be split with data.{fraction}={getattr(data, fraction)}. "
            "Use more images."
        )
    return whole.take(~apart), whole.take(apart)


def _check_findings(dataset: Dataset, data: DataConfig) -> None:
    positives = (dataset.train.labels == 1).sum(axis=0)
    short = [
        f"{name} ({count})"
        for name, count in zip(data.findings, positives, strict=True)
        if count < data.min_train_positives
    ]
    if short:
        raise UserError(
            f"Each finding needs at least {data.min_train_positives} positive images "
            f"in the training set. Too few: {', '.join(short)}. Use more images, or "
            "set data.min_train_positives=0 to train without them."
        )


def check_bad_images(bad: dict[str, str], total: int, max_fraction: float) -> None:
    """Warn of unreadable images, and refuse the run when they are too many.

    Args:
        bad: image name to reason.
        total: images in all.
        max_fraction: share that may be bad.

    Raises:
        UserError: more than that share; it names the first five.
    """
    first = "; ".join(f"{name} ({why})" for name, why in list(bad.items())[:5])
    if len(bad) > max_fraction * total:
        raise UserError(
            f"{len(bad)} of {total} images cannot be read, more than "
            f"data.max_bad_fraction={max_fraction}. First: {first}. Repair them or "
            "raise the fraction."
        )
    if bad:
        logger.warning("%d of %d images skipped: %s", len(bad), total, first)
