"""A Keras network as a .keras file, and back without running foreign code."""

import io
import json
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xray.common.errors import UserError
from xray.model.keras_import import import_keras

if TYPE_CHECKING:
    import keras

ENTRIES = {"config.json", "metadata.json", "model.weights.h5"}
WEIGHTS = "model.weights.h5"
MAX_CONFIG_BYTES = 2**26  # that of a DenseNet-201 has less than 2**20
MAX_UNFOLDING = 10  # times its size; Keras compresses nothing, others have hardly tried
SMALL_BYTES = 2**26  # that any file may unfold to
LAMBDAS = {"Lambda", "__lambda__"}  # the layer, and a function inside another one


def pack(model: "keras.Model") -> bytes:
    """The .keras file of a functional model, without optimizer and loss."""
    import keras

    # A wrapper of the same layers that was never compiled: Adam's state alone would
    # make the file three times as large.
    network = keras.Model(model.input, model.output, name=model.name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        network.save(path)
        return path.read_bytes()


def unpack(content: bytes, source: str) -> "keras.Model":
    """The model in a .keras file, not compiled, by Keras' safe mode.

    Args:
        content: of `pack`, or of a file that `check_archive` lets pass.
        source: its address or what else names it, for messages.

    Raises:
        UserError: Keras refuses it.
    """
    import_keras()
    import keras

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        path.write_bytes(content)
        try:
            return keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # noqa: BLE001 - Keras raises of every kind
            reason = " ".join(str(error).split())[:160]
            raise UserError(
                f"Model {source} cannot be loaded ({type(error).__name__}: {reason}). "
                "Use the Keras version that saved it; a sidecar names it."
            ) from None


def check_archive(content: bytes, source: str) -> None:
    """Refuse what is no whole .keras file, or would run code when it is loaded.

    Raises:
        UserError: it is empty, cut short, a pickle, of something else, unfolds to far
            more than its size, or has a Lambda layer.
    """
    if fault := _fault(content):
        raise UserError(
            f"Model {source} is no .keras file that can be used: {fault}. Copy it "
            "again from where it was saved."
        )


def _fault(content: bytes) -> str | None:
    if not content:
        return "it is empty"
    if content[:1] == b"\x80":
        return "it is a pickle, which could run anything"
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if missing := sorted(ENTRIES - set(archive.namelist())):
                return f"it lacks {missing[0]}"
            if archive.getinfo("config.json").file_size > MAX_CONFIG_BYTES:
                return "its config.json is too large"
            unfolded = sum(entry.file_size for entry in archive.infolist())
            if too_much := _unfolding(unfolded, len(content)):
                return too_much
            config = json.loads(archive.read("config.json"))
            weights = archive.read(WEIGHTS)
    except zipfile.BadZipFile:
        return "it is cut short, or something else"
    except (ValueError, RecursionError, RuntimeError):  # RuntimeError: encrypted
        return "its config.json is damaged"
    if LAMBDAS & set(_class_names(config)):
        return "it has a Lambda layer, which could run anything"
    return _weights_fault(weights)


def _unfolding(unfolded: int, size: int) -> str | None:
    if unfolded <= max(SMALL_BYTES, MAX_UNFOLDING * size):
        return None
    return f"its {size} bytes unfold to {unfolded / 2**20:.0f} MiB"


def _weights_fault(weights: bytes) -> str | None:
    """Arrays may be compressed inside as well, or say that they are huge."""
    import h5py

    sizes = []

    def add(_: str, part: Any) -> None:
        if isinstance(part, h5py.Dataset):
            sizes.append(part.nbytes)

    try:
        with h5py.File(io.BytesIO(weights)) as file:
            file.visititems(add)
    except (OSError, RuntimeError):
        return "its weights are damaged"
    return _unfolding(sum(sizes), len(weights))


def _class_names(config: Any) -> Iterator[str]:
    """The class of every object in a Keras configuration."""
    waiting = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if isinstance(name := part.get("class_name"), str):
                yield name
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
