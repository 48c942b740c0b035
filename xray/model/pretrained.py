"""Weights of an earlier training, from a file on disk or on S3."""

import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from xray.common.errors import UserError
from xray.storage.address import on_s3
from xray.storage.place import Place

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
    if on_s3(source) and storage is None:
        raise ValueError(f"weights on S3 need a storage. Got {source}.")
    place, name = Place.of_file(source, storage and storage.access)
    content = place.read(name, "model.weights", ". Check the path")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)  # by its suffix Keras knows the format
        path.write_bytes(content)
        try:
            model.load_weights(path)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(
                f"model.weights {source} does not fit this model "
                f"({str(error).splitlines()[0][:120]}). Use weights of the same model "
                "section and image size."
            ) from None
