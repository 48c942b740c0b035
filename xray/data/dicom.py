"""DICOM files to grey pixels, through the window that the file names; and back."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from xray.data.bounds import check_bounds

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.dataelem import RawDataElement

PREAMBLE = 128  # bytes of anything, then DICM
ENDLESS = "its header has thousands of elements"
MAX_READS = 10_000  # two or three an element; real headers have some hundred of these
MAX_VALUE_BYTES = 1024  # of an element that describes the pixels
MAX_TABLE_BYTES = 2**17 + 2**12  # of a table of every 16-bit value, and its words
PIXEL_DATA = 0x7FE00010
TABLES = (0x00283000, 0x00283010, 0x00283006)  # modality, VOI, and the data of each
# The other elements are passed over: they cost nothing, and who the patient is, is none
# of our business.
KEPT = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "RescaleSlope", "RescaleIntercept", "RescaleType"),
    *("ModalityLUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("VOILUTSequence", "PixelData", "Modality", "BodyPartExamined"),
)
# Others are refused: deflate and RLE may unfold to gigabytes before anyone can count,
# lossless JPEG and JPEG-LS need a decoder of their own.
PLAIN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
ENCAPSULATED = (
    "1.2.840.10008.1.2.4.50",  # JPEG, 8 bits
    "1.2.840.10008.1.2.4.90",  # JPEG 2000, lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
)
GREY = ("MONOCHROME1", "MONOCHROME2")
XRAYS = ("CR", "DX", "DR")  # DR is no term of the standard, and written all the same
CHESTS = ("CHEST", "THORAX")
WORD = 16  # characters of a code string (DICOM PS3.5, 6.2)


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


def doubt_dicom(dataset: "Dataset") -> str | None:
    """What the file of `read_dicom` says of itself that makes it no X-ray of a chest.

    A sentence; None where it says nothing of the kind, or nothing.

    Raises:
        ValueError: damaged.
    """

    def word(name: str) -> str:
        text = str(dataset.get(name) or "")
        return "".join(filter(str.isprintable, text))[:WORD].upper()

    with _one_line():
        modality, part = word("Modality"), word("BodyPartExamined")
    if modality and modality not in XRAYS:
        return f"The file calls its modality {modality}, not {' or '.join(XRAYS)}."
    if part and not any(chest in part for chest in CHESTS):
        return f"The file calls the body part {part}, not CHEST."
    return None


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except ValueError as error:  # pydicom's may have several lines
        raise ValueError(" ".join(str(error).split())[:200]) from None
    except Exception as error:  # noqa: BLE001 - pydicom raises anything on damaged files
        raise ValueError(f"damaged DICOM ({type(error).__name__})") from None


class _Header(io.BytesIO):
    """A file that is read piece by piece, but not by endlessly many of them.

    So elements and items are counted while they are parsed, however they are nested.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._reads_left = MAX_READS

    def read(self, size: int | None = -1) -> bytes:
        self._reads_left -= 1
        if self._reads_left < 0:
            raise ValueError(ENDLESS)
        return super().read(size)

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        if self._reads_left < 0:  # pydicom makes another error of it within an item
            raise ValueError(ENDLESS) from None


def _read(content: bytes) -> "Dataset":
    from pydicom.datadict import tag_for_keyword
    from pydicom.filereader import read_dataset, read_partial

    with _Header(content[PREAMBLE + 4 :]) as file:
        meta = read_dataset(
            file,
            is_implicit_VR=False,
            is_little_endian=True,
            stop_when=lambda tag, *_: tag >> 16 != 2,
        )
    _check_lengths(meta)
    syntax = meta.get("TransferSyntaxUID", None)
    if syntax not in (*PLAIN, *ENCAPSULATED):
        name = getattr(syntax, "name", None) or "none named"
        raise ValueError(
            f"its transfer syntax ({name}) is not read: uncompressed, JPEG and JPEG "
            "2000 are"
        )
    with _Header(content) as file:
        dataset = read_partial(
            file,
            stop_when=lambda tag, *_: tag > PIXEL_DATA,
            specific_tags=[tag_for_keyword(name) for name in KEPT],
        )
    _check_lengths(dataset)
    return dataset


def _check_lengths(dataset: "Dataset") -> None:
    """Refuse values that would unfold to far more when they are looked at."""
    from pydicom.dataelem import RawDataElement

    for element in dataset.elements():  # as they were read
        if isinstance(element, RawDataElement):
            _check_length(element)
        elif element.VR == "SQ":  # of undefined length, which is parsed at once
            for item in element.value:
                _check_lengths(item)


def _check_length(element: "RawDataElement") -> None:
    implied = element.tag == PIXEL_DATA and element.VR in ("UN", None)
    if implied or element.VR in ("OB", "OW"):  # which stay the bytes that they are
        return
    most = MAX_TABLE_BYTES if element.tag in TABLES else MAX_VALUE_BYTES
    if element.length > most:
        raise ValueError(
            f"its element {element.tag} has {element.length} bytes, more than {most}"
        )


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
        check_bounds(frame)
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
