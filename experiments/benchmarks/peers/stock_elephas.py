"""Elephas as it comes, used as its own tutorial shows: the benchmark's baseline.

`to_simple_rdd` on the training images and `SparkModel(model).fit`, with single-threaded
workers and nothing of what this project does about Elephas (xray/spark/README.md,
"Sharp edges"). The images, the model and the optimizer are those of the configuration,
so that it does the same work as a runner.

Two things are in this baseline's favour. The images are in memory, decoded, when the
clock starts, where a runner reads them from S3 and decodes them on the clock; and its
rows are grey uint8, a twelfth of the float32 RGB that such code usually sends.

    python experiments/benchmarks/peers/stock_elephas.py --config my.yaml \\
        --set runner.workers=2

The last line is one JSON object: `images`, `fit_seconds` of `SparkModel.fit` alone, and
`whole_seconds` from the start of this program to the end of `fit` (Python, TensorFlow's
import, model, Spark context, rows and `fit`) less the time it took to have the images
in memory. A runner's figure to set beside it is `elapsed_seconds` of its last epoch.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from xray.common.command import command
from xray.common.errors import UserError
from xray.common.java import find_java_home
from xray.config.file import load_config
from xray.config.options import add_config_options
from xray.config.run import RunConfig
from xray.records.timing import program_age_seconds

if TYPE_CHECKING:
    from pyspark import SparkContext

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Train and print one JSON object; 2 where the settings cannot be used."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_options(parser)
    options = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    print(json.dumps(measure(load_config(options.config, options.set))))
    return 0


def measure(config: RunConfig) -> dict[str, float]:
    """What the last line says; see the module.

    Raises:
        UserError: the data cannot be used, or a partition was too small to train.
    """
    from xray.model.network import build_model

    start = time.perf_counter()
    images, labels = load_training_images(config)
    load_seconds = time.perf_counter() - start
    model = build_model(config)
    context = _start_spark(config.runner.workers or 1)
    try:
        from elephas.spark_model import SparkModel
        from elephas.utils import to_simple_rdd

        spark_model = SparkModel(model)
        rows = to_simple_rdd(context, images, labels)
        start, training = time.perf_counter(), config.training
        spark_model.fit(
            rows, epochs=training.epochs, batch_size=training.batch_size, verbose=0
        )
        fit_seconds = time.perf_counter() - start
        whole_seconds = program_age_seconds(under_spark_submit=False) - load_seconds
    finally:
        context.stop()
    if None in spark_model.training_histories:
        raise UserError(
            f"Elephas trained nothing on a partition: {len(images)} images are too "
            f"few for training.batch_size={training.batch_size}. Take more images."
        )
    return {
        "images": len(images),
        "fit_seconds": fit_seconds,
        "whole_seconds": whole_seconds,
    }


def load_training_images(config: RunConfig) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N, H, W, 1) and float32 (N, 15) of the configuration's training set."""
    from xray.data.dataset import find_dataset
    from xray.data.images import decode_image
    from xray.storage.credentials import data_access
    from xray.storage.s3 import Storage

    access = data_access(config.data)
    storage = Storage(access, config.data.read_threads)
    train = find_dataset(config.data, storage).train

    def read(uri: str) -> np.ndarray:
        return decode_image(storage.read(uri), config.data.image_size)

    with ThreadPoolExecutor(config.data.read_threads) as pool:
        images = np.stack(list(pool.map(read, train.uris)))
    return images, train.labels.astype(np.float32)


def _start_spark(workers: int) -> "SparkContext":
    from pyspark import SparkConf, SparkContext

    os.environ["JAVA_HOME"] = find_java_home()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    conf = SparkConf().setAppName("stock-elephas").setMaster(f"local[{workers}]")
    conf.set("spark.ui.showConsoleProgress", "false")
    for name, value in ONE_THREAD.items():
        conf.setExecutorEnv(name, value)
    context = SparkContext(conf=conf)
    context.setLogLevel("OFF")
    return context


if __name__ == "__main__":
    sys.exit(main())
