"""Copies of small files below prefixes on S3, for those who read folders."""

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from xray.common.errors import UserError
from xray.storage.address import on_s3
from xray.storage.credentials import load_access
from xray.storage.place import Place

CONNECTIONS = 16
MODEL = ".keras"


@contextmanager
def local_copies(
    places: Sequence[str], credentials: Path | None, endings: tuple[str, ...]
) -> Iterator[list[Path]]:
    """Places as paths, for as long as the block runs; those on S3 are copied before.

    An error of the block names the address and not the copy.

    Args:
        places: paths, and s3://bucket/prefix/
        credentials: YAML with keys; None asks boto3's own chain.
        endings: of the files that are copied. What stands beside a model of the same
            name belongs to that, and is not.

    Raises:
        UserError: S3 refuses, or there is no such file below a prefix.
    """
    with tempfile.TemporaryDirectory(prefix="xray-copies-") as folder:
        try:
            yield [
                _copy(place, credentials, endings, folder)
                if on_s3(place)
                else Path(place)
                for place in places
            ]
        except UserError as error:
            told = str(error).replace(f"{folder}/", "s3://")
            raise UserError(told) from None


def _copy(
    address: str, credentials: Path | None, endings: tuple[str, ...], folder: str
) -> Path:
    place = Place(address, load_access(credentials), CONNECTIONS)
    names = place.names()
    models = {name.removesuffix(MODEL) for name in names if name.endswith(MODEL)}
    wanted = [
        name
        for name in names
        if name.endswith(endings) and name.rpartition(".")[0] not in models
    ]
    if not wanted:
        raise UserError(
            f"No {' or '.join(endings)} file below {place.root}/. Give the prefix that "
            "--results named."
        )
    copy = Place(str(Path(folder, address.removeprefix("s3://"))))
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for name, content in zip(wanted, pool.map(place.read, wanted), strict=True):
            copy.write(name, content)
    return Path(copy.root)
