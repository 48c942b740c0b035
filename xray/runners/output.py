"""What a run leaves besides its record: checked at its start, written at its end."""

import logging
import secrets
import tempfile

from xray.common.errors import UserError
from xray.config.run import RunConfig
from xray.data.appearance import Appearance, find_appearance
from xray.data.reader import ImageReader
from xray.model.saved import save_model
from xray.model.sidecar import ModelInfo
from xray.records.record import RunRecord, SavedModel, utc_now
from xray.storage.address import under
from xray.storage.credentials import data_access
from xray.storage.place import Place, access_for
from xray.training.journal import Journal
from xray.training.tensorboard import TensorBoardLog

logger = logging.getLogger(__name__)


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
    name = f"{started}Z_{runner}_{secrets.token_hex(4)}"
    return TensorBoardLog(config.output.tensorboard, name)


def save_models(
    journal: Journal, record: RunRecord, results: str
) -> tuple[str | None, bool]:
    """Save the models that a run kept, and name them in its record.

    Where `output.models` fails they go to `models/` in the results. Where that fails
    as well they stay in the checkpoint; the system's temporary folder takes them if
    that has not got the last epoch.

    Args:
        journal: of the run.
        record: its record, which gets the models' places.
        results: folder or prefix of the record.

    Returns:
        Why and where they went instead, in one line, or None when all is well; and
        whether they are where they last, which a temporary folder is not.

    Raises:
        UserError: all of that failed.
    """
    failure, lasts, second = None, True, under(results, "models")
    appearance = (
        _find_appearance(journal) if journal.models and journal.dataset else None
    )
    for which, kept in journal.models.items():
        journal.model.set_weights(kept.weights)
        given = (record, which, kept.epoch, kept.scored, appearance)
        info = ModelInfo.of_run(*given)
        name, first = f"{record.run_id}_{which}", journal.config.output.models
        place, model_id, why = _save_somewhere(journal, info, name, second)
        if why:
            failure = f"Models are in {place} instead of output.models: {why}"
        lasts = lasts and place in (first, second)
        path = under(place, f"{name}.keras")
        models = {which: SavedModel(path=path, model_id=model_id)}
        record.models = {**(record.models or {}), **models}
    return failure, lasts


def _find_appearance(journal: Journal) -> Appearance | None:
    """What the training pictures look like, read once more; a model does without."""
    data, dataset = journal.config.data, journal.dataset
    sets = [s.take(journal.readable_rows(s)) for s in (dataset.train, dataset.test)]
    try:
        return find_appearance(*sets, ImageReader.of(data, data_access(data)))
    except UserError as error:
        logger.warning("The model cannot tell pictures unlike its own: %s", error)
        return None


def _save_somewhere(
    journal: Journal, info: ModelInfo, name: str, second: str
) -> tuple[str, str, Exception | None]:
    """Where a model is saved, its id, and why not in `output.models`."""
    data, first = journal.config.data, journal.config.output.models
    places, why = [first, second], None
    file = journal.tries.file
    if not file or file.saved_epochs < len(journal.log.epochs):
        places.append(tempfile.gettempdir())
    for place in places:
        try:
            access = access_for(place, data.credentials, data.endpoint_url)
            saved = save_model(journal.model, info, under(place, name), access)
        except (UserError, OSError) as error:  # OSError: the disk of temporary files
            why = why or error
        else:
            return place, saved.model_id, why
    raise why
