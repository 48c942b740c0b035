"""RunRecord: what one run did and measured, one JSON file a run in results/."""

import hashlib
import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from xray.common.files import write_whole
from xray.records.scores import Calibration, Part, Scores

SCHEMA_VERSION = 1


class Phases(Part):
    """Seconds per phase, as the driving process waits for them one after the other.

    They do not overlap. What runs beside a phase adds nothing to it: Elephas lists the
    images and builds the model while Spark starts, and resident workers import
    TensorFlow and trace while images are listed and read. What no phase names, such as
    writing checkpoints, is in `total` alone, which is measured on its own.
    """

    startup: float = 0.0
    """Program start to ready: Python, TensorFlow, or the Spark context and the
    resident workers' Python."""
    load: float = 0.0
    """Listing, reading and decoding every image once."""
    warmup: float = 0.0
    """Building and tracing the model before the clock of `fit` starts, as far as that
    is not done by then."""
    fit: float = 0.0
    """Training, every epoch."""
    evaluate: float = 0.0
    """Scoring the test set, after every epoch when asked, and its AUC."""
    total: float = 0.0
    """Program start to record; of a resumed run, the sum over its tries."""


class Epoch(Part):
    """One pass over the training images."""

    epoch: int
    """From 1."""
    seconds: float
    images_per_second: float
    loss: float | None = None
    """Mean training loss over the workers; null where a mode does not report it."""
    learning_rate: float | None = None
    """Of its last step; null for stock Elephas."""
    auc_validation: float | None = None
    """Macro AUC on the validation set; null without one, or undefined."""
    auc_macro: float | None = None
    """Macro AUC on the test set; null where `training.scored_epochs` leaves the epoch
    out, there is a validation set and the epoch is not the one whose weights are scored
    in the end, or it is undefined."""
    elapsed_seconds: float
    """From the start of the program to the end of this epoch's training."""
    sync_gap_seconds: float | None = None
    """Before this epoch, time in which no worker trained, scoring left out; null for
    the first of each try and where it is not known."""
    worker_seconds: list[float] = []
    """Training seconds of each worker; a straggler shows here, and how many there were
    in the end."""
    images: int | None = None
    """That its averages are of, as the resident workers counted them; null for the
    other engines."""
    data_wait_fraction: float | None = None
    """Share of `seconds` in which the next batch was not ready when training asked for
    it, at most what the GPU waited for images; null where it is not measured."""


class Images(Part):
    """Counts of images, and those that could not be used."""

    listed: int = 0
    """In the bucket under the prefix."""
    matched: int = 0
    """Listed and in the label file, after `data.limit`."""
    train: int = 0
    test: int = 0
    validation: int = 0
    """In none of the other two; they choose the best epoch."""
    skipped: list[dict[str, str]] = []
    """Unreadable ones: {image, reason}."""


class Source(Part):
    """Where the pixels came from; `config.data` says what was asked for."""

    store: str | None = None
    """Amazon S3, a server on this machine, the hash of a host, or a folder."""
    cached: int | None = None
    """Images taken from `data.cache_dir`, read by none; null where it is not known."""


class Rates(Part):
    """Training images per second of `fit`."""

    overall: float | None = None
    steady: float | None = None
    """From the second epoch of each try on; null without such an epoch."""


class Worker(Part):
    """What one training process used."""

    worker: int
    images: int
    """Images it trained per epoch."""
    fit_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    """Largest resident set of the process."""


class Resume(Part):
    """A try that went on from the checkpoint of an earlier one."""

    epoch: int
    """Last epoch that the earlier tries finished; the work after it was lost."""
    earlier_seconds: float
    """Of the earlier tries, up to the end of that epoch. They are in every sum of this
    record; what the killed try spent after it is not known and in none."""
    resumed: datetime


class Retry(Part):
    """Resident engine: a start of all workers anew after one of them was lost."""

    epoch: int
    """The epoch under way; its finished averages were kept."""
    rounds: int
    """Averages finished by then, since the first epoch."""
    worker: int | None = None
    """Whose connection ended first; null where it is not known."""
    reason: str | None = None
    """What Spark says of it; null where it says nothing."""


class SavedModel(Part):
    """A model that the run saved (xray.model.saved)."""

    path: str
    """Of the .keras file, on disk or S3."""
    model_id: str
    """As in its sidecar."""


class RunRecord(Part):
    """One run. The file in results/ is this object as JSON."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    """`<UTC time>_<runner>_w<workers>_<commit>`; also the name of the file."""
    created: datetime
    status: Literal["success", "failed", "aborted"]
    error: str | None = None
    """Why the run failed or was aborted, in one line."""
    runner: str
    """sequential, gpu or elephas."""
    workers: int | None = None
    """Processes, or GPUs, that train at once."""
    threads_per_worker: int | None = None
    mode: str | None = None
    """synchronous, asynchronous or hogwild; null for the local runners."""
    frequency: str | None = None
    engine: str | None = None
    """resident or stock, of Elephas; null for the local runners."""
    best_epoch: int | None = None
    """The epoch with the best validation AUC, whose weights are scored; null without a
    validation set: the last one is."""
    exchange: dict[str, int] | None = None
    """Resident engine: rounds (averages), attempts (starts of all workers, see
    `resumed` and `retries`), and the bytes of weights that the driver received and
    sent."""
    resumed: list[Resume] = []
    """Tries after the first; empty for a run in one go."""
    retries: list[Retry] = []
    """Starts of all workers anew within a try."""
    global_batch_size: int | None = None
    """Images per step of all workers together."""
    seed: int
    config: dict[str, Any]
    """The resolved configuration; secrets and hosts are hidden (common.redaction)."""
    work_id: str | None = None
    """Hash of `work`: equal for two runs exactly when they did the same work."""
    work: dict[str, Any] = {}
    """Its parts: dataset, split, model and training."""
    initial_weights: str | None = None
    """Hash of the weights before the first step."""
    first_step_seconds: float | None = None
    """From the start of the program to the first training step, by the worker's clock;
    of a resumed run, in its first try. Null for stock Elephas."""
    phases: Phases = Phases()
    epochs: list[Epoch] = []
    images: Images = Images()
    source: Source | None = None
    """Null in records of earlier versions."""
    images_trained: int = 0
    """Training images times finished epochs."""
    images_per_second: Rates = Rates()
    cpu_seconds: dict[str, float] = {}
    """CPU seconds of the driving process by phase, and of all processes in `fit`."""
    driver_peak_memory_bytes: int | None = None
    per_worker: list[Worker] = []
    scores: Scores | None = None
    calibration: Calibration | None = None
    """Of the weights that were scored; null in records of earlier versions."""
    machine: dict[str, Any] = {}
    """Of the driving process: cpu_model, cores, physical_cores, bfloat16, memory_bytes,
    gpu, instance_type, os. nodes: machines that took part, the driver's included. Of
    Elephas also executors: hardware and workers of each machine that trained, and with
    `runner.min_workers` present: pairs of seconds, from and to which it had workers;
    null is the end."""
    packages: dict[str, str] = Field(default_factory=dict)
    git: dict[str, Any] = {}
    """commit and dirty."""
    models: dict[str, SavedModel] | None = None
    """The last model, and the best one where a validation set tells it, under `last`
    and `best`; null when none is saved."""
    tensorboard: str | None = None
    """Folder of the run's event files; null without `output.tensorboard`."""
    emr: dict[str, str | None] | None = None
    """On EMR: sweep, run and cluster; null elsewhere."""

    @property
    def workers_varied(self) -> bool:
        """Whether there were fewer workers for a while (`runner.min_workers`)."""
        counts = {len(epoch.worker_seconds) for epoch in self.epochs} - {0}
        return bool(counts - {self.workers})

    @property
    def interrupted(self) -> bool:
        """Whether its seconds are not those of the configuration in one go."""
        return bool(self.resumed or self.retries or self.workers_varied)

    def write(self, folder: Path) -> Path:
        """The file `<run_id>.json` in `folder`, written whole or not at all."""
        path = folder / f"{self.run_id}.json"
        text = self.model_dump_json(indent=1) + "\n"
        write_whole(path, lambda file: file.write(text.encode()))
        return path


def new_run_id(created: datetime, runner: str, workers: int | None, commit: str) -> str:
    """A name that sorts by time, says what ran, and ends in 32 random bits.

    So runs that end within a millisecond keep a record each.
    """
    stamp = created.strftime("%Y%m%dT%H%M%S.%f")[:-3] + "Z"
    what = f"{runner}_w{workers or 0}_{commit[:7] or 'nogit'}"
    return f"{stamp}_{what}_{secrets.token_hex(4)}"


def utc_now() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)


def work_id(work: dict[str, Any]) -> str:
    """Hash of the parts of the work, 16 hexadecimal digits."""
    text = json.dumps(work, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def work_differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Dotted names of the fields in which two works differ, sorted."""
    left, right = dict(_flatten(one)), dict(_flatten(other))
    names = left.keys() | right.keys()
    return sorted(name for name in names if left.get(name) != right.get(name))


def _flatten(part: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(part, dict):
        yield prefix, part
        return
    for key, value in part.items():
        yield from _flatten(value, f"{prefix}.{key}" if prefix else key)
