"""A peer whose packages and ours exclude each other, in an environment of its own."""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from experiments.benchmarks.harness import PEERS, last_json, run_script
from xray.common.errors import UserError
from xray.common.java import find_java_home

PEERS_HAVE = "MobileNet"  # the network of torch_spark.py and ray_keras.py
STEADY = "steady_images_per_second"
WHOLE = "whole_seconds"


class PeerKind(NamedTuple):
    """A peer whose packages and ours exclude each other.

    Attributes:
        name: of its option and its figures.
        script: its program.
        imports: what the program needs.
    """

    name: str
    script: str
    imports: str


TORCH = PeerKind(
    "torch", "torch_spark.py", "torch, pyarrow, pyspark.ml.torch.distributor"
)
RAY = PeerKind("ray", "ray_keras.py", "ray.train, tensorflow, tf_keras")


class Peer:
    """A peer with an environment of its own, as long as it can be run.

    Attributes:
        name: of its figures.
        note: why it cannot; None while it can.

    Args:
        kind: which one.
        python: of an environment with what it needs; None runs nothing.
        backbone: of the others' network.
    """

    def __init__(
        self, kind: PeerKind, python: Path | None, backbone: str = PEERS_HAVE
    ) -> None:
        self.name, self._script, imports = kind
        self.python, self.note = python, self._check(python, imports)
        if python and not self.note and backbone != PEERS_HAVE:
            self.note = f"{self._script} trains {PEERS_HAVE}, not {backbone}"
        if self.note and python:  # said before the long measurement, not after it
            print(f"warning: {self.note}", file=sys.stderr, flush=True)

    def measure(self, images: int, options: argparse.Namespace) -> dict | None:
        """The peer's figures for `images` in all; None where it cannot be run."""
        if self.note:
            return None
        command = (
            *(self.python, PEERS / self._script, "--images", images),
            *("--epochs", options.epochs, "--image-size", options.image_size),
        )
        environment = {
            name: value
            for name, value in os.environ.items()  # ours would mislead its Python
            if not name.startswith(("PYTHON", "PYSPARK_", "SPARK_", "VIRTUAL_ENV"))
        }
        environment |= {"JAVA_HOME": find_java_home(), "SPARK_LOCAL_IP": "127.0.0.1"}
        try:
            peer = last_json(
                run_script([*command, "--workers", options.workers], environment)
            )
        except UserError as error:
            self.note = str(error)  # the others' measurements are not lost
            return None
        return {STEADY: peer.pop("steady"), WHOLE: peer.pop("seconds"), **peer}

    def _check(self, python: Path | None, imports: str) -> str | None:
        if not python:
            return f"no --{self.name}-python was given"
        code = f"import {imports}"
        try:
            subprocess.run([python, "-c", code], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", b"").decode(errors="replace").strip()
            reason = (said or str(error)).splitlines()[-1]
            return f"--{self.name}-python {python}: {reason}"
        return None
