"""Training a network on the rows of a DataFrame, by resident workers."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from xray.common.errors import UserError
from xray.config.file import parse_config
from xray.config.run import RunConfig
from xray.data.dataset import Dataset, Subset, set_apart
from xray.model.network import build_model
from xray.spark.cluster import Cluster
from xray.spark.ml.frames import refuse_others
from xray.spark.resident.driver import train_resident
from xray.storage.credentials import data_access
from xray.storage.s3 import Storage
from xray.training.checks import take_dataset
from xray.training.journal import Journal

if TYPE_CHECKING:
    import keras

# Params of the estimator that stand for a setting, so that a ParamGridBuilder can vary
# them; what they are is told in xray/config/run.py.
SETTINGS = {
    "epochs": ("training", "epochs"),
    "batchSize": ("training", "batch_size"),
    "learningRate": ("training", "learning_rate"),
    "seed": ("training", "seed"),
    "numWorkers": ("runner", "workers"),
}


def to_settings(config: RunConfig | dict[str, Any]) -> dict[str, Any]:
    """The sections of a configuration by name, checked."""
    settings = config.to_dict() if isinstance(config, RunConfig) else config
    return parse_config(settings, "config").to_dict()


def check_trainable(config: RunConfig, spark_setting: Callable[..., str]) -> None:
    """Refuse a configuration or a session that resident workers cannot train with.

    Args:
        config: of the run.
        spark_setting: a setting of the session by name, or the default given beside.

    Raises:
        UserError: it says which setting.
    """
    runner = config.runner
    if (runner.mode, runner.engine) != ("synchronous", "resident"):
        raise UserError(
            "XrayEstimator trains with runner.mode=synchronous and runner.engine="
            f"resident. Got {runner.mode} and {runner.engine}."
        )
    if spark_setting("spark.dynamicAllocation.enabled", "false").lower() == "true":
        raise UserError(
            "Workers that train together need a fixed set of executors. Got "
            "spark.dynamicAllocation.enabled=true. Start Spark with it set to false."
        )


def check_learnable(subset: Subset) -> None:
    """Refuse labels that hold nothing to learn.

    Raises:
        UserError: every finding has one value only.
    """
    if len(subset) and (subset.labels == subset.labels[0]).all():
        raise UserError(
            f"Every finding has one value only in the {len(subset)} rows to train on. "
            "Use more images."
        )


def train_network(
    cluster: Cluster, config: RunConfig, subset: Subset
) -> tuple["keras.Model", list[float]]:
    """The trained network, and the mean loss of each epoch.

    Args:
        cluster: to train on.
        config: of the run.
        subset: what to train on; data.validation_fraction of it, by patient, chooses
            the best epoch as in every runner.

    Raises:
        UserError: the settings do not fit the images, these cannot be read, or training
            diverged.
    """
    refuse_others(config)
    train, validation = subset, None
    if config.data.validation_fraction and len(subset):
        train, validation = set_apart(subset, config.data, "validation_fraction")
    access = data_access(config.data)
    training = config.training.model_copy(update={"evaluate_every_epoch": False})
    config = config.model_copy(update={"training": training})
    journal = Journal("elephas", config, workers=cluster.workers)
    dataset: Future[Dataset] = Future()
    dataset.set_result(Dataset(train, None, len(subset), validation))
    take_dataset(journal, dataset, cluster.workers)
    model = build_model(config, Storage(access, config.data.read_threads))
    train_resident(journal, cluster, model, access, dataset)
    return model, [epoch.loss for epoch in journal.log.epochs]
