"""Weights of an earlier training, from a file on disk or on S3."""

import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xray.common.errors import UserError
from xray.model.saved import SUFFIX, read_info
from xray.storage.address import on_s3
from xray.storage.credentials import S3Access
from xray.storage.place import Place

if TYPE_CHECKING:
    import keras

    from xray.storage.s3 import Storage


_SAME = "model section and image size"


def is_of_backbone(source: str) -> bool:
    """Whether a file holds the weights of a backbone alone, in the older HDF5 format.

    keras.applications publishes its ImageNet weights so, as `..._no_top.h5`.
    """
    return source.endswith(".h5") and not source.endswith(".weights.h5")


def load_weights(
    model: "keras.Model",
    source: str,
    findings: Sequence[str],
    storage: "Storage | None" = None,
) -> None:
    """Fill `model` with the weights in a .keras or .h5 file.

    Args:
        model: of the same architecture.
        source: a path, or s3://bucket/key.
        findings: that its outputs are to tell.
        storage: needed for S3.

    Raises:
        UserError: the file cannot be had or does not fit, or is a saved model that
            tells other findings, or in another order.
    """
    if on_s3(source) and storage is None:
        raise ValueError(f"weights on S3 need a storage. Got {source}.")
    access = storage and storage.access
    if source.endswith(SUFFIX):
        _check_findings(source, findings, access)
    place, name = Place.of_file(source, access)
    content = place.read(name, "model.weights", ". Check the path")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)  # by its suffix Keras knows the format
        path.write_bytes(content)
        try:
            model.load_weights(path)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(
                f"model.weights {source} does not fit this model "
                f"({str(error).splitlines()[0][:120]}). Use weights of the same "
                f"{'backbone' if is_of_backbone(source) else _SAME}."
            ) from None


def _check_findings(
    source: str, findings: Sequence[str], access: S3Access | None
) -> None:
    """By the sidecar, where there is one: a file of elsewhere may have none."""
    try:
        told = read_info(source, access).findings
    except UserError:
        return
    if told != list(findings):
        raise UserError(
            f"model.weights {source} tells {', '.join(told)[:200]}. Got other "
            f"findings, or another order: {', '.join(findings)[:200]}. Set "
            "data.label_schema to the model's, or start from other weights."
        )
