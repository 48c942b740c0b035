"""What a run leaves besides its record: checked at its start, written at its end."""

import contextlib
import os
from pathlib import Path

from xray.common.errors import UserError
from xray.config.run import DataConfig, RunConfig
from xray.credentials import S3Access, load_access
from xray.journal import Journal
from xray.record import RunRecord, SavedModel, utc_now
from xray.saved_model import save_model
from xray.sidecar import ModelInfo
from xray.storage import Storage
from xray.tensorboard_log import TensorBoardLog


def check_output(config: RunConfig) -> None:
    """Fail before a run whose models could not be saved.

    Raises:
        UserError: the folder or the prefix cannot be written.
    """
    if config.output.models is not None:
        check_place(config.output.models, "output.models", config.data)


def check_place(place: str, name: str, data: DataConfig) -> None:
    """Make a folder, or try to write to a prefix on S3.

    Only writing shows the right to write, so a prefix gets an empty object `.writable`,
    which is removed again where the keys allow that.

    Args:
        place: folder or s3://bucket/prefix/
        name: of the setting, for messages.
        data: how to reach S3.

    Raises:
        UserError: it cannot be written.
    """
    if not place.startswith("s3://"):
        check_folder(Path(place), name)
        return
    probe = _under(place, ".writable")
    try:
        storage = Storage(load_access(data), connections=1, attempts=2)
        storage.write(probe, b"")
    except UserError as error:
        raise UserError(f"{name} {place} cannot be written: {error}") from None
    with contextlib.suppress(UserError):  # a saved model needs no right to delete
        storage.delete(probe)


def open_events(config: RunConfig, runner: str) -> TensorBoardLog | None:
    """The run's file of events, where one is wanted.

    Raises:
        UserError: it cannot be made.
    """
    if config.output.tensorboard is None:
        return None
    started = utc_now().strftime("%Y%m%dT%H%M%S.%f")[:-3]
    return TensorBoardLog(config.output.tensorboard, f"{started}Z_{runner}")


def check_folder(folder: Path, name: str) -> None:
    """Make a folder.

    Args:
        folder: to be made unless it is there.
        name: of the setting, for messages.

    Raises:
        UserError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{name} {folder} cannot be made: {error.strerror}. Choose a folder."
        ) from None
    if not os.access(folder, os.W_OK):
        raise UserError(f"{name} {folder} cannot be written. Choose another.")


def save_models(journal: Journal, record: RunRecord, results: Path) -> str | None:
    """Save the models that a run kept, and name them in its record.

    Args:
        journal: of the run.
        record: its record, which gets the models' places.
        results: where they go, in `models/`, when `output.models` fails.

    Returns:
        Why and where they went instead, in one line; None when all is well.

    Raises:
        UserError: that failed as well.
    """
    failure = None
    for which, kept in journal.models.items():
        journal.model.set_weights(kept.weights)
        info = ModelInfo.of_run(record, which, kept.epoch, kept.scored)
        name = f"{record.run_id}_{which}"
        place = journal.config.output.models
        try:
            saved = save_model(
                journal.model, info, _under(place, name), _access(journal.config)
            )
        except UserError as error:
            place = str(results / "models")
            saved = save_model(journal.model, info, _under(place, name))
            failure = f"Models are in {place} instead of output.models: {error}"
        path = _under(place, f"{name}.keras")
        models = {which: SavedModel(path=path, model_id=saved.model_id)}
        record.models = {**(record.models or {}), **models}
    return failure


def _access(config: RunConfig) -> S3Access | None:
    on_s3 = config.output.models.startswith("s3://")
    return load_access(config.data) if on_s3 else None


def _under(place: str, name: str) -> str:
    if place.startswith("s3://"):
        return f"{place.rstrip('/')}/{name}"
    return str(Path(place, name))
