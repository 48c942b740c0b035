"""Which images of a bucket the label file knows."""

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from xray.common.errors import UserError
from xray.common.progress import progress_bar
from xray.config.data import DataConfig
from xray.data.images import EXTENSIONS, ending_reads
from xray.data.labels import fulfilling, read_columns, read_labels
from xray.data.staged import UNREADABLE
from xray.storage import disk
from xray.storage.s3 import Storage, UnreadableObject

logger = logging.getLogger(__name__)


def match_images(data: DataConfig, storage: Storage) -> tuple[pd.DataFrame, int]:
    """The raw images that the label file knows, and how many the bucket lists.

    Of those that it knows the ones that `data.where` asks for.

    Returns:
        A row an image, indexed by name, with `uri`, `etag`, `patient` and the findings,
        `data.limit` of them; and the number of images under `data.images`.

    Raises:
        UserError: the bucket or the label file cannot be used, or no image has a label.
    """
    listed = _list_images(data, storage)
    content = read_label_file(data, storage)
    labels = read_labels(content, data.labels, data.labelling, data.uncertain)
    known = listed.join(labels, on="key", how="inner")
    if known.empty:
        raise UserError(
            f"None of the {len(listed)} images under {data.images} stands in "
            f"{data.labels} (first image: {listed.index[0]!r}). Check both addresses."
        )
    if len(known) < len(listed):
        logger.warning(
            "%d of %d images under %s have no label and are left out",
            len(listed) - len(known),
            len(listed),
            data.images,
        )
    if data.where:
        columns = read_columns(content, data.labels, data.where, data.labelling)
        kept = fulfilling(columns, data.where)
        known = known[kept[known["key"]].to_numpy()]
        told = ", ".join(f"{name} {text}" for name, text in data.where.items())
        if known.empty:
            raise UserError(
                f"No image fulfils data.where ({told}). Look at the column's values."
            )
        logger.info("%d images fulfil data.where (%s)", len(known), told)
    known = known.drop(columns="key").sort_index()
    chosen = limit_images(known, data.limit, data.seed)
    return with_etags(chosen, storage, data.read_threads), len(listed)


def with_etags(table: pd.DataFrame, storage: Storage, threads: int) -> pd.DataFrame:
    """The table with every ETag: files of a folder are read for theirs.

    Whoever trains on the same content does the same work, wherever that is kept. What
    cannot be read gets the reason as its `uri`, as in `Subset.uris`.

    Args:
        table: with `uri` and `etag`.
        storage: to read from.
        threads: reads under way at once.
    """
    unknown = (table["etag"] == "").to_numpy()
    if not unknown.any():
        return table

    def digest(uri: str) -> tuple[str, str]:
        try:
            return uri, disk.digest(storage.read(uri))
        except UnreadableObject as error:
            return f"{UNREADABLE}{error}", ""
        finally:
            bar.update(1)

    uris, table = table["uri"][unknown], table.copy()
    with (
        progress_bar(len(uris), "digest") as bar,
        ending_reads(storage),
        ThreadPoolExecutor(threads) as pool,
    ):
        table.loc[unknown, ["uri", "etag"]] = list(pool.map(digest, uris))
    return table


def load_labels(data: DataConfig, storage: Storage) -> pd.DataFrame:
    """The label file, as `labels.read_labels` gives it: by key.

    Raises:
        UserError: it cannot be read, or is none.
    """
    content = read_label_file(data, storage)
    return read_labels(content, data.labels, data.labelling, data.uncertain)


def read_label_file(data: DataConfig, storage: Storage) -> bytes:
    """Its content.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return storage.read(data.labels)
    except UnreadableObject as error:
        raise UserError(
            f"Label file {data.labels} cannot be read: {error}. Check data.labels."
        ) from None


def _list_images(data: DataConfig, storage: Storage) -> pd.DataFrame:
    objects = [
        o
        for o in storage.list_objects(data.images)
        if o.key.lower().endswith(EXTENSIONS)
    ]
    if not objects:
        raise UserError(
            f"No image ({', '.join(EXTENSIONS)}) under {data.images}. Check the prefix."
        )
    schema = data.labelling
    table = pd.DataFrame(
        {
            "uri": [o.uri for o in objects],
            "etag": [o.etag for o in objects],
            "key": [schema.key_of(f"/{o.key}") for o in objects],
        },
        index=[schema.name_of(f"/{o.key}") or o.key for o in objects],
    )
    twice = table.index[table.index.duplicated()]
    if len(twice):
        raise UserError(
            f"Image {twice[0]!r} stands more than once under {data.images}. Choose a "
            "prefix that holds one copy."
        )
    return table


def limit_images(table: pd.DataFrame, limit: int | None, seed: int) -> pd.DataFrame:
    """At most `limit` rows, patient by patient in a seeded order."""
    if limit is None or limit >= len(table):
        return table
    patients = np.unique(table["patient"].to_numpy(dtype=str))
    order = np.random.default_rng(seed).permutation(patients)
    rank = pd.Series(np.arange(len(order)), index=order)
    by_patient = rank[table["patient"]].to_numpy().argsort(kind="stable")
    return table.iloc[np.sort(by_patient[:limit])]
