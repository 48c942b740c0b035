"""The GPU runner with a CPU in the GPU's place, to try all that lies behind the device.

It measures nothing: its record calls the GPU `stand-in`, and goes to a temporary folder
unless --results names another.
"""

import os
import sys
import tempfile
from collections.abc import Sequence

from xray.runners import cli, devices

# With JAX compiling takes most of the time here, and little is computed.
XLA_FLAGS = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """As `experiments/gpu.py`."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if "--results" not in arguments:
        arguments += ["--results", tempfile.mkdtemp(prefix="xray-stand-in-")]
    os.environ.setdefault("XLA_FLAGS", " ".join(XLA_FLAGS))
    devices.find_gpus = find_stand_in
    return cli.main("gpu", "A test.", arguments)


def find_stand_in(backend: str) -> list[devices.Gpu]:
    """One CPU; with TensorFlow one thread of it, as the sequential runner has."""
    if backend == "tensorflow":
        from xray.runners.sequential import use_threads

        use_threads(1)
    return [devices.Gpu("stand-in", "cpu:0", (8, 0))]


if __name__ == "__main__":
    sys.exit(main())
