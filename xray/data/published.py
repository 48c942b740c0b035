"""A split that others published, as two lists of image names.

Only with it may an AUC stand beside a paper's. NIH ChestX-ray14 comes with
`train_val_list.txt` and `test_list.txt` (Wang et al., ChestX-ray8, CVPR 2017).
"""

import logging
from dataclasses import dataclass

import numpy as np

from xray.common.errors import UserError
from xray.config.data import LISTS, DataConfig
from xray.storage.place import Place
from xray.storage.s3 import Storage

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublishedSplit:
    """Which of some images train and which test, and how many the lists name.

    Attributes:
        train: bool (N,).
        test: bool (N,).
        listed: images in each list, whether they are there or not.
    """

    train: np.ndarray
    test: np.ndarray
    listed: dict[str, int]


def split_as_published(
    names: np.ndarray, patients: np.ndarray, data: DataConfig, storage: Storage
) -> PublishedSplit:
    """The sides on which `data.train_list` and `data.test_list` put the images.

    Those in neither are left out, with a warning.

    Args:
        names: (N,) of the images.
        patients: (N,) theirs.
        data: names the lists, paths or addresses on S3.
        storage: for the latter.

    Raises:
        UserError: a list cannot be read or holds none of the images, an image stands
            in both, or a patient has images on both sides.
    """
    lists = {name: _read(data, name, storage) for name in LISTS}
    if both := lists["train_list"] & lists["test_list"]:
        raise UserError(
            f"Image {min(both)!r} stands in data.train_list and in data.test_list. "
            "Take it out of one."
        )
    sides = {name: np.isin(names, sorted(listed)) for name, listed in lists.items()}
    for name, listed in lists.items():
        _check_found(name, int(sides[name].sum()), len(listed), len(names))
    train, test = sides.values()
    if shared := {*patients[train]} & {*patients[test]}:
        raise UserError(
            f"Patient {min(shared)!r} has images in data.train_list and in "
            "data.test_list, so that the test set is not unseen. Move them to one side."
        )
    if left := int((~train & ~test).sum()):
        logger.warning("%d of %d images stand in neither list", left, len(names))
    return PublishedSplit(train, test, {name: len(lists[name]) for name in LISTS})


def _read(data: DataConfig, setting: str, storage: Storage) -> set[str]:
    source = getattr(data, setting)
    place, name = Place.of_file(source, storage.access)
    content = place.read(name, f"data.{setting}", ". Check the path")
    try:
        lines = content.decode().split()
    except UnicodeDecodeError:
        lines = []
    if not lines:
        raise UserError(
            f"data.{setting} must be a text with the name of an image in each line. "
            f"Got {source}, which has none."
        )
    return {data.labelling.name_of(f"/{line}") or line for line in lines}


def _check_found(setting: str, found: int, listed: int, images: int) -> None:
    if not found:
        raise UserError(
            f"data.{setting} names {listed} images, and none of them is among the "
            f"{images} of data.images that have a label. Check both."
        )
    if found < listed:
        logger.warning(
            "%d of the %d images of data.%s are not there", listed - found, listed,
            setting,
        )  # fmt: skip
