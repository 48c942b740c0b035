"""Mutated pictures against the page's upload check: each gets an answer, none a fault.

    python experiments/benchmarks/fuzz_upload.py --files 10000

File N depends on the seed and N alone: `--first N --files 1` does it again. A few
seconds on one core.
"""

import argparse
import io
import json
import logging
import resource
import struct
import sys
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from werkzeug.exceptions import HTTPException

from xray.common.command import command
from xray.data.images import shrink
from xray.local.dicom import encode_dicom
from xray.local.phantom import draw
from xray.records.benchmark import write_benchmark
from xray.webapp.limits import Limits
from xray.webapp.uploads import read_picture

SIZE = 64
ANSWERS = (400, 413, 415, 422)
PNG_MARK = b"\x89PNG\r\n\x1a\n"
EDGES = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 50_000)


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz, print one JSON object, and write the file; 1 after a fault."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/inference"))
    options = parser.parse_args(arguments)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"pydicom|PIL")
    results = fuzz(options.files, options.seed, options.first)
    settings = {"files": options.files, "first": options.first, "seed": options.seed}
    print(write_benchmark(options.out, "fuzz", settings, results))
    print(json.dumps(results))
    return 1 if results["faults"] else 0


def fuzz(files: int, seed: int = 0, first: int = 0) -> dict[str, Any]:
    """How many files were read, or refused with which status, and every fault.

    Args:
        files: to try.
        seed: of the mutations.
        first: number of the first file.
    """
    parents, limits = originals(), Limits()
    outcomes, faults, slowest_seconds = Counter(), [], 0.0
    for number in range(first, first + files):
        content = mutate(parents, np.random.default_rng([seed, number]))
        started = time.perf_counter()
        try:
            outcomes[_outcome(content, limits)] += 1
        except Exception as error:  # noqa: BLE001 - any other one is the finding
            faults.append({"file": number, "fault": repr(error)[:200]})
        slowest_seconds = max(slowest_seconds, time.perf_counter() - started)
    return {
        "outcomes": dict(sorted(outcomes.items())),
        "faults": faults,
        "slowest_seconds": round(slowest_seconds, 3),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _outcome(content: bytes, limits: Limits) -> str:
    try:
        pixels = shrink(read_picture(content, limits.pixels).grey, SIZE)
    except HTTPException as error:
        if error.code not in ANSWERS:
            raise
        return str(error.code)
    if pixels.shape != (SIZE, SIZE, 1) or pixels.dtype != np.uint8:
        raise ValueError(f"{pixels.dtype} {pixels.shape}")
    return "read"


def originals() -> list[bytes]:
    """Sound pictures of every kind that is read, and of some that are not."""
    pixels = draw(("Mass",), SIZE, np.random.default_rng(0))
    grey = Image.fromarray(pixels)
    deep = Image.fromarray(pixels.astype(np.uint16) * 257)
    clear = grey.convert("RGBA")
    clear.putalpha(grey)
    frames = {"save_all": True, "append_images": [grey.rotate(90)]}
    return [
        *(encode(image, "PNG") for image in (grey, deep, clear, grey.convert("1"))),
        encode(grey.convert("P"), "PNG", transparency=3),
        encode(grey, "PNG", **frames),
        *(encode(grey.convert(mode), "JPEG") for mode in ("L", "RGB", "CMYK")),
        encode(grey, "JPEG", progressive=True),
        encode_dicom(pixels),
        encode_dicom(pixels.astype(np.uint16) * 16, WindowCenter=900, WindowWidth=800),
        encode_dicom(
            pixels.astype(np.int16) - 99, RescaleSlope="2", RescaleIntercept=1
        ),
        *(_encapsulated(grey, form) for form in ("JPEG", "JPEG2000")),
        *(encode(grey, form) for form in ("GIF", "TIFF", "BMP", "WEBP")),
        b"A text file called chest.png.\n" * 20,
    ]


def encode(image: Image.Image, form: str, **options: Any) -> bytes:
    """The file that Pillow writes."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def _encapsulated(grey: Image.Image, form: str) -> bytes:
    from pydicom import uid
    from pydicom.encaps import encapsulate

    syntax = {"JPEG": uid.JPEGBaseline8Bit, "JPEG2000": uid.JPEG2000Lossless}[form]
    options = {"no_jp2": True} if form == "JPEG2000" else {}
    frame = encapsulate([encode(grey, form, **options)])
    return encode_dicom(np.asarray(grey), syntax, PixelData=frame)


def mutate(parents: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """One of the parents with one to four things wrong."""
    content = bytearray(parents[rng.integers(len(parents))])
    for _ in range(rng.integers(1, 5)):
        if content:
            MUTATIONS[rng.integers(len(MUTATIONS))](content, parents, rng)
    if content.startswith(PNG_MARK) and rng.random() < 0.7:
        content = mend_png(bytes(content))
    return bytes(content)


def _span(content: bytearray, rng: np.random.Generator) -> slice:
    start = int(rng.integers(len(content)))
    return slice(start, start + int(rng.geometric(0.02)))


def _flip(content: bytearray, _: object, rng: np.random.Generator) -> None:
    for place in rng.integers(len(content), size=rng.integers(1, 17)):
        content[place] ^= 1 << int(rng.integers(8))


def _flip_header(content: bytearray, _: object, rng: np.random.Generator) -> None:
    for place in rng.integers(min(len(content), 600), size=rng.integers(1, 9)):
        content[place] = int(rng.integers(256))


def _number(content: bytearray, _: object, rng: np.random.Generator) -> None:
    value = EDGES[rng.integers(len(EDGES))]
    form = ("<I", ">I", "<H", ">H")[rng.integers(4)]
    packed = struct.pack(form, value & (2 ** (8 * struct.calcsize(form)) - 1))
    place = int(rng.integers(min(len(content), 900)))
    content[place : place + len(packed)] = packed


def _truncate(content: bytearray, _: object, rng: np.random.Generator) -> None:
    del content[int(rng.integers(len(content))) :]


def _delete(content: bytearray, _: object, rng: np.random.Generator) -> None:
    del content[_span(content, rng)]


def _double(content: bytearray, _: object, rng: np.random.Generator) -> None:
    span = _span(content, rng)
    content[span.start : span.start] = content[span]


def _zero(content: bytearray, _: object, rng: np.random.Generator) -> None:
    span = _span(content, rng)
    content[span] = bytes(len(content[span]))


def _splice(
    content: bytearray, parents: Sequence[bytes], rng: np.random.Generator
) -> None:
    other = parents[rng.integers(len(parents))]
    place = int(rng.integers(len(content)))
    content[place:] = other[int(rng.integers(len(other))) :]


MUTATIONS = (
    *(_flip, _flip_header, _number, _number, _truncate, _delete, _double, _zero),
    _splice,
)


def mend_png(content: bytes) -> bytearray:
    """The file with each chunk's own checksum, so that it gets past that check."""
    mended, place = bytearray(PNG_MARK), len(PNG_MARK)
    while place + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, place)
        body = content[place + 4 : place + 8 + length]
        mended += content[place : place + 4] + body
        mended += struct.pack(">I", zlib.crc32(body))
        place += 12 + length
    return mended + content[place:]


if __name__ == "__main__":
    sys.exit(main())
