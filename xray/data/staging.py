"""Writing staged data: raw images decoded once, into shards that all runners read.

A shard's place in the data follows from the images' names (`partition.spread`) and its
own name from what it holds. So a second run finds what it would write, and a new or
changed image costs the shard it belongs to. See xray.data.staged for what stands under
the prefix.
"""

import hashlib
import io
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath

import pandas as pd
from pydantic import BaseModel

from xray.common.errors import UserError
from xray.config.run import DataConfig
from xray.data.dataset import check_bad_images, match_images
from xray.data.labels import FINDINGS
from xray.data.partition import cut_runs
from xray.data.reader import ImageReader
from xray.data.shard_files import FORMATS
from xray.data.staged import (
    FORMAT_VERSION,
    MANIFEST,
    Manifest,
    Shard,
    check_same_source,
    read_manifest,
)
from xray.records.record import utc_now
from xray.storage.credentials import S3Access
from xray.storage.place import under
from xray.storage.s3 import Storage

logger = logging.getLogger(__name__)

SHARD_BYTES = 2**23  # large enough for S3's throughput, small beside a worker's memory


@dataclass(frozen=True)
class ShardPlan:
    """A shard to be written: its name, without suffix, and a row an image."""

    name: str
    images: pd.DataFrame

    def shard_name(self, form: str) -> str:
        """Of the shard, under the prefix."""
        return f"shards/{self.name}.{form}"

    @property
    def note_name(self) -> str:
        """Of its note, which readers of all shards would stumble over beside them."""
        return f"notes/{self.name}.json"


class ShardNote(BaseModel):
    """What became of a shard; where there is one, the shard is complete."""

    shard: Shard
    unreadable: dict[str, str]
    """Image to reason."""


@dataclass(frozen=True)
class Staging:
    """A job of staging: what there is to do, before it is done.

    Attributes:
        data: images, labels, size and prefix.
        form: parquet or tfrecord.
        reader: of the raw images.
        listed: images in the bucket.
        plans: every shard.
        missing: those to be written.
        before: the manifest that will be replaced.
    """

    data: DataConfig
    form: str
    reader: ImageReader
    listed: int
    plans: Sequence[ShardPlan]
    missing: Sequence[ShardPlan]
    before: Manifest | None

    def write(self, plan: ShardPlan) -> int:
        """Write one shard; the number of its images, unreadable ones too."""
        return write_shard(self.reader, self.data.staged, self.form, plan)

    def finish(self) -> Manifest:
        """Write index and manifest once every shard is there, and remove old files.

        Raises:
            UserError: too many images are unreadable, or S3 fails.
        """
        data, storage = self.data, Storage(self.reader.access, self.data.read_threads)
        notes = _read_notes(self.plans, data, storage)
        bad = {name: why for note in notes for name, why in note.unreadable.items()}
        images = sum(len(plan.images) for plan in self.plans)
        check_bad_images(bad, images, data.max_bad_fraction)
        manifest = Manifest(
            created=utc_now(),
            form=self.form,
            image_size=data.image_size,
            source_images=data.images,
            source_labels=data.labels,
            source_labels_etag=storage.list_objects(data.labels)[0].etag,
            limit=data.limit,
            seed=data.seed,
            listed=self.listed,
            images=images - len(bad),
            unreadable=len(bad),
            index=_write_index(self.plans, notes, data.staged, storage),
            shards=[note.shard for note in notes],
        )
        content = manifest.model_dump_json(indent=1).encode()
        storage.write(under(data.staged, MANIFEST), content)
        _remove_stale(self.before, manifest, data.staged, storage)
        return manifest


def plan_staging(data: DataConfig, access: S3Access, form: str) -> Staging:
    """What has to be written under `data.staged`, and what stands there already.

    Args:
        data: images, labels, size and prefix.
        access: how to read the one and write the other.
        form: parquet or tfrecord.

    Raises:
        UserError: the source cannot be used, or the prefix holds other data or cannot
            be written.
    """
    storage = Storage(access, data.read_threads)
    before = _check_prefix(data, form, storage)
    table, listed = match_images(data, storage)
    plans = plan_shards(table, data.image_size, form)
    there = {"/".join(o.key.split("/")[-2:]) for o in storage.list_objects(data.staged)}
    missing = [
        plan for plan in plans if not {plan.shard_name(form), plan.note_name} <= there
    ]
    reader = ImageReader.of(data, access)
    return Staging(data, form, reader, listed, plans, missing, before)


def _check_prefix(data: DataConfig, form: str, storage: Storage) -> Manifest | None:
    """The manifest that will be replaced, after everything that can be checked."""
    before = read_manifest(storage, data.staged)
    if before:
        data = data.model_copy(update={"limit": before.limit, "seed": before.seed})
        check_same_source(before, data)
        if before.form != form:
            raise UserError(
                f"{data.staged} holds {before.form} shards. Got --format {form}. "
                "Choose another data.staged."
            )
    probe = under(data.staged, ".writable")
    storage.write(probe, b"")
    storage.delete(probe)
    return before


def plan_shards(table: pd.DataFrame, size: int, form: str) -> list[ShardPlan]:
    """The images of `table` in shards of about `SHARD_BYTES`, a power of two of them.

    Args:
        table: as `dataset.match_images` returns it.
        size: height and width in pixels of the staged images.
        form: parquet or tfrecord.
    """
    table = table.rename_axis("image").reset_index()
    plans = []
    for number, rows in cut_runs(table["image"], len(table) * size**2 / SHARD_BYTES):
        images = table.iloc[rows]
        columns = images.drop(columns="uri")
        content = f"{FORMAT_VERSION} {size} {form} {columns.to_csv(index=False)}"
        digest = hashlib.sha256(content.encode()).hexdigest()[:16]
        plans.append(ShardPlan(f"part-{number:05d}-{digest}", images))
    return plans


def write_shard(reader: ImageReader, prefix: str, form: str, plan: ShardPlan) -> int:
    """Write one shard and its note; the number of images, unreadable ones too.

    Raises:
        UserError: S3 fails or refuses.
    """
    images = plan.images
    uris, etags = images["uri"].to_numpy(), images["etag"].to_numpy()
    pixels, good, bad = reader.load(uris, etags)
    content = FORMATS[form].encode(images.iloc[good], pixels[:])
    name = plan.shard_name(form)
    storage = Storage(reader.access, reader.threads)
    etag = storage.write(under(prefix, name), content)
    note = ShardNote(
        shard=Shard(name=name, images=len(good), bytes=len(content), etag=etag),
        unreadable={images["image"].iloc[row]: why for row, why in bad.items()},
    )
    storage.write(under(prefix, plan.note_name), note.model_dump_json().encode())
    return len(images)


def _read_notes(
    plans: Sequence[ShardPlan], data: DataConfig, storage: Storage
) -> list[ShardNote]:
    uris = [under(data.staged, plan.note_name) for plan in plans]
    with ThreadPoolExecutor(data.read_threads) as pool:
        return [
            ShardNote.model_validate_json(note) for note in pool.map(storage.read, uris)
        ]


def _write_index(
    plans: Sequence[ShardPlan],
    notes: Sequence[ShardNote],
    prefix: str,
    storage: Storage,
) -> str:
    """The name of the index, written under `prefix`."""
    parts = []
    for plan, note in zip(plans, notes, strict=True):
        reasons = plan.images["image"].map(note.unreadable)
        rows = reasons.isna().cumsum() - 1
        parts.append(
            plan.images[["image", "etag", "patient", *FINDINGS]].assign(
                shard=note.shard.name,
                row=rows.where(reasons.isna(), -1),
                reason=reasons.astype(object).where(reasons.notna(), None),
            )
        )
    file = io.BytesIO()
    pd.concat(parts).to_parquet(file, index=False)
    digest = hashlib.sha256(file.getvalue()).hexdigest()[:16]
    name = f"index-{digest}.parquet"
    storage.write(under(prefix, name), file.getvalue())
    return name


def _remove_stale(
    before: Manifest | None, now: Manifest, prefix: str, storage: Storage
) -> None:
    """Remove what only the manifest before names; a failure is only told."""
    stale = _names(before) - _names(now) if before else set()
    try:
        for name in sorted(stale):
            storage.delete(under(prefix, name))
    except UserError as error:
        logger.warning("%d old files remain under %s: %s", len(stale), prefix, error)


def _names(manifest: Manifest) -> set[str]:
    shards = [shard.name for shard in manifest.shards]
    notes = [f"notes/{PurePosixPath(name).stem}.json" for name in shards]
    return {manifest.index, *shards, *notes}
