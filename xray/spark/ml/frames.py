"""Images as a Spark DataFrame: addresses, labels and split; executors read pixels."""

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from xray.common.errors import UserError
from xray.config.run import RunConfig
from xray.data.dataset import Dataset, Subset, check_bad_images, find_dataset
from xray.data.labels import FINDINGS
from xray.data.partition import spread
from xray.data.reader import ImageReader
from xray.spark.cluster import equip_workers
from xray.storage.credentials import data_access
from xray.storage.s3 import Storage

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

logger = logging.getLogger(__name__)

SCHEMA = (
    "image string, patient string, subset string, uri string, etag string, "
    "labels array<float>"
)
LABEL_TYPES = tuple(
    f"array<{kind}>" for kind in ("float", "double", "int", "bigint", "tinyint")
)
ARROW_BATCH_BYTES = 2**26  # of pixels, held by a Python worker a few times over
BATCH_SETTING = "spark.sql.execution.arrow.maxRecordsPerBatch"


def image_frame(
    session: "SparkSession", config: RunConfig, dataset: Dataset | None = None
) -> "DataFrame":
    """A row an image of the run, with its labels and its pixels.

    Columns: `image` (file name), `patient`, `subset` (train, validation or test, split
    by patient), `uri`, `etag`, `labels` (array<float>, 15 values of 0 or 1 in the order
    of `labels.FINDINGS`) and `pixels` (binary, data.image_size squared grey bytes; null
    where an image is unreadable, and the executor's log says why). The driver holds all
    but the pixels. Executors read and decode those whenever a job asks for them: filter
    by the other columns first, and persist what comes of the pixels.

    Args:
        session: whose executors will read.
        config: of the run.
        dataset: its images, where they have been found already.

    Raises:
        UserError: the bucket or the label file cannot be used.
    """
    refuse_others(config)
    access = data_access(config.data)
    if dataset is None:
        dataset = find_dataset(config.data, Storage(access, config.data.read_threads))
    equip_workers(session.sparkContext)
    limit_batches(session, ARROW_BATCH_BYTES // config.data.image_size**2)
    frame = session.createDataFrame(_rows(dataset), SCHEMA, verifySchema=False)
    reader = ImageReader.of(config.data, access)
    return frame.withColumn("pixels", _pixel_reader(reader)("uri", "etag"))


def refuse_others(config: RunConfig) -> None:
    """Refuse findings other than NIH's, which Spark ML's stages are made for.

    Raises:
        UserError: there are others.
    """
    if config.data.findings != FINDINGS:
        raise UserError(
            "Spark ML reads NIH's findings alone. Got data.label_schema="
            f"{config.data.label_schema}. Train it with a runner."
        )


def limit_batches(session: "SparkSession", images: int) -> None:
    """Let no Arrow batch of the session hold more than so many images, and one."""
    images = max(1, images)
    now = int(session.conf.get(BATCH_SETTING))
    if now <= 0 or now > images:  # 0 is without limit
        session.conf.set(BATCH_SETTING, images)


def _rows(dataset: Dataset) -> list[tuple]:
    """Spread by name: a partition is a random sample, and reads few staged shards."""
    rows = []
    for name, subset in vars(dataset).items():
        if isinstance(subset, Subset):
            columns = (subset.names, subset.patients, subset.uris, subset.etags)
            image, patient, uri, etag = (column.tolist() for column in columns)
            labels = subset.labels.astype(float).tolist()
            names = [name] * len(subset)
            rows += zip(image, patient, names, uri, etag, labels, strict=True)
    return [rows[place] for place in np.argsort(spread([row[0] for row in rows]))]


def _pixel_reader(reader: ImageReader) -> "object":
    """A pandas UDF (uri, etag) -> pixels; the reader travels pickled, shown nowhere."""
    from pyspark.sql.functions import pandas_udf

    def pixels(
        batches: Iterator[tuple[pd.Series, pd.Series]],
    ) -> Iterator[pd.Series]:
        for uris, etags in batches:
            yield read_pixels(reader, uris.tolist(), etags.tolist())

    return pandas_udf(pixels, "binary")


def read_pixels(
    reader: ImageReader, uris: Sequence[str], etags: Sequence[str]
) -> pd.Series:
    """Runs on an executor: the bytes of each image's pixels, None where unreadable."""
    contents: list[bytes | None] = [None] * len(uris)
    for number, outcome in reader.outcomes(uris, etags):
        if isinstance(outcome, str):
            logger.warning("%s cannot be read: %s", uris[number], outcome)
        else:
            contents[number] = outcome.tobytes()
    return pd.Series(contents, dtype=object)


def with_patient_folds(
    frame: "DataFrame", folds: int, seed: int, patient: str = "patient"
) -> "DataFrame":
    """The rows with a column `fold`, from 0 on, the same for all of a patient's.

    For `CrossValidator(foldCol="fold", numFolds=folds)`, whose own folds are of rows: a
    patient's images on both sides make a model look better than it is.

    Args:
        frame: of the user; it keeps its columns and its rows.
        folds: how many, each with as many patients, or one fewer.
        seed: decides who is in which.
        patient: column of patient ids.

    Raises:
        UserError: there is no such column, or there are fewer patients than folds.
    """
    from pyspark.sql.functions import broadcast

    check_column(frame, patient, "string")
    people = sorted(row[0] for row in frame.select(patient).distinct().collect())
    if not 2 <= folds <= len(people):
        raise UserError(
            f"folds must be from 2 to the {len(people)} patients. Got {folds}."
        )
    order = np.random.default_rng(seed).permutation(len(people))
    rows = [(people[who], place % folds) for place, who in enumerate(order)]
    schema = f"`{patient}` string, fold int"
    chosen = frame.sparkSession.createDataFrame(rows, schema)
    return frame.join(broadcast(chosen), patient)


def drop_unreadable(
    frame: "DataFrame", column: str, max_fraction: float
) -> "DataFrame":
    """The rows whose `column` is not null.

    Args:
        frame: of `image_frame`, persisted: it is computed twice.
        column: pixels, or what a transformer made of them.
        max_fraction: share of the rows that may be dropped (data.max_bad_fraction).

    Raises:
        UserError: more than that are null; it names the first five.
    """
    bad = frame.where(frame[column].isNull()).select("image").collect()
    reasons = {row.image: "see the executors' logs" for row in bad}
    check_bad_images(reasons, frame.count(), max_fraction)
    return frame.where(frame[column].isNotNull())


def check_column(frame: "DataFrame", name: str, *types: str) -> None:
    """Refuse a frame without a column of one of the types.

    Args:
        frame: of the user.
        name: of the column.
        types: as Spark SQL writes them.

    Raises:
        UserError: no such column, or another type.
    """
    if name not in frame.columns:
        raise UserError(
            f"The DataFrame has no column {name!r}. It has {', '.join(frame.columns)}. "
            "Name the right one, or make it with xray.spark.ml.frames.image_frame."
        )
    found = frame.schema[name].dataType.simpleString()
    if found not in types:
        raise UserError(
            f"Column {name!r} must be of type {' or '.join(types)}. Got {found}. Cast "
            "it or name another."
        )


def collect_subset(
    frame: "DataFrame", image: str, patient: str, uri: str, etag: str, labels: str
) -> Subset:
    """Addresses and labels of every row, in the order of their names; no pixels.

    Args:
        frame: to train on.
        image: column of file names.
        patient: column of patient ids, by which a validation set is split off.
        uri: column of addresses as in `Subset.uris`.
        etag: column of ETags.
        labels: column of 15 values, 0 or 1.

    Raises:
        UserError: a column is missing or of another type, a value is null, or a row's
            labels are not 15 values of 0 or 1.
    """
    columns = (image, patient, uri, etag, labels)
    for name in columns[:-1]:
        check_column(frame, name, "string")
    check_column(frame, labels, *LABEL_TYPES)
    rows = sorted(frame.select(*columns).collect(), key=lambda row: str(row[0]))
    for row in rows:
        missing = [name for name in columns if row[name] is None]
        if missing:
            raise UserError(
                f"Column {missing[0]!r} is null for image {row[image]!r}. Leave such "
                "rows out."
            )
        _check_labels(row[labels], labels, row[image])
    return Subset(
        names=np.array([row[image] for row in rows], dtype=str),
        uris=np.array([row[uri] for row in rows], dtype=object),
        etags=np.array([row[etag] for row in rows], dtype=str),
        patients=np.array([row[patient] for row in rows], dtype=str),
        labels=np.array([row[labels] for row in rows], np.uint8).reshape(
            -1, len(FINDINGS)
        ),
    )


def _check_labels(values: Sequence[float | None], column: str, image: str) -> None:
    if len(values) != len(FINDINGS):
        raise UserError(
            f"Column {column!r} must hold {len(FINDINGS)} labels a row, in the order "
            f"of xray.data.labels.FINDINGS. Got {len(values)} for image {image!r}."
        )
    wrong = [value for value in values if value not in (0, 1)]
    if wrong:
        raise UserError(
            f"Labels must be 0 or 1. Got {wrong[0]} in column {column!r} for image "
            f"{image!r}."
        )
