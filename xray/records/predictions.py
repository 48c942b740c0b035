"""What a model said of each test image: kept beside the record, compared in pairs.

Two models are scored on the same patients, so the interval of their difference is
narrower than what their own intervals suggest. It needs the answers themselves.
"""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xray.common.files import write_whole
from xray.config.schemas import UNCERTAIN

SUFFIX = ".predictions.npz"
HASH_BYTES = 8


class TestPredictions(NamedTuple):
    """The answers for a test set, in the order of the images' hashes.

    Attributes:
        images: uint64 (N,), hashes of their names; ascending.
        patients: int32 (N,), equal for images of one patient; numbers of this set, no
            identifiers.
        labels: bool (N, C), or uint8 where some are UNCERTAIN.
        probabilities: float32 (N, C).
        findings: the C names.
    """

    images: np.ndarray
    patients: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    findings: list[str]

    def write(self, folder: Path, run_id: str) -> Path:
        """The file `<run_id>.predictions.npz` in `folder`, whole or not at all."""
        path = folder / f"{run_id}{SUFFIX}"
        arrays = self._replace(findings=np.array(self.findings))._asdict()
        # In memory first: on a full disk NumPy's archive would complain twice.
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)
        write_whole(path, lambda file: file.write(content.getvalue()))
        return path


def predictions_of(
    names: Sequence[str],
    patients: Sequence[object],
    labels: np.ndarray,
    probabilities: np.ndarray,
    findings: Sequence[str],
) -> TestPredictions:
    """Answers without the names of images and patients.

    Args:
        names: of the N images.
        patients: whose they are, any comparable values.
        labels: (N, C), 0, 1 or UNCERTAIN.
        probabilities: (N, C).
        findings: C names.
    """
    hashes = np.array([_hash(name) for name in names], np.uint64)
    order = np.argsort(hashes, kind="stable")
    # Numbered in the order of the hashes: their own order would tell who is who.
    _, first, group = np.unique(
        np.asarray(patients)[order], return_index=True, return_inverse=True
    )
    number = np.empty(len(first), np.int32)
    number[np.argsort(first)] = np.arange(len(first))
    return TestPredictions(
        hashes[order],
        number[group],
        _compact(np.asarray(labels)[order]),
        np.asarray(probabilities)[order].astype(np.float32),
        list(findings),
    )


def _compact(labels: np.ndarray) -> np.ndarray:
    """As they always were, unless some are uncertain."""
    return labels if (labels == UNCERTAIN).any() else labels.astype(bool)


def _hash(name: str) -> int:
    digest = hashlib.blake2b(str(name).encode(), digest_size=HASH_BYTES).digest()
    return int.from_bytes(digest, "big")


def read_predictions(path: Path) -> TestPredictions:
    """What `TestPredictions.write` wrote.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in TestPredictions._fields}
    except (KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} holds no predictions ({error})") from error
    count, findings = len(found["images"]), list(map(str, found.pop("findings")))
    shapes = {found[name].shape for name in ("labels", "probabilities")}
    if shapes != {(count, len(findings))} or found["patients"].shape != (count,):
        raise ValueError(f"{path} holds arrays of different lengths")
    if not np.isfinite(found["probabilities"]).all():
        raise ValueError(f"{path} holds values that are not finite")
    return TestPredictions(**found, findings=findings)


def find_predictions(places: Iterable[Path]) -> dict[str, Path]:
    """run_id to the file of its predictions, in folders and beside single records."""
    found = {}
    for place in places:
        beside = place.is_file()
        find = place.parent.glob if beside else place.rglob
        for path in sorted(find(f"*{SUFFIX}")):
            found.setdefault(path.name.removesuffix(SUFFIX), path)
    return found
