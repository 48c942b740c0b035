"""A job that scores an archive: parts that are written once, then one table of all.

An image's part follows from its key (`partition.spread`), so that parts are runs of
staged shards too, and the name of a part's file from the model and the images in it. So
a second run finds what it would write; a new or changed image costs its part alone.

Only the driving process writes, when a part is scored: whatever Spark tries again, each
part is there once, whole.
"""

import hashlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from xray.common.errors import UserError
from xray.data.partition import cut_runs
from xray.data.reader import ImageReader
from xray.data.staging import SHARD_BYTES
from xray.inference.scoring import ImagePart, Pace, encode_table, score_parts
from xray.model.sidecar import ModelInfo
from xray.records.temperature import scale
from xray.spark.broadcast import SharedNetwork, network_of
from xray.spark.cluster import Cluster
from xray.storage.place import Place

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)

FORMAT_VERSION = 2
PART_IMAGES = 1024
LEAST_PARTS = 8  # of few images, which several workers share nevertheless
LEAST_IMAGES = 64
TRIES = 2  # of a part on Spark, each of as many attempts as Spark makes itself
TABLES = ("predictions.parquet", "predictions.csv")


@dataclass(frozen=True)
class Job:
    """What there is to do, before it is done.

    Attributes:
        info: of the model.
        reader: of the images.
        out: where parts and tables go.
        parts: all of them.
        missing: those to be scored.
        stale: names of parts that belong to images as they no longer are.
        temperature: of the tables' probabilities; the parts hold them as the model
            gives them, which 1 leaves alone.
        precision: of the model's convolutions.
    """

    info: ModelInfo
    reader: ImageReader
    out: Place
    parts: Sequence[ImagePart]
    missing: Sequence[ImagePart]
    stale: Sequence[str]
    temperature: float = 1.0
    precision: str = "float32"

    def finish(self) -> pd.DataFrame:
        """Write the tables once every part is there, and remove stale parts.

        Returns:
            A row an image, sorted by key.

        Raises:
            UserError: a part is damaged or gone, or disk or S3 refuses.
        """
        with ThreadPoolExecutor(self.reader.threads) as pool:
            tables = list(pool.map(self._read, self.parts))
        table = pa.concat_tables(tables).sort_by("key").combine_chunks()
        rows = table.to_pandas()
        self._check(rows["key"])
        if self.temperature != 1:
            names = list(self.info.findings)
            scaled = scale(rows[names].to_numpy(), self.temperature)
            rows[names] = scaled.astype(np.float32)
            table = pa.Table.from_pandas(rows, table.schema, preserve_index=False)
        csv = rows.to_csv(index=False).encode()
        for name, content in zip(TABLES, (encode_table(table), csv), strict=True):
            self.out.write(name, content)
        try:
            for name in self.stale:
                self.out.delete(name)
        except UserError as error:
            logger.warning("%d old parts remain: %s", len(self.stale), error)
        return rows

    def _read(self, part: ImagePart) -> pa.Table:
        try:
            return pq.read_table(io.BytesIO(self.out.read(part.name)))
        except (pa.ArrowException, OSError) as error:
            raise UserError(
                f"{self.out.at(part.name)} is damaged ({type(error).__name__}). Remove "
                "it and run again: it alone is computed anew."
            ) from None

    def _check(self, keys: pd.Series) -> None:
        expected = pd.concat([part.images["key"] for part in self.parts])
        if keys.tolist() != sorted(expected):
            raise UserError(
                f"The parts in {self.out.root} hold {len(keys)} rows that are not one "
                f"for each of the {len(expected)} images. Remove its folder parts/ and "
                "run again."
            )


def plan_job(
    info: ModelInfo,
    images: pd.DataFrame,
    reader: ImageReader,
    out: Place,
    calibrated: bool = False,
    precision: str = "float32",
) -> Job:
    """What has to be scored, and what stands in `out` already.

    Args:
        info: of the model.
        images: as in `Inputs.images`.
        reader: of them.
        out: where everything goes.
        calibrated: whether the tables' probabilities are at the model's temperature.
        precision: of the model's convolutions.

    Raises:
        UserError: the model has no temperature, `out` holds predictions of another
            model or in another precision, or S3 refuses.
    """
    if calibrated and not info.temperature:
        raise UserError(
            "--calibrated needs a model with a temperature, which a run with "
            "data.validation_fraction fits for the weights that it scores. Got "
            f"model {info.model_id} without one. Leave it out."
        )
    model = info.model_id + ("" if precision == "float32" else f" in {precision}")
    folder = f"parts/model-{model.replace(' ', '-')}"
    there = {name for name in out.names() if name.startswith("parts/")}
    others = sorted(name for name in there if not name.startswith(f"{folder}/"))
    if others:
        other = others[0].split("/")[1].removeprefix("model-").replace("-", " ")
        raise UserError(
            f"--out {out.root} holds predictions of model {other}. Got model "
            f"{model}. Choose another place, or remove that one."
        )
    parts = cut_parts(images, info.image_size, folder)
    missing = [part for part in parts if part.name not in there]
    stale = sorted(there - {part.name for part in parts})
    temperature = info.temperature if calibrated else 1.0
    return Job(info, reader, out, parts, missing, stale, temperature, precision)


def cut_parts(images: pd.DataFrame, size: int, folder: str) -> list[ImagePart]:
    """The images in parts of about `PART_IMAGES`, or of a staged shard if that is more.

    Few images make `LEAST_PARTS` smaller ones, of about `LEAST_IMAGES` at least.

    Args:
        images: as in `Inputs.images`.
        size: height and width in pixels.
        folder: of the parts' files.
    """
    wanted = max(PART_IMAGES, SHARD_BYTES // size**2)
    wanted = max(LEAST_IMAGES, min(wanted, len(images) / LEAST_PARTS))
    parts = []
    for number, rows in cut_runs(images["key"], len(images) / wanted):
        part = images.iloc[rows]
        content = part[["key", "etag"]].to_csv(index=False)
        digest = hashlib.sha256(f"{FORMAT_VERSION} {content}".encode()).hexdigest()
        name = f"{folder}/{number:05d}-{digest[:16]}.parquet"
        parts.append(ImagePart(name, part))
    return parts


def run_here(
    job: Job, model: "keras.Model", progress: Callable[[int], object]
) -> list[Pace]:
    """Score and write the missing parts in this process.

    Raises:
        UserError: S3 or a staged shard fails, or a part cannot be written.
    """
    paces = []
    scored = score_parts(lambda: model, job.info, job.reader, job.missing, progress)
    with closing(scored):
        for part, (content, pace) in zip(job.missing, scored, strict=True):
            job.out.write(part.name, content)
            paces.append(pace)
    return paces


def run_on_spark(
    job: Job, archive: bytes, cluster: Cluster, progress: Callable[[int], object]
) -> list[Pace]:
    """Score the missing parts on a cluster, a task each, and write them as they come.

    Args:
        job: to be done.
        archive: the model, of `archive.pack`.
        cluster: whose Python workers load it once each.
        progress: called with the number of images of each part.

    Raises:
        UserError: S3 or a staged shard fails, or a part cannot be written.
    """
    given = (cluster.context.broadcast(archive), job.precision)
    shared = SharedNetwork(job.info.model_id, *given)
    task = partial(_score_one, shared, job.info, job.reader)
    paces = []
    pool = ThreadPoolExecutor(cluster.workers)
    try:
        waiting = {
            pool.submit(_run_task, cluster, task, part): part for part in job.missing
        }
        for future in as_completed(waiting):
            content, pace = future.result()
            part = waiting.pop(future)
            job.out.write(part.name, content)
            paces.append(pace)
            progress(len(part))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return paces


def _run_task(
    cluster: Cluster, task: Callable, part: ImagePart, tries: int = TRIES
) -> tuple[bytes, Pace]:
    """What `task` makes of `part` in a Spark job of its own, tried again if it fails.

    A job for each part, so that what is scored is safe before the last one is.
    """
    try:
        (answer,) = cluster.context.parallelize([part], 1).map(task).collect()
    except Exception:
        if tries == 1:
            raise
        return _run_task(cluster, task, part, tries - 1)
    if isinstance(answer, str):
        raise UserError(answer)
    return answer


def _score_one(
    shared: SharedNetwork,
    info: ModelInfo,
    reader: ImageReader,
    part: ImagePart,
) -> tuple[bytes, Pace] | str:
    """Runs on an executor: the part's file, or a user's error as it is."""
    try:
        load = partial(network_of, shared)
        (answer,) = score_parts(load, info, reader, [part])
    except UserError as error:  # an exception would become Java's
        return str(error)
    return answer


def steady_rate(paces: Sequence[Pace]) -> float | None:
    """Images/s of all workers together, each from the end of its first batch on.

    So neither start-up nor the wait for the last worker is in it. None where no worker
    scored two batches.
    """
    rates = list(_worker_rates(paces))
    return sum(rates) if rates else None


def _worker_rates(paces: Sequence[Pace]) -> Iterator[float]:
    for worker in {pace.worker for pace in paces}:
        batches = sorted(
            batch
            for pace in paces
            if pace.worker == worker
            for batch in zip(pace.ends, pace.images, strict=True)
            if batch[1]
        )
        if len(batches) > 1:
            seconds = batches[-1][0] - batches[0][0]
            yield sum(images for _, images in batches[1:]) / seconds
