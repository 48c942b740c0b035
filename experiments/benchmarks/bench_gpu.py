"""DenseNet-121 at 224x224 on one GPU: Keras as this project trains it, and PyTorch.

    python experiments/benchmarks/bench_gpu.py --torch-python torch-env/bin/python

Each contender is a process of its own, which builds the network, compiles it and trains
once to be warm. Then, in every repeat, each trains alone in turn. Ours
(peers/keras_gpu.py) are fed from the host's memory as a runner feeds them; PyTorch's
(peers/torch_gpu.py, which says how to make its environment) has one batch in the GPU's
memory. The figures are medians of images per second, and their ratio to
PyTorch's `torch.compile` in bfloat16; they go to results/gpu/ with every repeat.

All contenders stay in the GPU's memory until the end: on a small GPU lower --batch-size
or choose some with --contenders. Without a GPU the exit code is 3; `--device cpu`, for
testing this script, leaves a record that says cpu, elsewhere.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks.harness import PEERS, median_ratio
from xray.common.command import command
from xray.common.errors import DeviceError, UserError
from xray.common.processes import die_with_parent
from xray.records.benchmark import write_benchmark

GOAL = "torch:bfloat16"
CONTENDERS = (
    *("tensorflow:float32:xla", "tensorflow:float32:no-xla"),
    *("tensorflow:mixed_bfloat16:xla", "tensorflow:mixed_bfloat16:no-xla"),
    "tensorflow:mixed_float16:xla",
    *("jax:float32", "jax:mixed_bfloat16", "jax:mixed_float16"),
    *("torch:float32", GOAL),
)
RATE = "images_per_second"


class Contender:
    """One process that trains when it is told to.

    Attributes:
        name: as in CONTENDERS.
        figures: of every repeat; None where it failed.
        failure: why it takes part no more.
    """

    def __init__(self, name: str, command: Sequence[object]) -> None:
        self.name, self.figures = name, []
        self.failure: str | None = None
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [*map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            preexec_fn=die_with_parent,
        )

    def warm_up(self) -> None:
        """Wait until it has compiled."""
        if self._process.stdout.readline() != "warm\n":
            self._fail()

    def measure(self) -> None:
        """Have it train once more."""
        line = ""
        if not self.failure:
            with contextlib.suppress(BrokenPipeError):
                print("go", file=self._process.stdin, flush=True)
                line = self._process.stdout.readline()
            if not line:
                self._fail()
        self.figures.append(json.loads(line) if line else None)

    def rates(self) -> list[float]:
        """Images per second of the repeats."""
        return [figures[RATE] for figures in self.figures if figures]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _fail(self) -> None:
        self._process.kill()
        self._process.wait()
        self._errors.seek(0)
        last = self._errors.read().strip().splitlines() or ["no reason given"]
        self.failure = last[-1][:300]


@contextlib.contextmanager
def line_up(commands: dict[str, Sequence[object]]) -> Iterator[list[Contender]]:
    """The contenders, warm: started one after the other, so that none is disturbed."""
    contenders: list[Contender] = []
    try:
        for name, command in commands.items():
            start = time.perf_counter()
            contenders.append(Contender(name, command))
            contenders[-1].warm_up()
            how = (
                contenders[-1].failure or f"warm in {time.perf_counter() - start:.0f} s"
            )
            print(f"{name}: {how}", flush=True)
        yield contenders
    finally:
        for contender in contenders:
            contender.close()


def compete(contenders: Sequence[Contender], repeats: int) -> dict[str, Any]:
    """Every repeat in turn, and what comes of it.

    Raises:
        UserError: all contenders failed.
    """
    for repeat in range(repeats):
        for contender in contenders:
            contender.measure()
            rate = contender.rates()[-1] if contender.figures[-1] else float("nan")
            print(f"{repeat + 1}/{repeats} {contender.name}: {rate:.1f} images/s")
    rates = {one.name: one.rates() for one in contenders if not one.failure}
    if not rates:
        raise UserError(f"No contender could train: {contenders[0].failure}")
    goal = rates.get(GOAL)
    return {
        "repeats": {one.name: one.figures for one in contenders},
        "failures": {one.name: one.failure for one in contenders if one.failure},
        "median_images_per_second": {n: statistics.median(r) for n, r in rates.items()},
        f"over_{GOAL}": {n: median_ratio(r, goal) for n, r in rates.items()}
        if goal
        else None,
    }


def find_gpu() -> str:
    """Name, driver and compute capability of the first GPU, as nvidia-smi tells.

    Raises:
        DeviceError: there is none.
    """
    query = "--query-gpu=name,driver_version,compute_cap"
    try:
        done = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        raise DeviceError(
            "No GPU is visible to nvidia-smi, and this benchmark is of one. Run it on "
            "a machine with an NVIDIA GPU, after: make gpu."
        ) from None


def _commands(options: argparse.Namespace) -> dict[str, list[object]]:
    sizes = [
        *("--device", options.device, "--image-size", options.image_size),
        *("--batch-size", options.batch_size, "--steps", options.steps),
    ]
    commands = {}
    for name in options.contenders:
        library, precision, *rest = name.split(":")
        if library == "torch":
            peer = (options.torch_python, PEERS / "torch_gpu.py")
            commands[name] = [*peer, "--precision", precision, *sizes]
        else:
            ours = (sys.executable, PEERS / "keras_gpu.py")
            xla = (f"--{how}" for how in rest)
            settings = ("--backend", library, "--precision", precision, *xla)
            commands[name] = [*ours, *settings, *sizes]
    return commands


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, metavar="NAME")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=50, help="of each repeat")
    parser.add_argument("--torch-python", default=os.environ.get("XRAY_TORCH_PYTHON"))
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument(
        "--quick", action="store_true", help="one small repeat, to test this script"
    )
    parser.add_argument("--out", type=Path, help="default: results/gpu or results/cpu")
    return parser


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a line per figure and one JSON object, and write the file."""
    return _bench(_parser().parse_args(arguments))


def _bench(options: argparse.Namespace) -> int:
    gpu = find_gpu() if options.device == "gpu" else None
    if options.quick:
        options.repeats, options.steps = 1, 2
        options.batch_size, options.image_size = 2, 32
    if options.contenders is None:
        options.contenders = CONTENDERS
    if options.torch_python is None:
        print(f"without --torch-python there is no {GOAL}", file=sys.stderr)
        options.contenders = [n for n in options.contenders if n[:5] != "torch"]
    with line_up(_commands(options)) as contenders:
        results = compete(contenders, options.repeats)
    names = ("device", "batch_size", "image_size", "steps")
    path = write_benchmark(
        options.out or Path("results", options.device),
        f"{options.device}_densenet121",
        {"gpu": gpu, **{name: getattr(options, name) for name in names}},
        results,
    )
    print(path)
    print(json.dumps({name: results[name] for name in results if name != "repeats"}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
