"""The images that a saved model scores: a bucket's, a staged prefix's, or one set's."""

import re
from dataclasses import dataclass

import pandas as pd

from xray.common.errors import UserError
from xray.config.data import DataConfig
from xray.data.dataset import find_dataset
from xray.data.matching import load_labels, with_etags
from xray.data.staged import read_index
from xray.inference.settings import EVERYTHING
from xray.storage.address import absolute, on_s3, split_uri
from xray.storage.s3 import Storage

# DICOM files often have no ending; that of a UID is a number.
PICTURE = re.compile(r"\.(png|jpe?g|dcm|dicom)$|/[^./]*$|\.\d+$", re.IGNORECASE)


@dataclass(frozen=True)
class Inputs:
    """Images to be scored.

    Attributes:
        images: a row an image with `key`, `uri` (as in `Subset.uris`) and `etag`,
            sorted by `key`: the object's in its bucket, the path below the folder, or
            of a staged image its name.
        labels: of the images that have some, `patient` and the findings, by key; None
            where nobody asked.
        left_out: objects under the prefix whose names are no picture's.
    """

    images: pd.DataFrame
    labels: pd.DataFrame | None
    left_out: int = 0


def find_inputs(
    data: DataConfig, storage: Storage, subset: str, labelled: bool
) -> Inputs:
    """The images of the configuration, staged ones where `data.staged` names some.

    Args:
        data: the source and, but for all images, the split.
        storage: where it is.
        subset: train, validation or test as a run with `data` would split them; or all
            of the prefix, with or without a label, `data.limit` or not.
        labelled: whether to look for labels of all images.

    Raises:
        UserError: bucket, shards or label file cannot be used, or there is no image.
    """
    if subset != EVERYTHING:
        return _of_set(data, storage, subset)
    if data.staged:
        return _inputs(read_index(data, storage)[0], data)
    return _of_prefix(data, storage, labelled)


def _of_set(data: DataConfig, storage: Storage, subset: str) -> Inputs:
    chosen = getattr(find_dataset(data, storage), subset)
    if chosen is None:
        raise UserError(
            f"There is no {subset} set with data.validation_fraction=0. Choose another "
            "--subset."
        )
    table = pd.DataFrame(chosen.labels, chosen.names, list(data.findings))
    return _inputs(
        table.assign(patient=chosen.patients, uri=chosen.uris, etag=chosen.etags), data
    )


def _inputs(table: pd.DataFrame, data: DataConfig) -> Inputs:
    """Of labelled images, by name, as `matching.match_images` gives them."""
    folder = f"{absolute(data.images)}/"

    def key(name: str, uri: str) -> str:
        if on_s3(uri):
            return split_uri(uri)[1]
        return uri.removeprefix(folder) if uri.startswith(folder) else name

    keys = [key(name, uri) for name, uri in table["uri"].items()]
    table = table.assign(key=keys).sort_values("key")
    labels = table.set_index("key")[["patient", *data.findings]]
    return Inputs(table[["key", "uri", "etag"]].reset_index(drop=True), labels)


def _of_prefix(data: DataConfig, storage: Storage, labelled: bool) -> Inputs:
    listed = storage.list_objects(data.images, with_empty=True)
    kept = [one for one in listed if PICTURE.search(f"/{one.key}")]
    if not kept:
        raise UserError(
            f"No picture (PNG, JPEG or DICOM) under {data.images}. Check the prefix."
        )
    images = pd.DataFrame(
        {
            "key": [one.key for one in kept],
            "uri": [one.uri for one in kept],
            "etag": [one.etag for one in kept],
        }
    )
    labels = None
    if labelled:
        keys = [data.labelling.key_of(f"/{key}") for key in images["key"]]
        known = load_labels(data, storage)
        labels = known.reindex(keys).set_axis(images["key"]).dropna()
    images = with_etags(images, storage, data.read_threads)
    return Inputs(images, labels, len(listed) - len(kept))
