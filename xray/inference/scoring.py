"""Probabilities of images, batch by batch: in a process, on executors and in SQL.

The next images are read and decoded by threads while the model computes, across the
borders of parts. Every batch has the same size, filled up where images are lacking: so
the model is traced once, and a part that is scored again gets the same rows.
"""

import io
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from xray.data.appearance import Appearance
from xray.data.images import decode_picture, silence_decoders
from xray.data.pipeline import draw_ahead
from xray.data.reader import ImageReader
from xray.model.frozen import predict_frozen
from xray.model.predict import SCORE_BATCH
from xray.model.sidecar import ModelInfo

if TYPE_CHECKING:
    import keras

OK = "ok"
NO_NUMBERS = "the model gives no probabilities"


@dataclass(frozen=True)
class ImagePart:
    """Images that are scored together.

    Attributes:
        name: of the file that takes their rows; equal names have equal rows.
        images: `key`, `uri` and `etag`, a row an image.
    """

    name: str
    images: pd.DataFrame

    def __len__(self) -> int:
        """Images."""
        return len(self.images)


class Pace(NamedTuple):
    """How fast a part was scored.

    Attributes:
        worker: the process, known to this job alone.
        ends: when each batch was ready, in seconds on its machine's clock.
        images: that were scored in each.
        wait_seconds: for which the model waited for images.
    """

    worker: tuple[str, int]
    ends: list[float]
    images: list[int]
    wait_seconds: float


class Batch(NamedTuple):
    """Images of one part, read.

    Attributes:
        rows: of the part.
        pixels: uint8 (S, S, 1) each.
        bad: row to reason of the unreadable ones among them.
        ends_part: whether it is the part's last.
    """

    rows: list[int]
    pixels: list[np.ndarray]
    bad: dict[int, str]
    ends_part: bool


class Scored:
    """Probabilities and status of `count` images, filled in batch by batch.

    Args:
        count: images.
        findings: of the model.
        appearance: of the pictures that it was trained on.

    Attributes:
        probabilities: float32 (count, findings), NaN where there are none.
        unlike: float32 (count,), as `Appearance.unlike`; NaN where it is not known.
        status: (count,), "ok" or why an image has none, in a few words.
    """

    def __init__(
        self, count: int, findings: Sequence[str], appearance: Appearance | None = None
    ) -> None:
        self._findings, self._appearance = findings, appearance
        self.unlike = np.full(count, np.nan, np.float32)
        self.probabilities = np.full((count, len(findings)), np.nan, np.float32)
        self.status = np.full(count, OK, dtype=object)

    def add(self, model: "keras.Model", batch: Batch) -> None:
        """Score the images of a batch."""
        for row, reason in batch.bad.items():
            self.status[row] = reason
        if batch.rows:
            scores = score_batch(model, batch.pixels)
            finite = np.isfinite(scores).all(axis=1)
            rows = np.array(batch.rows)
            self.probabilities[rows[finite]] = scores[finite]
            self.status[rows[~finite]] = NO_NUMBERS
            if self._appearance:
                self.unlike[rows] = self._appearance.unlike(batch.pixels)

    def columns(self) -> dict[str, np.ndarray]:
        """A column a finding, and `status`."""
        findings = zip(self._findings, self.probabilities.T, strict=True)
        return {**dict(findings), "status": self.status}


def score_batch(model: "keras.Model", pixels: Sequence[np.ndarray]) -> np.ndarray:
    """Probabilities of at most `SCORE_BATCH` images, float32 (n, findings).

    Args:
        model: uint8 (N, S, S, 1) to (N, findings).
        pixels: uint8 (S, S, 1) of each image.
    """
    return predict_frozen(model, np.stack(pixels))


def score_contents(
    model: "keras.Model", contents: Iterable[bytes | None], findings: Sequence[str]
) -> pd.DataFrame:
    """A column a finding and `status`, a row for each file's content.

    Args:
        model: uint8 (N, S, S, 1) to (N, findings).
        contents: PNG, JPEG or DICOM files; None counts as empty.
        findings: of the model.
    """
    silence_decoders()
    size, contents = model.input_shape[1], list(contents)
    scored = Scored(len(contents), findings)

    def outcomes() -> Iterator[tuple[int, np.ndarray | str]]:
        for row, content in enumerate(contents):
            try:
                yield row, decode_picture(bytes(content or b""), size)
            except ValueError as error:
                yield row, str(error)

    for batch in draw_ahead(_batches(outcomes())):
        scored.add(model, batch)
    return pd.DataFrame(scored.columns())


def score_parts(
    load: Callable[[], "keras.Model"],
    info: ModelInfo,
    reader: ImageReader,
    parts: Sequence[ImagePart],
    progress: Callable[[int], object] = lambda count: None,
) -> Iterator[tuple[bytes, Pace]]:
    """The Parquet file of each part in turn, a row an image, and how fast it was.

    Args:
        load: gives the model, uint8 (N, S, S, 1) to (N, findings), once there are
            images.
        info: of the model.
        reader: of the images.
        parts: to be scored.
        progress: called with the number of images of each batch.

    Raises:
        UserError: S3 itself or a staged shard fails.
    """
    silence_decoders()
    waits: list[float] = []
    read = (
        _batches(reader.outcomes(p.images["uri"].tolist(), p.images["etag"].tolist()))
        for p in parts
    )
    stream = draw_ahead(chain.from_iterable(read), waits.append)
    worker = (socket.gethostname(), os.getpid())
    for part in parts:
        scored = Scored(len(part), info.findings, info.appearance)
        pace = Pace(worker, [], [], 0.0)
        for batch in stream:
            scored.add(load(), batch)
            pace.ends.append(time.monotonic())
            pace.images.append(len(batch.rows))
            progress(len(batch.rows) + len(batch.bad))
            if batch.ends_part:
                break
        yield (
            _encode(part, scored, info.model_id),
            pace._replace(wait_seconds=sum(waits)),
        )
        waits.clear()


def _batches(outcomes: Iterable[tuple[int, np.ndarray | str]]) -> Iterator[Batch]:
    rows: list[int] = []
    pixels: list[np.ndarray] = []
    bad: dict[int, str] = {}
    for row, outcome in outcomes:
        if isinstance(outcome, str):
            bad[row] = outcome
            continue
        if len(rows) == SCORE_BATCH:
            yield Batch(rows, pixels, bad, False)
            rows, pixels, bad = [], [], {}
        rows.append(row)
        pixels.append(outcome)
    yield Batch(rows, pixels, bad, True)


def _encode(part: ImagePart, scored: Scored, model_id: str) -> bytes:
    columns = scored.columns()
    status = columns.pop("status")
    table = pa.table(
        {
            "key": pa.array(part.images["key"], pa.string()),
            **{
                name: pa.array(values, pa.float32(), from_pandas=True)
                for name, values in columns.items()
            },
            "unlike": pa.array(scored.unlike, pa.float32(), from_pandas=True),
            "model_id": pa.array([model_id] * len(part), pa.string()),
            "status": pa.array(status, pa.string()),
        }
    )
    return encode_table(table)


def encode_table(table: pa.Table) -> bytes:
    """A Parquet file."""
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()
