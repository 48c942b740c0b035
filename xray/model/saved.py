"""Saved models: NAME.keras, NAME.json that says what it is, NAME.md for people.

The three stand side by side in a folder or under an S3 prefix. The Keras archive holds
the whole preprocessing and no optimizer; the sidecar names the archive by its hash, so
that neither can be taken for another's.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from xray.common.errors import UserError
from xray.model.archive import check_archive, pack, unpack
from xray.model.card import model_card
from xray.model.sidecar import SCHEMA_VERSION, ModelInfo
from xray.records.reading import why_invalid
from xray.storage.credentials import S3Access
from xray.storage.place import Place

if TYPE_CHECKING:
    import keras

SUFFIX = ".keras"


def save_model(
    model: "keras.Model",
    info: ModelInfo,
    destination: str | Path,
    access: S3Access | None = None,
) -> ModelInfo:
    """Write NAME.md, NAME.json and NAME.keras, each whole or not at all; the sidecar.

    NAME.keras comes last: where it stands, the others do.

    Args:
        model: uint8 (N, S, S, 1) to probabilities (N, 15); compiled or not.
        info: of the model; its `model_id` is found here.
        destination: path or s3://bucket/prefix/NAME, without a suffix.
        access: to S3; None asks boto3's own chain.

    Raises:
        UserError: disk or S3 refuses, or the model has other inputs or outputs.
    """
    _check_signature(model, info, str(destination))
    content = pack(model)
    info = info.model_copy(update={"model_id": _digest(content)})
    place, name = Place.of_file(destination, access)
    place.write(f"{name}.md", model_card(info, name).encode())
    place.write(f"{name}.json", (info.model_dump_json(indent=1) + "\n").encode())
    place.write(f"{name}{SUFFIX}", content)
    return info


def load_model(
    source: str | Path, access: S3Access | None = None
) -> tuple["keras.Model", ModelInfo]:
    """A saved model, not compiled, and what its sidecar says.

    Nothing in the file is run: no pickle, no Lambda layer, no foreign class.

    Args:
        source: path or s3:// address of NAME.keras; NAME.json stands beside it.
        access: to S3; None asks boto3's own chain.

    Raises:
        UserError: a file is missing, damaged or of something else, or S3 refuses.
    """
    source = str(source)
    if not source.endswith(SUFFIX):
        raise UserError(f"A saved model is a .keras file. Got {source!r}.")
    place, name = Place.of_file(source, access)
    content = place.read(name, hint=". Check it")
    check_archive(content, source)
    info = read_info(source, access)
    if _digest(content) != info.model_id:
        raise UserError(
            f"Model {source} is not the one that its sidecar describes: it has id "
            f"{_digest(content)}, not {info.model_id!r}. One of the two files was "
            "changed; put both back."
        )
    model = unpack(content, source)
    _check_signature(model, info, source)
    return model, info


def read_info(source: str | Path, access: S3Access | None = None) -> ModelInfo:
    """The sidecar of the model `source`, without reading the model itself.

    Raises:
        UserError: it is missing, or no sidecar of a saved model.
    """
    path = str(source).removesuffix(SUFFIX) + ".json"
    place, name = Place.of_file(path, access)
    content = place.read(name, hint="; it stands beside every saved model")
    try:
        info = ModelInfo.model_validate_json(content)
    except ValidationError as error:
        raise UserError(
            f"{path} is not the sidecar of a saved model ({why_invalid(error)}). Put "
            "back the one that was written with the model."
        ) from None
    if info.schema_version > SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema {info.schema_version}, newer than {SCHEMA_VERSION}. "
            "Use the version of this program that saved it."
        )
    return info


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _check_signature(model: Any, info: ModelInfo, source: str) -> None:
    """Refuse a network that does not map our pixels to our findings."""
    size, count = info.image_size, len(info.findings)
    expected = [((None, size, size, 1), "uint8"), ((None, count), "float32")]
    tensors = [getattr(model, name, None) or [] for name in ("inputs", "outputs")]
    found = [(tuple(t.shape), str(t.dtype)) for part in tensors for t in part]
    if found != expected:
        raise UserError(
            f"Model {source} must map {_shown(expected)} as its sidecar says. Got "
            f"{_shown(found)}."
        )


def _shown(tensors: list[tuple[tuple[int | None, ...], str]]) -> str:
    parts = [
        f"{dtype} ({', '.join('N' if n is None else str(n) for n in shape)})"
        for shape, dtype in tensors
    ]
    return " to ".join(parts)[:200] or "no tensors"
