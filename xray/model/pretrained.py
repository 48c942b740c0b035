"""Weights of an earlier training, from a file on disk or on S3."""

import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from xray.common.errors import UserError

if TYPE_CHECKING:
    import keras

    from xray.storage.s3 import Storage


def load_weights(
    model: "keras.Model", source: str, storage: "Storage | None" = None
) -> None:
    """Fill `model` with the weights in a .keras or .weights.h5 file.

    Args:
        model: of the same architecture.
        source: a path, or s3://bucket/key.
        storage: needed for S3.

    Raises:
        UserError: the file cannot be had or does not fit.
    """
    if not source.startswith("s3://"):
        _load_file(model, Path(source), source)
        return
    from xray.storage.s3 import UnreadableObject

    if storage is None:
        raise ValueError(f"weights on S3 need a storage. Got {source}.")
    try:
        content = storage.read(source)
    except UnreadableObject as error:
        raise UserError(f"model.weights {source} cannot be read: {error}.") from None
    suffix = ".weights.h5" if source.endswith(".weights.h5") else ".keras"
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(content)
        file.flush()
        _load_file(model, Path(file.name), source)


def _load_file(model: "keras.Model", path: Path, source: str) -> None:
    if not path.is_file():
        raise UserError(f"model.weights {source} does not exist. Check the path.")
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"model.weights {source} does not fit this model "
            f"({str(error).splitlines()[0][:120]}). Use weights of the same model "
            "section and image size."
        ) from None
