"""The fastest that N pinned processes can train a network on this machine.

Each process is held to cores of its own and trains on one batch that is already in
memory as the network wants it: no S3, no decoding, no preprocessing, no Spark. A runner
that trains the same network on the same cores cannot be faster, so its images per
second are judged as a share of this figure, measured in the same run.

    python experiments/benchmarks/peers/hardware_limit.py --processes 1 2
    python experiments/benchmarks/peers/hardware_limit.py --step bfloat16

There are three steps: `keras`, as Keras comes; `float32`, the one that our runners
train, with fused batch normalization; `bfloat16`, theirs with
runner.precision=mixed_bfloat16. Beside images per second stands what share of the
core's peak arithmetic each process reaches: the operations of convolutions and dense
layers, three times those of a forward pass, over those of a matrix product that the
same process multiplies in the same precision. What else a step does is no arithmetic in
this count, and costs it.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

from xray.common.command import command
from xray.config.backbones import BACKBONES
from xray.model.backbones import make_backbone
from xray.model.cpu_step import BFLOAT16, check_precision, quicken

if TYPE_CHECKING:
    import keras

STEPS = ("keras", "float32", "bfloat16")
WARM_STEPS = 3
MATRIX = 2048
PASSES = 3  # forward, and the gradients of inputs and of weights


@dataclass(frozen=True)
class Limit:
    """What is trained.

    Attributes:
        step: one of STEPS.
        backbone: one of BACKBONES.
        image_size: height and width in pixels.
        batch_size: images in a step.
        threads: of each process, on as many cores.
    """

    step: str = "float32"
    backbone: str = "MobileNet"
    image_size: int = 128
    batch_size: int = 32
    threads: int = 1

    @classmethod
    def of_runners(cls, precision: str, backbone: str, image_size: int) -> "Limit":
        """What the runners train with `runner.precision`, a thread a worker."""
        step = "bfloat16" if precision == BFLOAT16 else "float32"
        return cls(step, backbone, image_size)


class Rate(NamedTuple):
    """What one process reached.

    Attributes:
        images_per_second: trained.
        share_of_peak: of the arithmetic that a matrix product reaches; None of a peer.
    """

    images_per_second: float
    share_of_peak: float | None = None


class Trainer:
    """A process that waits, warm, and trains when it is told to.

    Args:
        command: that starts it.
    """

    def __init__(self, command: Sequence[object]) -> None:
        self._child = subprocess.Popen(
            [*map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    @classmethod
    def of(cls, limit: Limit, cores: Iterable[int]) -> "Trainer":
        """One of ours, held to `cores`."""
        told = json.dumps({**asdict(limit), "cores": [*cores]})
        return cls([sys.executable, __file__, "--worker", told])

    def wait(self) -> bool:
        """Until it is warm; whether it has come so far."""
        return self._child.stdout.readline() == "warm\n"

    def start(self, steps: int) -> None:
        """Have it train so many steps."""
        self._child.stdin.write(f"{steps}\n")
        self._child.stdin.flush()

    def rate(self) -> Rate:
        """What it reached in these steps, once they are done."""
        return Rate(*json.loads(self._child.stdout.readline()))

    def stop(self) -> None:
        """Let it go."""
        self._child.communicate()


def measure(
    counts: Sequence[int], limit: Limit | None = None, steps: int = 30
) -> list[list[Rate]]:
    """The rate of each process that trains, for each of `counts`.

    The processes are started once, for the largest count; where fewer train, the
    others wait.

    Args:
        counts: of processes that train at once.
        limit: what they train; None is the default one.
        steps: that each takes.
    """
    limit = limit or Limit()
    every = sorted(os.sched_getaffinity(0))
    trainers = []
    for number in range(max(counts)):
        first = number * limit.threads
        cores = [every[(first + n) % len(every)] for n in range(limit.threads)]
        trainers.append(Trainer.of(limit, cores))
    for trainer in trainers:
        trainer.wait()
    rates = [train_together(trainers[:count], steps) for count in counts]
    for trainer in trainers:
        trainer.stop()
    return rates


def train_together(trainers: Sequence[Trainer], steps: int) -> list[Rate]:
    """The rate of each, all at once."""
    for trainer in trainers:
        trainer.start(steps)
    return [trainer.rate() for trainer in trainers]


def work(limit: Limit, cores: Sequence[int]) -> None:
    """Train as many steps as each line of standard input says, and print a rate."""
    os.sched_setaffinity(0, cores)
    os.environ["OMP_NUM_THREADS"] = str(limit.threads)
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(limit.threads)
    tf.config.threading.set_inter_op_parallelism_threads(limit.threads)
    model = _make_model(limit)
    rng = np.random.default_rng(0)
    shape = (limit.batch_size, *model.input_shape[1:])
    images = rng.random(shape, dtype=np.float32)
    labels = (rng.random((limit.batch_size, 15)) > 0.8).astype(np.float32)
    for _ in range(WARM_STEPS):
        model.train_on_batch(images, labels)
    operations, peak = PASSES * count_operations(model), None
    precision = "bfloat16" if limit.step == "bfloat16" else "float32"
    print("warm", flush=True)
    for line in sys.stdin:
        peak = peak or measure_peak(precision)  # while the others wait
        start = time.perf_counter()
        for _ in range(int(line)):
            model.train_on_batch(images, labels)
        rate = int(line) * limit.batch_size / (time.perf_counter() - start)
        print(json.dumps([rate, rate * operations / peak]), flush=True)


def _make_model(limit: Limit) -> "keras.Model":
    import keras

    network = make_backbone(limit.backbone, limit.image_size)
    features = keras.layers.GlobalAveragePooling2D()(network.output)
    outputs = keras.layers.Dense(15, activation="sigmoid")(features)
    model = keras.Model(network.input, outputs)
    if limit.step != "keras":
        quicken(model, BFLOAT16 if limit.step == "bfloat16" else "float32")
    model.compile("adam", "binary_crossentropy")
    return model


def count_operations(model: "keras.Model") -> int:
    """Multiplications and additions of a forward pass over one image.

    Those of convolutions and dense layers: two for each weight of a kernel and each
    place where it is applied.
    """
    import math

    from keras import layers

    total = 0
    for layer in model.layers:
        if isinstance(layer, layers.Dense):
            total += 2 * math.prod(layer.kernel.shape)
        elif isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
            _, height, width, _ = layer.output.shape
            total += 2 * height * width * math.prod(layer.kernel.shape)
    return total


def measure_peak(precision: str, tries: int = 5) -> float:
    """Operations a second of a large matrix product on this process' threads."""
    import tensorflow as tf

    matrix = tf.cast(tf.random.normal((MATRIX, MATRIX)), precision)
    tf.linalg.matmul(matrix, matrix)
    seconds = []
    for _ in range(tries):
        start = time.perf_counter()
        tf.linalg.matmul(matrix, matrix)
        seconds.append(time.perf_counter() - start)
    return 2 * MATRIX**3 / min(seconds)


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line per process count, then all of them as one JSON object."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] == ["--worker"]:
        told = json.loads(arguments[1])
        cores = told.pop("cores")
        work(Limit(**told), cores)
        return 0
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--step", choices=STEPS, default=Limit.step)
    parser.add_argument("--backbone", choices=BACKBONES, default=Limit.backbone)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--image-size", type=int, default=Limit.image_size)
    parser.add_argument("--batch-size", type=int, default=Limit.batch_size)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    options = parser.parse_args(arguments)
    if options.step == "bfloat16":
        check_precision(BFLOAT16)
    limit = Limit(**{name: getattr(options, name) for name in asdict(Limit())})
    totals, shares = {}, {}
    for rates in measure(options.processes, limit, options.steps):
        count = str(len(rates))
        totals[count] = sum(rate.images_per_second for rate in rates)
        shares[count] = [rate.share_of_peak for rate in rates]
        each = ", ".join(f"{r.images_per_second:.1f}" for r in rates)
        peaks = ", ".join(f"{share:.0%}" for share in shares[count])
        print(
            f"{count} process(es): {totals[count]:.1f} images/s, each {each}, at "
            f"{peaks} of the peak"
        )
    print(json.dumps({"images_per_second": totals, "share_of_peak": shares}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
