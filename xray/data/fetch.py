"""Get an archive of chest X-rays, into a folder or straight into a bucket.

    python -m xray.data.fetch nih --to FOLDER
    python -m xray.data.fetch nih --to s3://BUCKET/nih/ --credentials credentials.yaml

fetches what the list of addresses names (xray/data/archives.yaml, or --list FILE), and
puts the images under images/ there and the label file beside them. Run it again after
an interruption: it goes on where it was. --archives 1 takes the first archive alone. Of
data that ask for an agreement it says where that is to be had.
"""

import argparse
import contextlib
import sys
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from xray.common.command import command
from xray.common.errors import UserError
from xray.common.progress import progress_bar
from xray.config.data import DataConfig
from xray.config.file import read_yaml_mapping
from xray.config.section import Section
from xray.storage.address import on_s3
from xray.storage.download import download
from xray.storage.place import Place
from xray.storage.results_folder import private_folder

LIST = Path(__file__).with_name("archives.yaml")
CONNECTIONS = 16
IMAGES = "images"
PICTURES = (".png", ".jpg", ".jpeg")
DONE = "fetched"
"""Folder of the empty files that say which archives are unpacked."""


class Item(Section):
    """One file to fetch."""

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    address: Annotated[str, Field(pattern=r"^https?://")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] = ""


class Archive(Section):
    """What there is of an archive, and what its owners ask."""

    about: str
    files: tuple[Item, ...] = ()
    archives: tuple[Item, ...] = ()
    """tar files, compressed or not, with images."""


LISTING = TypeAdapter(dict[str, Archive])


def read_list(path: Path) -> dict[str, Archive]:
    """What a list of addresses names.

    Raises:
        UserError: it cannot be read, or is none.
    """
    content = read_yaml_mapping(path, "List of addresses")
    try:
        return LISTING.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(
            f"List of addresses {path}: {where}: {first['msg']}. Copy {LIST.name} of "
            "xray/data and change that."
        ) from None


def fetch(archive: Archive, place: Place, scratch: Path, count: int | None) -> int:
    """Put files and images where they belong; how many images came now.

    Args:
        archive: its addresses.
        place: where everything goes.
        scratch: folder for archives until they are unpacked.
        count: of archives, the first ones; None takes all.

    Raises:
        UserError: something cannot be fetched, is not what the list says, or cannot be
            written.
    """
    there = {*place.names()}
    for item in archive.files:
        if item.name not in there:
            place.write(item.name, _fetched(item, scratch).read_bytes())
            (scratch / item.name).unlink()
    images = 0
    for item in archive.archives[:count]:
        if f"{DONE}/{item.name}" not in there:
            images += _unpack(_fetched(item, scratch), place, there)
            place.write(f"{DONE}/{item.name}", b"1")
            (scratch / item.name).unlink()
    return images


def _fetched(item: Item, scratch: Path) -> Path:
    path = scratch / item.name
    if not path.exists():
        with progress_bar(None, item.name, "B") as bar:

            def show(have: int, whole: int | None) -> None:
                bar.total = whole
                bar.update(have - bar.n)

            download(item.address, path, item.sha256, show)
    return path


def _unpack(path: Path, place: Place, there: set[str]) -> int:
    """Write the images that are not there yet; how many."""
    written = 0
    try:
        with (
            tarfile.open(path, "r|*") as archive,
            progress_bar(None, f"unpack {path.name}") as bar,
            ThreadPoolExecutor(CONNECTIONS) as pool,
        ):
            images = _images(archive, there)
            while some := list(islice(images, CONNECTIONS)):
                list(pool.map(lambda one: place.write(*one), some))
                written += len(some)
                bar.update(len(some))
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        path.unlink()  # or it would be met again
        raise UserError(
            f"{path.name} is no tar file that can be unpacked ({error}). It was "
            "removed; run again to fetch it anew."
        ) from None
    return written


def _images(archive: tarfile.TarFile, there: set[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content, by the file's own name: where it stood does not count."""
    for member in archive:
        name = f"{IMAGES}/{PurePosixPath(member.name).name}"
        if member.isfile() and name.lower().endswith(PICTURES) and name not in there:
            yield name, archive.extractfile(member).read()


@command("what has come is kept")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run as the module says; the exit code."""
    options = _parse(arguments)
    known = read_list(options.list)
    if options.archive not in known:
        raise UserError(
            f"{options.list} knows {', '.join(known)}. Got {options.archive!r}."
        )
    archive = known[options.archive]
    if not archive.archives:
        raise UserError(" ".join(archive.about.split()))
    print(" ".join(archive.about.split()), file=sys.stderr)
    data = DataConfig(images="-", labels="-.csv", credentials=options.credentials)
    place = Place.checked(options.to, "--to", data, CONNECTIONS)
    scratch = options.scratch or (
        private_folder("fetch", place.root)
        if on_s3(options.to)
        else Path(options.to, ".fetch")
    )
    images = fetch(archive, place, scratch, options.archives)
    with contextlib.suppress(OSError):  # something else is in it
        scratch.rmdir()
    print(f"{images} images came now; all are under {place.at(IMAGES)}/")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m xray.data.fetch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit codes: 0 all is there; 2 something cannot be fetched or written.",
    )
    parser.add_argument("archive", help="nih, or another name of the list")
    parser.add_argument("--to", required=True, help="folder or s3://bucket/prefix/")
    parser.add_argument(
        "--credentials", type=Path, help="YAML file with the keys to S3"
    )
    parser.add_argument(
        "--list", type=Path, default=LIST, help="YAML with addresses (%(default)s)"
    )
    parser.add_argument(
        "--archives", type=int, metavar="N", help="the first N alone (all)"
    )
    parser.add_argument(
        "--scratch",
        type=Path,
        help="folder for an archive until it is unpacked, 4 GB at a time (.fetch in "
        "--to, or in the system's temporary folder for a bucket)",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
