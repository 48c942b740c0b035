"""A saved model as a SQL function: SELECT xray_predict(content) FROM images."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd

from xray.inference.scoring import score_contents
from xray.model.archive import pack
from xray.model.saved import load_model
from xray.spark.broadcast import SharedNetwork, network_of
from xray.spark.cluster import equip_workers
from xray.spark.ml.frames import limit_batches
from xray.storage.credentials import S3Access

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FILES_AT_ONCE = 64  # in an Arrow batch; X-rays have up to some MiB each


def register(
    session: "SparkSession",
    model: str,
    access: S3Access | None = None,
    name: str = "xray_predict",
) -> None:
    """Give a session the SQL function `name`, of a column with files' contents.

    It takes binary PNG, JPEG or DICOM files, such as `spark.read.format("binaryFile")`
    gives, and returns a struct with a float for each finding, by its name, and
    `status`: "ok", or why there are no probabilities and the floats are null. Every
    Python worker loads the model once.

    Args:
        session: whose executors will score.
        model: path or s3:// address of a .keras file.
        access: to S3; None asks boto3's own chain.
        name: of the function.

    Raises:
        UserError: the model cannot be had.
    """
    from pyspark.sql import types
    from pyspark.sql.functions import pandas_udf

    network, info = load_model(model, access)
    context = session.sparkContext
    equip_workers(context)
    limit_batches(session, FILES_AT_ONCE)
    findings = info.findings
    shared = SharedNetwork(info.model_id, context.broadcast(pack(network)))

    def predict(batches: Iterator[pd.Series]) -> Iterator[pd.DataFrame]:
        for contents in batches:
            yield score_contents(network_of(shared), contents, findings)

    fields = [types.StructField(finding, types.FloatType()) for finding in findings]
    fields.append(types.StructField("status", types.StringType()))
    session.udf.register(name, pandas_udf(predict, types.StructType(fields)))
