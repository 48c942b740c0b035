"""What a run leaves besides its record: checked at its start, written at its end."""

from pathlib import Path

from xray.common.errors import UserError
from xray.config.run import RunConfig
from xray.model.saved import save_model
from xray.model.sidecar import ModelInfo
from xray.records.record import RunRecord, SavedModel, utc_now
from xray.storage.place import Place, access_for, under
from xray.training.journal import Journal
from xray.training.tensorboard import TensorBoardLog


def check_output(config: RunConfig) -> None:
    """Fail before a run whose models could not be saved.

    Raises:
        UserError: the folder or the prefix cannot be written.
    """
    if config.output.models is not None:
        Place.checked(config.output.models, "output.models", config.data)


def open_events(config: RunConfig, runner: str) -> TensorBoardLog | None:
    """The run's file of events, where one is wanted.

    Raises:
        UserError: it cannot be made.
    """
    if config.output.tensorboard is None:
        return None
    started = utc_now().strftime("%Y%m%dT%H%M%S.%f")[:-3]
    return TensorBoardLog(config.output.tensorboard, f"{started}Z_{runner}")


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
    failure, data = None, journal.config.data
    for which, kept in journal.models.items():
        journal.model.set_weights(kept.weights)
        info = ModelInfo.of_run(record, which, kept.epoch, kept.scored)
        name = f"{record.run_id}_{which}"
        place = journal.config.output.models
        try:
            access = access_for(place, data.credentials, data.endpoint_url)
            saved = save_model(journal.model, info, under(place, name), access)
        except UserError as error:
            place = str(results / "models")
            saved = save_model(journal.model, info, under(place, name))
            failure = f"Models are in {place} instead of output.models: {error}"
        path = under(place, f"{name}.keras")
        models = {which: SavedModel(path=path, model_id=saved.model_id)}
        record.models = {**(record.models or {}), **models}
    return failure
