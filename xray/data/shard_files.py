"""The two file formats of staged shards: Parquet, and TFRecord for tf.data users.

Both hold an image's file name, ETag, patient, findings and raw pixels. In Parquet every
finding is a column and `pixels` is fixed-width binary, uncompressed: pandas, Spark and
pyarrow read it, and so does our reader, without copying it apart.
"""

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xray.config.schemas import RESERVED

if TYPE_CHECKING:
    import pandas as pd


class ShardFormat(NamedTuple):
    """How shards are written and read.

    Attributes:
        encode: the file's bytes, from a table with `image`, `etag`, `patient` and the
            findings, and pixels uint8 (n, S, S, 1).
        decode: those pixels, from the bytes and S; ValueError when damaged.
    """

    encode: Callable[["pd.DataFrame", np.ndarray], bytes]
    decode: Callable[[bytes, int], np.ndarray]


def finding_columns(table: "pd.DataFrame") -> list[str]:
    """Its findings, which no other column is called like."""
    return [name for name in table if name not in RESERVED]


def encode_parquet(table: "pd.DataFrame", pixels: np.ndarray) -> bytes:
    """A Parquet file of the images; see `ShardFormat`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: pa.array(table[name]) for name in ("image", "etag", "patient")}
    findings = finding_columns(table)
    columns |= {name: pa.array(table[name], pa.uint8()) for name in findings}
    width = pixels.shape[1] * pixels.shape[2]
    columns["pixels"] = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(width), len(pixels), [None, pa.py_buffer(pixels)]
    )
    file = io.BytesIO()
    pq.write_table(
        pa.table(columns),
        file,
        compression="none",
        use_dictionary=False,
        write_statistics=False,  # least and largest would repeat whole images
    )
    return file.getvalue()


def decode_parquet(content: bytes, size: int) -> np.ndarray:
    """Pixels of a Parquet shard: uint8 (n, size, size, 1).

    Raises:
        ValueError: not such a file, cut short, or of another size.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(content), columns=["pixels"])
    except (OSError, KeyError) as error:
        raise ValueError(" ".join(str(error).split())) from None
    if table.schema.field("pixels").type != pa.binary(size * size):
        raise ValueError(f"its images are not {size}x{size}")
    column = table.column("pixels").combine_chunks()
    pixels = np.frombuffer(column.buffers()[1], np.uint8, len(column) * size * size)
    return pixels.reshape(-1, size, size, 1)


def encode_tfrecord(table: "pd.DataFrame", pixels: np.ndarray) -> bytes:
    """A TFRecord file of tf.train.Example; see `ShardFormat`.

    Features: `image`, `etag`, `patient` and `pixels` (bytes), `labels` (int64, as many
    as there are findings).
    """
    import tensorflow as tf

    def feature(value: str | bytes) -> "tf.train.Feature":
        value = value.encode() if isinstance(value, str) else value
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    labels = table[finding_columns(table)].to_numpy()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "shard")
        with tf.io.TFRecordWriter(str(path)) as writer:
            for number, row in enumerate(table.itertuples()):
                features = {
                    "image": feature(row.image),
                    "etag": feature(row.etag),
                    "patient": feature(row.patient),
                    "pixels": feature(pixels[number].tobytes()),
                    "labels": tf.train.Feature(
                        int64_list=tf.train.Int64List(value=labels[number])
                    ),
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())
        return path.read_bytes()


def decode_tfrecord(content: bytes, size: int) -> np.ndarray:
    """Pixels of a TFRecord shard: uint8 (n, size, size, 1).

    Raises:
        ValueError: not such a file, cut short, or of another size.
    """
    import tensorflow as tf

    wanted = {"pixels": tf.io.FixedLenFeature([], tf.string)}
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        try:
            records = tf.data.TFRecordDataset(file.name)
            examples = list(records.as_numpy_iterator())
            images = tf.io.parse_example(examples, wanted)["pixels"].numpy()
        except tf.errors.OpError as error:
            raise ValueError(error.message) from None
    if any(len(image) != size * size for image in images):
        raise ValueError(f"its images are not {size}x{size}")
    pixels = np.frombuffer(b"".join(images), np.uint8)
    return pixels.reshape(-1, size, size, 1)


FORMATS = {
    "parquet": ShardFormat(encode_parquet, decode_parquet),
    "tfrecord": ShardFormat(encode_tfrecord, decode_tfrecord),
}
