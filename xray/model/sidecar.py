"""The sidecar of a saved model: what it is and where it comes from."""

from datetime import datetime
from typing import Any, Literal

from pydantic import field_validator

from xray.config.schemas import NIH, findings_of
from xray.data.appearance import Appearance
from xray.records.record import RunRecord, utc_now
from xray.records.scores import Calibration, Part, Scores

SCHEMA_VERSION = 1
# Settings that say how one machine reached its data and cluster, or may hold a secret.
PRIVATE = {
    "data": ("credentials", "endpoint_url", "cache_dir"),
    "runner": ("master", "spark_conf"),
}


class ImageCounts(Part):
    """Images that were used."""

    train: int
    test: int
    validation: int = 0


class ModelInfo(Part):
    """The sidecar NAME.json: what a saved model is and where it comes from."""

    schema_version: int = SCHEMA_VERSION
    model_id: str = ""
    """First 16 hexadecimal digits of the SHA-256 of NAME.keras; empty until saved."""
    created: datetime
    runner: str
    """sequential, gpu or elephas."""
    run_id: str | None = None
    """The record that it belongs to; null without one."""
    work_id: str | None = None
    """As in that record."""
    epoch: int | None = None
    """The epoch after which it had these weights, from 1; null where not known."""
    which: Literal["best", "last"]
    """Of its run: the epoch with the best validation AUC, or the last one."""
    findings: list[str] = list(NIH.findings)
    """What the outputs are, in their order."""
    image_size: int
    """Height and width in pixels of its input."""
    config: dict[str, Any]
    """The run's configuration without the settings of `PRIVATE` and `output`."""
    images: ImageCounts
    scores: Scores | None = None
    """On the test set; null when this model was not scored there."""
    thresholds: dict[str, dict[str, float]] | None = None
    """Finding to {name of the rule: probability from which on it is called present};
    null when none was chosen for these weights on a validation set."""
    temperature: float | None = None
    """By which to divide logits for probabilities to be taken more at their word, see
    `xray.records.temperature`; null where none was fitted for these weights."""
    calibration: Calibration | None = None
    """On the test set, beside `scores`."""
    appearance: Appearance | None = None
    """Of its training pictures, to tell others from them; null where not known."""
    packages: dict[str, str] = {}
    git: dict[str, Any] = {}
    """commit and dirty."""

    @field_validator("config")
    @classmethod
    def _without_private_settings(cls, config: dict[str, Any]) -> dict[str, Any]:
        """A model is passed on: the way to this machine's data is not."""
        return {
            section: {
                name: value
                for name, value in settings.items()
                if name not in PRIVATE.get(section, ())
            }
            if isinstance(settings, dict)
            else settings
            for section, settings in config.items()
            if section != "output"
        }

    @classmethod
    def of_run(
        cls,
        record: RunRecord,
        which: Literal["best", "last"],
        epoch: int | None,
        scored: bool,
        appearance: Appearance | None = None,
    ) -> "ModelInfo":
        """What a run's model is, before it is saved.

        Args:
            record: of the run.
            which: best or last.
            epoch: that it had these weights after, from 1.
            scored: whether the record's scores are of these weights.
            appearance: of its training pictures.
        """
        calibration = record.calibration if scored else None
        return cls(
            created=utc_now(),
            runner=record.runner,
            run_id=record.run_id,
            work_id=record.work_id,
            epoch=epoch,
            which=which,
            findings=findings_of(record.config["data"]),
            image_size=record.config["data"]["image_size"],
            config=record.config,
            images=ImageCounts.model_validate(
                record.images.model_dump(include={"train", "test", "validation"})
            ),
            scores=record.scores if scored else None,
            thresholds=calibration.thresholds() if calibration else None,
            temperature=calibration.temperature if calibration else None,
            calibration=calibration,
            appearance=appearance,
            packages=record.packages,
            git=record.git,
        )
