"""DICOM files to grey pixels, through the window that the file names; and back."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pydicom import Dataset

PREAMBLE = 128  # bytes of anything, then DICM
MAX_ELEMENTS = 5000  # real headers have some hundred; each costs Python's time
PIXEL_DATA = 0x7FE00010
# Others are refused: deflate and RLE may unfold to gigabytes before anyone can count,
# lossless JPEG and JPEG-LS need a decoder of their own.
PLAIN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
ENCAPSULATED = (
    "1.2.840.10008.1.2.4.50",  # JPEG, 8 bits
    "1.2.840.10008.1.2.4.90",  # JPEG 2000, lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
)
GREY = ("MONOCHROME1", "MONOCHROME2")


def is_dicom(content: bytes) -> bool:
    """Whether the content is a DICOM file, by the mark that each of them has."""
    return content[PREAMBLE : PREAMBLE + 4] == b"DICM"


def read_dicom(content: bytes) -> "Dataset":
    """The elements of a DICOM file that holds one grey picture, its pixels undecoded.

    `Columns` and `Rows` are whole numbers, for a check before `show_dicom` decodes.

    Raises:
        ValueError: damaged, without pixels, in colour, more than one frame, or
            compressed in a way that is not read.
    """
    with _one_line():
        dataset = _read(content)
        _check(dataset)
        return dataset


def show_dicom(dataset: "Dataset") -> Image.Image:
    """The picture of `read_dicom` as grey pixels, an image of mode L.

    Shown through the file's modality and VOI tables or its first window (DICOM PS3.3
    C.11.1, C.11.2); without any, from the darkest to the brightest pixel. MONOCHROME1,
    where low is bright, is turned round.

    Raises:
        ValueError: damaged.
    """
    with _one_line():
        return _to_grey(_decode(dataset), dataset)


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except ValueError as error:  # pydicom's may have several lines
        raise ValueError(" ".join(str(error).split())[:200]) from None
    except Exception as error:  # noqa: BLE001 - pydicom raises anything on damaged files
        raise ValueError(f"damaged DICOM ({type(error).__name__})") from None


def _read(content: bytes) -> "Dataset":
    from pydicom.filereader import read_dataset, read_partial

    meta = read_dataset(
        io.BytesIO(content[PREAMBLE + 4 :]),
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, *_: tag >> 16 != 2,
    )
    syntax = meta.get("TransferSyntaxUID", None)
    if syntax not in (*PLAIN, *ENCAPSULATED):
        name = getattr(syntax, "name", None) or "none named"
        raise ValueError(
            f"its transfer syntax ({name}) is not read: uncompressed, JPEG and JPEG "
            "2000 are"
        )
    elements = count(1)

    def is_enough(tag: int, *_: object) -> bool:
        return tag > PIXEL_DATA or next(elements) > MAX_ELEMENTS

    return read_partial(io.BytesIO(content), stop_when=is_enough)


def _check(dataset: "Dataset") -> None:
    if not dataset.get("PixelData"):
        raise ValueError("it holds no pixels")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise ValueError(f"it holds {frames} frames; one is read")
    kind = dataset.get("PhotometricInterpretation", "nothing")
    if kind not in GREY or dataset.SamplesPerPixel != 1:
        raise ValueError(f"its pixels are {kind}; {' and '.join(GREY)} are read")
    if dataset.BitsAllocated not in (8, 16):
        raise ValueError(
            f"its pixels have {dataset.BitsAllocated} bits; 8 and 16 are read"
        )
    dataset.Columns, dataset.Rows = int(dataset.Columns), int(dataset.Rows)


def _decode(dataset: "Dataset") -> np.ndarray:
    """Stored values, int or uint (rows, columns)."""
    from pydicom.encaps import get_frame

    if dataset.file_meta.TransferSyntaxUID in ENCAPSULATED:
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        with Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")) as image:
            if image.size != (dataset.Columns, dataset.Rows):
                raise ValueError("its pixels have another size than its header says")
    return dataset.pixel_array


def _to_grey(stored: np.ndarray, dataset: "Dataset") -> Image.Image:
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    # Through a table of every value that can be stored: exact, and its cost and memory
    # do not grow with the picture.
    limits = np.iinfo(stored.dtype)
    values = np.arange(limits.min, limits.max + 1)
    levels = np.asarray(apply_modality_lut(values, dataset), np.float64)
    shown = np.asarray(apply_voi_lut(levels, dataset), np.float64)
    if shown is levels:  # no window
        ends = levels[[int(stored.min()) - limits.min, int(stored.max()) - limits.min]]
    else:
        ends = shown
    low, high = ends.min(), ends.max()
    if not np.isfinite(shown).all():
        raise ValueError("its rescale values or window are no numbers")
    table = np.clip((shown - low) / max(high - low, 1e-6), 0, 1) * 255
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        table = 255 - table
    # Negative values count from the table's end, as indices do.
    table = np.roll(np.rint(table).astype(np.uint8), limits.min)
    return Image.fromarray(table[stored])
