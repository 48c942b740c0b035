"""The fastest that N single-thread processes can train a network on this machine.

Each process is pinned to a core of its own and trains on one batch that is already in
memory as the network wants it: no S3, no decoding, no preprocessing, no Spark. A runner
that trains the same network on the same cores cannot be faster, so its images per
second are judged as a share of this figure, measured in the same run.

    python experiments/benchmarks/peers/hardware_limit.py --processes 1 2
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from xray.common.command import command
from xray.config.backbones import BACKBONES
from xray.model.backbones import make_backbone

WARM_STEPS = 3


def measure(
    counts: Sequence[int],
    backbone: str = "MobileNet",
    steps: int = 30,
    image_size: int = 128,
    batch_size: int = 32,
) -> list[list[float]]:
    """Images per second of each process that trains, for each of `counts`.

    The processes are started once, for the largest count; where fewer train, the
    others wait.
    """
    cores = sorted(os.sched_getaffinity(0))
    sizes = (steps, image_size, batch_size)
    children = [
        _start(cores[number % len(cores)], backbone, *sizes)
        for number in range(max(counts))
    ]
    for child in children:
        child.stdout.readline()  # it is warm
    rates = [_train_together(children[:count]) for count in counts]
    for child in children:
        child.communicate()
    return rates


def _train_together(children: Sequence[subprocess.Popen]) -> list[float]:
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    return [float(child.stdout.readline()) for child in children]


def _start(core: int, backbone: str, *sizes: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, __file__, "--worker", backbone, *map(str, (core, *sizes))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def work(
    backbone: str, core: int, steps: int, image_size: int, batch_size: int
) -> None:
    """Train on one core for each line of standard input; print images per second."""
    os.sched_setaffinity(0, {core})
    os.environ["OMP_NUM_THREADS"] = "1"
    import keras
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    network = make_backbone(backbone, image_size)
    features = keras.layers.GlobalAveragePooling2D()(network.output)
    outputs = keras.layers.Dense(15, activation="sigmoid")(features)
    model = keras.Model(network.input, outputs)
    model.compile("adam", "binary_crossentropy")
    rng = np.random.default_rng(0)
    images = rng.random((batch_size, *network.input_shape[1:]), dtype=np.float32)
    labels = (rng.random((batch_size, 15)) > 0.8).astype(np.float32)
    for _ in range(WARM_STEPS):
        model.train_on_batch(images, labels)
    print("warm", flush=True)
    while sys.stdin.readline():
        start = time.perf_counter()
        for _ in range(steps):
            model.train_on_batch(images, labels)
        print(steps * batch_size / (time.perf_counter() - start), flush=True)


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line per process count, then all of them as one JSON object."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] == ["--worker"]:
        work(arguments[1], *map(int, arguments[2:]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--backbone", choices=BACKBONES, default="MobileNet")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args(arguments)
    sizes = (options.steps, options.image_size, options.batch_size)
    totals = {}
    for rates in measure(options.processes, options.backbone, *sizes):
        totals[str(len(rates))] = sum(rates)
        each = ", ".join(f"{rate:.1f}" for rate in rates)
        print(f"{len(rates)} process(es): {sum(rates):.1f} images/s, each {each}")
    print(json.dumps({"images_per_second": totals}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
