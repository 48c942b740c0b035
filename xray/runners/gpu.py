"""Training on the GPUs of this machine, by default on one."""

from xray.config.run import RunConfig
from xray.records.record import RunRecord
from xray.runners.devices import use_gpus
from xray.training.journal import Journal
from xray.training.loop import train_locally


def run(config: RunConfig, journal: Journal | None = None) -> RunRecord:
    """The record of training on `runner.devices` GPUs, in `runner.precision`.

    The process keeps backend and GPUs: give each run its own.

    Raises:
        DeviceError: there are fewer; nothing is trained on the CPU instead.
    """
    journal = journal or Journal("gpu", config)
    journal.workers = config.runner.devices or 1
    with journal.timer.phase("startup"):
        journal.machine["gpu"] = use_gpus(config.runner)
    return train_locally(config, journal)
