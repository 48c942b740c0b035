"""Training of DenseNet-121 in Keras, fed as the GPU runner feeds: part of bench_gpu.py.

It prints `warm` once it has compiled and trained once. For every line on standard input
it then trains again and prints one JSON object with `images_per_second` and the share
of the time in which no batch was ready.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from xray.common.command import command
from xray.config.run import RunnerConfig
from xray.runners.devices import choose_backend, use_gpus
from xray.training.batches import Feed, training_pipeline

if TYPE_CHECKING:
    import keras

OUTPUTS = 15


def make_model(image_size: int, xla: bool | None) -> "keras.Model":
    """DenseNet-121 from grey uint8 pixels to 15 sigmoids, compiled."""
    import keras

    pixels = keras.Input((image_size, image_size, 1), dtype="uint8")
    grey = keras.layers.Rescaling(1 / 127.5, -1)(pixels)
    network = keras.applications.DenseNet121(
        input_shape=(image_size, image_size, 3),
        include_top=False,
        weights=None,
        pooling="avg",
    )
    features = network(keras.ops.tile(grey, (1, 1, 1, 3)))
    head = keras.layers.Dense(OUTPUTS, activation="sigmoid", dtype="float32")
    model = keras.Model(pixels, head(features))
    jit = "auto" if xla is None else xla
    model.compile("adam", "binary_crossentropy", jit_compile=jit)
    return model


def make_feed(image_size: int, batch_size: int, steps: int) -> Feed:
    """Noise in the host's memory, enough for so many steps."""
    rng = np.random.default_rng(0)
    shape = (steps * batch_size, image_size, image_size, 1)
    images = rng.integers(0, 256, shape, np.uint8)
    labels = rng.random((len(images), OUTPUTS)) > 0.8
    return Feed(images, labels, batch_size, seed=0)


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Compile, then train once for every line on standard input."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--backend", default="tensorflow")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--xla", action=argparse.BooleanOptionalAction)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args(arguments)
    runner = RunnerConfig(
        backend=options.backend, precision=options.precision, xla=options.xla
    )
    if options.device == "gpu":
        use_gpus(runner)
    else:
        choose_backend(runner.backend)

    import keras

    keras.config.set_dtype_policy(runner.precision)
    model = make_model(options.image_size, runner.xla)
    feed = make_feed(options.image_size, options.batch_size, options.steps)
    pipeline = training_pipeline(feed, timed=True)

    def train() -> dict[str, float]:
        start = time.perf_counter()
        model.fit(pipeline, shuffle=False, verbose=0)
        seconds = time.perf_counter() - start
        return {
            "images_per_second": len(feed.images) / seconds,
            "data_wait_fraction": feed.wait_seconds / seconds,
        }

    train()
    print("warm", flush=True)
    for _ in sys.stdin:
        print(json.dumps(train()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
