"""The GPUs of this machine: which there are, what they can do, and holding to them."""

import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from xray.common.errors import DeviceError, UserError
from xray.common.imports import Hidden
from xray.config.run import RunnerConfig
from xray.model.keras_import import import_keras

# Compute capability from which a GPU has tensor cores for the type: Volta for float16,
# Ampere for bfloat16 (NVIDIA, CUDA C++ Programming Guide, "Compute Capabilities").
NEEDED_CAPABILITY = {"mixed_float16": (7, 0), "mixed_bfloat16": (8, 0)}


@dataclass(frozen=True)
class Gpu:
    """One GPU of this machine.

    Attributes:
        name: as its driver calls it.
        device: as Keras calls it, for instance gpu:0.
        capability: of CUDA, major and minor; None where it has none.
    """

    name: str
    device: str
    capability: tuple[int, int] | None


def use_gpus(runner: RunnerConfig) -> str:
    """The name of the GPUs that this process now trains on, in `runner.precision`.

    To be called before anything imports Keras.

    Raises:
        DeviceError: fewer GPUs are visible than `runner.devices`.
        UserError: the backend is not installed, or a GPU lacks the precision.
    """
    choose_backend(runner.backend)
    gpus = find_gpus(runner.backend)
    check_gpus(gpus, runner)
    gpus = gpus[: runner.devices or 1]

    import_keras()
    import keras

    keras.config.set_dtype_policy(runner.precision)
    if len(gpus) > 1:
        distribute(gpus)
    return gpus[0].name


def distribute(gpus: Sequence[Gpu]) -> None:
    """Have the models that are built from now on train on all `gpus` at once.

    Each batch is shared among them, and everything that is computed over a batch (loss,
    gradients, statistics of BatchNormalization) is over the whole one: what comes out
    is what one GPU would compute.
    """
    import keras

    devices = [gpu.device for gpu in gpus]
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(devices=devices)
    )


def choose_backend(backend: str) -> None:
    """Have Keras compute with `backend` in this process.

    With JAX, TensorFlow cannot be imported any more: Keras would do so where it is
    installed, to seed it, and take its memory and seconds.

    Raises:
        UserError: it is not installed.
        RuntimeError: too late, Keras has been imported.
    """
    if "keras" in sys.modules:
        raise RuntimeError("Keras is already imported; give each run its own process.")
    if importlib.util.find_spec(backend) is None:
        raise UserError(
            f"runner.backend={backend} needs the package {backend}, which is not "
            "installed. Run: make gpu."
        )
    os.environ["KERAS_BACKEND"] = backend
    if backend == "jax":
        Hidden("tensorflow", reason="this process computes with JAX").hide()
        # As with TensorFlow below, memory is taken as needed.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def find_gpus(backend: str) -> list[Gpu]:
    """The GPUs that `backend` sees, made ready."""
    return _jax_gpus() if backend == "jax" else _tensorflow_gpus()


def _tensorflow_gpus() -> list[Gpu]:
    import_keras()
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    tf.config.set_visible_devices(devices[:1], "GPU")
    gpus = []
    for number, device in enumerate(devices):
        tf.config.experimental.set_memory_growth(device, True)
        details = tf.config.experimental.get_device_details(device)
        name = details.get("device_name", device.name)
        gpus.append(Gpu(name, f"gpu:{number}", details.get("compute_capability")))
    return gpus


def _jax_gpus() -> list[Gpu]:
    import jax

    try:
        devices = jax.devices("gpu")
    except RuntimeError:  # there is none
        return []
    return [
        Gpu(
            device.device_kind,
            f"{device.platform}:{device.id}",
            parse_capability(getattr(device, "compute_capability", "")),
        )
        for device in devices
    ]


def parse_capability(text: str) -> tuple[int, int] | None:
    """CUDA's compute capability in `9.0`; None of anything else, as AMD's gfx90a."""
    match = re.fullmatch(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def check_gpus(gpus: Sequence[Gpu], runner: RunnerConfig) -> None:
    """Refuse GPUs that are too few or cannot do what is asked.

    Raises:
        DeviceError: they are fewer than `runner.devices`.
        UserError: one of those to be used lacks `runner.precision`.
    """
    wanted = runner.devices or 1
    if not gpus:
        raise DeviceError(
            f"No GPU is visible to {_describe(runner.backend)}. Check nvidia-smi, and "
            "on a GPU machine run: make gpu."
        )
    if len(gpus) < wanted:
        raise DeviceError(
            f"runner.devices={wanted} needs as many GPUs. Got {len(gpus)}: "
            f"{', '.join(gpu.name for gpu in gpus)}. Lower it, or check nvidia-smi."
        )
    needed = NEEDED_CAPABILITY.get(runner.precision)
    for gpu in gpus[:wanted]:
        if needed and gpu.capability and gpu.capability < needed:
            raise UserError(
                f"runner.precision={runner.precision} needs a GPU of compute "
                f"capability {_dotted(needed)} or more. Got {gpu.name} with "
                f"{_dotted(gpu.capability)}. Set runner.precision={_best(gpu)}."
            )


def _best(gpu: Gpu) -> str:
    able = [
        name for name, least in NEEDED_CAPABILITY.items() if gpu.capability >= least
    ]
    return able[-1] if able else "float32"


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))


def _describe(backend: str) -> str:
    if backend == "jax":
        import jax

        plugin = importlib.util.find_spec("jax_cuda12_plugin")
        return f"JAX {jax.__version__}, {'with' if plugin else 'without'} its CUDA part"
    import tensorflow as tf

    build = "with" if tf.test.is_built_with_cuda() else "without"
    return f"TensorFlow {tf.__version__}, built {build} CUDA"
