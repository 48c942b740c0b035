"""A Keras network in Spark: as bytes, over a column in Arrow batches, and on disk."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from xray.common.errors import UserError
from xray.config.run import RunConfig
from xray.model.frozen import predict_frozen
from xray.model.network import build_model
from xray.spark.broadcast import SharedNetwork, network_of
from xray.spark.cluster import equip_workers
from xray.spark.ml.frames import check_column
from xray.storage.credentials import data_access
from xray.storage.s3 import Storage

if TYPE_CHECKING:
    import keras
    from pyspark.sql import DataFrame, SparkSession

logger = logging.getLogger(__name__)

BATCH = 256  # rows that the network is given at once
CHUNK_BYTES = 2**24  # of a stored network: Spark's tasks carry 128 MiB at most


def build_backbone(config: RunConfig) -> "keras.Model":
    """The run's network up to its pooling: uint8 (N, H, W, 1) to float32 (N, D).

    Raises:
        UserError: the weights cannot be had or do not fit.
    """
    import keras

    if config.model.weights is None:
        logger.warning("model.weights=none: the features are those of an untrained net")
    storage = Storage(
        data_access(config.data),
        config.data.read_threads,
    )
    model = build_model(config, storage)
    pooled = model.get_layer(config.model.pooling).output
    return keras.Model(model.input, pooled, name="backbone")


def add_outputs(
    frame: "DataFrame", archive: bytes, pixels: str, outputs: str, as_vector: bool
) -> "DataFrame":
    """`frame` with the network's outputs for each image, null where pixels are.

    Args:
        frame: with the pixels.
        archive: of `xray.model.archive.pack`.
        pixels: binary column, as in `image_frame`.
        outputs: column to add.
        as_vector: whether it is a vector, or an array<float>.

    Raises:
        UserError: `pixels` is missing or of another type, or `outputs` is there.
    """
    from pyspark.ml.functions import array_to_vector, predict_batch_udf
    from pyspark.sql.functions import when
    from pyspark.sql.types import ArrayType, FloatType

    check_column(frame, pixels, "binary")
    if outputs in frame.columns:
        raise UserError(
            f"The DataFrame has a column {outputs!r} already. Choose another outputCol."
        )
    context = frame.sparkSession.sparkContext
    equip_workers(context)
    digest = hashlib.sha256(archive).hexdigest()
    shared = SharedNetwork(digest, context.broadcast(archive))
    infer = predict_batch_udf(
        partial(make_predictor, shared),
        return_type=ArrayType(FloatType()),
        batch_size=BATCH,
    )
    values = infer(frame[pixels])
    values = array_to_vector(values) if as_vector else values
    return frame.withColumn(outputs, when(frame[pixels].isNotNull(), values))


def make_predictor(shared: SharedNetwork) -> Callable[[np.ndarray], np.ndarray]:
    """Runs on an executor, once in a Python worker for each transformed frame."""
    model = network_of(shared)

    def predict_batch(contents: np.ndarray) -> np.ndarray:
        return predict_contents(model, contents)

    return predict_batch


def predict_contents(
    model: "keras.Model", contents: Sequence[bytes | None]
) -> np.ndarray:
    """Outputs of the network, float32 (N, D), NaN where there are no pixels.

    Raises:
        ValueError: an image is not of the network's size.
    """
    size = model.input_shape[1]
    pixels = np.zeros((len(contents), size, size, 1), np.uint8)
    for number, content in enumerate(contents):
        if content is None:
            continue
        if len(content) != size * size:
            raise ValueError(
                f"The network takes {size}x{size} pixels of a byte each. Got an image "
                f"of {len(content)} bytes; set data.image_size={size}."
            )
        pixels[number] = np.frombuffer(content, np.uint8).reshape(size, size, 1)
    outputs = np.array(predict_frozen(model, pixels), np.float32)
    outputs[[content is None for content in contents]] = np.nan
    return outputs


def write_network(session: "SparkSession", archive: bytes, path: str) -> None:
    """Store a network as Parquet wherever Spark can write: a disk, HDFS, S3."""
    starts = range(0, len(archive), CHUNK_BYTES)
    chunks = [
        (number, bytearray(archive[start : start + CHUNK_BYTES]))
        for number, start in enumerate(starts)
    ]
    rows = session.sparkContext.parallelize(chunks, len(chunks))
    session.createDataFrame(rows, "part int, content binary").write.parquet(path)


def read_network(session: "SparkSession", path: str) -> bytes:
    """What `write_network` stored at `path`."""
    chunks = session.read.parquet(path).orderBy("part").collect()
    return b"".join(bytes(chunk.content) for chunk in chunks)
