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
from pydantic import BaseModel, ValidationError

from xray.common.errors import UserError
from xray.config.data import DataConfig
from xray.data.dataset import check_bad_images
from xray.data.matching import match_images
from xray.data.partition import cut_runs
from xray.data.reader import ImageReader
from xray.data.shard_files import FORMATS
from xray.data.staged import (
    FORMAT_VERSION,
    MANIFEST,
    Manifest,
    Shard,
    check_same_source,
    index_name,
    read_manifest,
)
from xray.records.record import utc_now
from xray.storage import disk
from xray.storage.address import StoredObject, absolute
from xray.storage.credentials import S3Access
from xray.storage.place import Place
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

    def describes(self, found: StoredObject, storage: Storage) -> bool:
        """Whether the shard under the prefix is still the one that was written."""
        same_size = found.size == self.shard.bytes
        return same_size and storage.etag(found) == self.shard.etag


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

    @property
    def place(self) -> Place:
        """Where everything goes."""
        return Place(self.data.staged, self.reader.access, self.data.read_threads)

    def write(self, plan: ShardPlan) -> int:
        """Write one shard and its note; the number of images, unreadable ones too.

        Raises:
            UserError: S3 fails or refuses.
        """
        return _write_shard(self.reader, self.place, self.form, plan)

    def finish(self) -> Manifest:
        """Write index and manifest once every shard is there, and remove old files.

        Raises:
            UserError: too many images are unreadable, or S3 fails.
        """
        data, place = self.data, self.place
        storage = Storage(self.reader.access, data.read_threads)
        notes = _read_notes(self.plans, place, data.read_threads)
        bad = {name: why for note in notes for name, why in note.unreadable.items()}
        images = sum(len(plan.images) for plan in self.plans)
        check_bad_images(bad, images, data.max_bad_fraction)
        manifest = Manifest(
            created=utc_now(),
            form=self.form,
            image_size=data.image_size,
            source_images=data.images,
            source_labels=data.labels,
            source_labels_etag=storage.etag(storage.list_objects(data.labels)[0]),
            labels=data.findings,
            uncertain=data.uncertain,
            where=data.where,
            limit=data.limit,
            seed=data.seed,
            listed=self.listed,
            images=images - len(bad),
            unreadable=len(bad),
            index=_write_index(self.plans, notes, place),
            shards=[note.shard for note in notes],
        )
        place.write(MANIFEST, manifest.model_dump_json(indent=1).encode())
        _remove_stale(self.before, manifest, place)
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
    data = data.model_copy(update={"staged": absolute(data.staged)})
    storage = Storage(access, data.read_threads)
    place = Place(data.staged, access, data.read_threads)
    before = _check_prefix(data, form, storage)
    place.try_to_write()
    table, listed = match_images(data, storage)
    plans = plan_shards(table, data.image_size, form)
    missing = _find_missing(plans, form, place, storage, data.read_threads)
    reader = ImageReader.of(data, access)
    return Staging(data, form, reader, listed, plans, missing, before)


def _check_prefix(data: DataConfig, form: str, storage: Storage) -> Manifest | None:
    """The manifest that will be replaced, where it is one of such data."""
    before = read_manifest(storage, data.staged)
    if before:
        data = data.model_copy(update={"limit": before.limit, "seed": before.seed})
        check_same_source(before, data)
        if before.form != form:
            raise UserError(
                f"{data.staged} holds {before.form} shards. Got --format {form}. "
                "Choose another data.staged."
            )
    return before


def _find_missing(
    plans: Sequence[ShardPlan],
    form: str,
    place: Place,
    storage: Storage,
    threads: int,
) -> list[ShardPlan]:
    """Those without a note, or whose shard is not what its note says."""
    there = place.objects()
    noted = [plan for plan in plans if plan.note_name in there]
    whole = set()
    for plan, note in zip(noted, _read_notes(noted, place, threads), strict=True):
        found = there.get(plan.shard_name(form))
        if note and found and note.describes(found, storage):
            whole.add(plan.name)
    return [plan for plan in plans if plan.name not in whole]


def plan_shards(table: pd.DataFrame, size: int, form: str) -> list[ShardPlan]:
    """The images of `table` in shards of about `SHARD_BYTES`, a power of two of them.

    Args:
        table: as `matching.match_images` returns it.
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


def _write_shard(reader: ImageReader, place: Place, form: str, plan: ShardPlan) -> int:
    images = plan.images
    uris, etags = images["uri"].to_numpy(), images["etag"].to_numpy()
    pixels, good, bad = reader.load(uris, etags)
    content = FORMATS[form].encode(images.iloc[good], pixels[:])
    name = plan.shard_name(form)
    etag = place.write(name, content)
    md5 = disk.digest(content)
    note = ShardNote(
        shard=Shard(
            name=name, images=len(good), bytes=len(content), etag=etag, md5=md5
        ),
        unreadable={images["image"].iloc[row]: why for row, why in bad.items()},
    )
    place.write(plan.note_name, note.model_dump_json().encode())
    return len(images)


def _read_notes(
    plans: Sequence[ShardPlan], place: Place, threads: int
) -> list[ShardNote | None]:
    """Of each plan; None where it is damaged."""

    def read(plan: ShardPlan) -> ShardNote | None:
        try:
            return ShardNote.model_validate_json(place.read(plan.note_name))
        except ValidationError:
            return None

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(read, plans))


def _write_index(
    plans: Sequence[ShardPlan],
    notes: Sequence[ShardNote],
    place: Place,
) -> str:
    """The name of the index, which is written."""
    parts = []
    for plan, note in zip(plans, notes, strict=True):
        reasons = plan.images["image"].map(note.unreadable)
        rows = reasons.isna().cumsum() - 1
        parts.append(
            plan.images.drop(columns="uri").assign(
                shard=note.shard.name,
                row=rows.where(reasons.isna(), -1),
                reason=reasons.astype(object).where(reasons.notna(), None),
            )
        )
    file = io.BytesIO()
    pd.concat(parts).to_parquet(file, index=False)
    name = index_name(file.getvalue())
    place.write(name, file.getvalue())
    return name


def _remove_stale(before: Manifest | None, now: Manifest, place: Place) -> None:
    """Remove what only the manifest before names; a failure is only told."""
    stale = _names(before) - _names(now) if before else set()
    try:
        for name in sorted(stale):
            place.delete(name)
    except UserError as error:
        where = place.root
        logger.warning("%d old files remain under %s: %s", len(stale), where, error)


def _names(manifest: Manifest) -> set[str]:
    shards = [shard.name for shard in manifest.shards]
    notes = [f"notes/{PurePosixPath(name).stem}.json" for name in shards]
    return {manifest.index, *shards, *notes}
