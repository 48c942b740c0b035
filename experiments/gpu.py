"""Train on one GPU of this machine."""

import sys

from xray.cli import main
from xray.config import RunConfig
from xray.errors import DeviceError
from xray.journal import Journal
from xray.record import RunRecord
from xray.train import train_locally


def run(config: RunConfig, journal: Journal | None = None) -> RunRecord:
    """The record of training on the first GPU, in `runner.precision`.

    Raises:
        DeviceError: TensorFlow sees no GPU; nothing is trained on the CPU instead.
    """
    journal = journal or Journal("gpu", config)
    journal.workers = 1
    with journal.timer.phase("startup"):
        journal.machine["gpu"] = use_one_gpu(config.runner.precision)
    return train_locally(config, journal)


def use_one_gpu(precision: str) -> str:
    """The name of the GPU that TensorFlow is now held to.

    Its memory is taken as needed instead of whole at the start.

    Raises:
        DeviceError: there is none.
    """
    import keras
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    if not devices:
        build = "with" if tf.test.is_built_with_cuda() else "without"
        raise DeviceError(
            f"No GPU is visible to TensorFlow {tf.__version__}, built {build} CUDA. "
            "Check nvidia-smi, and on a GPU machine run: make gpu."
        )
    tf.config.set_visible_devices(devices[:1], "GPU")
    tf.config.experimental.set_memory_growth(devices[0], True)
    keras.mixed_precision.set_global_policy(precision)
    details = tf.config.experimental.get_device_details(devices[0])
    return details.get("device_name", devices[0].name)


if __name__ == "__main__":
    sys.exit(main("gpu", run, __doc__))
