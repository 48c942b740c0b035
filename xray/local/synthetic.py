"""Demo data in the format of NIH ChestX-ray14, drawn from a seed.

`generate` writes `images/00000001_000.png ...` and `Data_Entry_2017_v2020.csv` with the
columns and quirks of the real ones (https://nihcc.app.box.com/v/ChestXray-NIHCC):

- the header names 9 columns, the rows have 11: two names hold a comma;
- one in fifty images is RGBA instead of 8-bit grey;
- the label file lists ten times the images that are there, as in a partial download;
- a patient has 1 to 8 images whose findings resemble each other.

The prevalence is not the real one: each finding marks 8 to 20% of the images, so that
a few hundred of them can be learnt from, and about 30% are `No Finding`.

Command line: `python -m xray.local.synthetic FOLDER --images 600 --seed 0`
"""

import argparse
import io
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from xray.common.command import command
from xray.common.errors import UserError
from xray.common.files import write_whole
from xray.common.progress import progress_bar
from xray.local.phantom import DRAWN_FINDINGS, draw

CSV_NAME = "Data_Entry_2017_v2020.csv"
STAMP_NAME = ".synthetic.json"
NO_FINDING = "No Finding"
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
    "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
# Raise it when the pictures or labels of a seed change: old folders are then redrawn.
GENERATION = 1
MAX_IMAGES = 100_000
RGBA_SHARE = 0.02
HEALTHY_PATIENTS = 0.22
# Width, height and mm per pixel of the commonest detectors in the real file.
_DETECTORS = (
    (2500, 2048, 0.168),
    (2992, 2991, 0.143),
    (3056, 2544, 0.139),
    (2500, 2048, 0.171),
)


@dataclass(frozen=True)
class Entry:
    """One row of the label file, in the order of its columns."""

    image: str
    labels: str
    follow_up: int
    patient: int
    age: int
    gender: str
    view: str
    width: int
    height: int
    spacing_x: float
    spacing_y: float

    @property
    def findings(self) -> tuple[str, ...]:
        """The findings, without `No Finding`."""
        return () if self.labels == NO_FINDING else tuple(self.labels.split("|"))


def generate(
    folder: Path,
    images: int,
    seed: int = 0,
    size: int = 1024,
    listed_per_image: int = 10,
    workers: int = 2,
) -> None:
    """Write demo images and their label file into `folder`.

    The same arguments give the same bytes; an image depends on seed, size and its name
    alone. A second call writes what is missing, and redraws all if seed or size differ.

    Args:
        folder: new, empty or filled by an earlier call.
        images: image files, 1 to 100,000.
        seed: of labels and pictures, 0 or more.
        size: height and width in pixels, 16 to 4096; the real images have 1024.
        listed_per_image: rows of the label file for each image that is there.
        workers: threads that draw; 30 ms of one core for each image of 1024.

    Raises:
        UserError: a number is out of range, or the folder holds other data.
    """
    _check(images, seed, size, listed_per_image)
    _claim(folder, {"generation": GENERATION, "seed": seed, "size": size})
    entries = list(islice(_entries(seed), images * listed_per_image))
    rows = [",".join(map(str, astuple(entry))) for entry in entries]
    _write(folder / CSV_NAME, "\n".join([HEADER, *rows, ""]).encode())
    wanted = {entry.image: entry for entry in entries[:images]}
    there = {path.name: path for path in (folder / "images").glob("*.png")}
    for name in there.keys() - wanted.keys():
        there[name].unlink()
    missing = [wanted[name] for name in wanted if name not in there]
    _draw_all(folder / "images", missing, seed, size, workers)


def _check(images: int, seed: int, size: int, listed_per_image: int) -> None:
    for name, value, low, high in (
        ("images", images, 1, MAX_IMAGES),
        ("seed", seed, 0, 2**32 - 1),
        ("size", size, 16, 4096),
        ("listed_per_image", listed_per_image, 1, 100),
    ):
        if not low <= value <= high:
            raise UserError(f"{name} must be {low} to {high}. Got {value}.")


def _claim(folder: Path, stamp: dict[str, int]) -> None:
    """Make `folder` ours, without images of other parameters, or refuse it."""
    path, images = folder / STAMP_NAME, folder / "images"
    if not path.exists() and (folder.is_file() or any(folder.glob("*"))):
        raise UserError(
            f"{folder} holds files that are not demo data. Name a new or empty folder."
        )
    if path.exists() and _read_stamp(path) != stamp:
        for image in images.glob("*.png"):
            image.unlink()
    images.mkdir(parents=True, exist_ok=True)
    _write(path, json.dumps(stamp).encode())


def _read_stamp(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None


def _entries(seed: int) -> Iterator[Entry]:
    """Rows without end, patient by patient."""
    patient = 0
    while True:
        patient += 1
        yield from _patient_entries(patient, np.random.default_rng([seed, patient]))


def _patient_entries(patient: int, rng: np.random.Generator) -> Iterator[Entry]:
    # Skewed as in the real data, where half the patients have one image.
    images = min(int(rng.geometric(0.35)), 8)
    age, gender = int(rng.integers(20, 86)), "FM"[rng.integers(2)]
    chronic = _chronic_findings(patient, rng)
    for number in range(images):
        findings = _image_findings(chronic, first=number == 0, rng=rng)
        width, height, spacing = _DETECTORS[rng.integers(len(_DETECTORS))]
        yield Entry(
            image=f"{patient:08d}_{number:03d}.png",
            labels="|".join(findings) or NO_FINDING,
            follow_up=number,
            patient=patient,
            age=age + number // 2,
            gender=gender,
            view="PA" if rng.random() < 0.6 else "AP",
            width=width,
            height=height,
            spacing_x=spacing,
            spacing_y=spacing,
        )


def _chronic_findings(patient: int, rng: np.random.Generator) -> set[str] | None:
    """What a patient's images tend to show; None for a healthy patient."""
    if rng.random() < HEALTHY_PATIENTS:
        return None
    drawn = rng.random(len(DRAWN_FINDINGS)) < 0.07
    # One finding by turns: each is there in a small set too, and on both of its sides.
    own = DRAWN_FINDINGS[patient % len(DRAWN_FINDINGS)]
    return {
        own,
        *(name for name, has in zip(DRAWN_FINDINGS, drawn, strict=True) if has),
    }


def _image_findings(
    chronic: set[str] | None, first: bool, rng: np.random.Generator
) -> list[str]:
    """The findings of one image: most of the patient's own, at times a new one."""
    chance = rng.random(len(DRAWN_FINDINGS))
    if chronic is None or (not first and rng.random() < 0.12):
        return []
    kept = 0.95 if first else 0.75
    return [
        name
        for name, value in zip(DRAWN_FINDINGS, chance, strict=True)
        if value < (kept if name in chronic else 0.06)
    ]


def _draw_all(
    folder: Path, entries: list[Entry], seed: int, size: int, workers: int
) -> None:
    task = partial(_draw_one, folder, seed, size)
    # Threads do: most of the time goes into PNG encoding, outside Python's lock.
    with ThreadPoolExecutor(workers) as pool:
        with progress_bar(len(entries), "draw") as bar:
            for _ in pool.map(task, entries):
                bar.update()


def _draw_one(folder: Path, seed: int, size: int, entry: Entry) -> None:
    # A stream for each image: order and number of threads change nothing.
    rng = np.random.default_rng([seed, entry.patient, entry.follow_up, size])
    image = Image.fromarray(draw(entry.findings, size, rng))
    if rng.random() < RGBA_SHARE:
        image = image.convert("RGBA")
    buffer = io.BytesIO()
    # Huffman only: as small as level 1 on grain, and a fifth faster (19 ms, 256 kB).
    image.save(buffer, "PNG", compress_level=1, compress_type=2)
    _write(folder / entry.image, buffer.getvalue())


def _write(path: Path, content: bytes) -> None:
    """Write unless the content is there already; never leave half a file."""
    if not path.exists() or path.read_bytes() != content:
        write_whole(path, lambda file: file.write(content), sync=False)


@command()
def main(argv: Sequence[str] | None = None) -> int:
    """Generate as the command line says; the exit code is 2 after a UserError."""
    parser = argparse.ArgumentParser(
        prog="python -m xray.local.synthetic",
        description="Draw demo data in the format of NIH ChestX-ray14.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=1024, help="pixels, default 1024")
    options = parser.parse_args(argv)
    generate(options.folder, options.images, options.seed, options.size)
    print(f"{options.images} images and {CSV_NAME} in {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
