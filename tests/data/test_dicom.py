"""DICOM files, drawn on the fly, and what is refused of them."""

import cProfile
import struct

import numpy as np
import pytest
from PIL import Image

from tests.pictures import encode, noise
from tests.refusals import refused
from xray.data.images import TooManyPixels, UnknownFormat, open_picture, shrink
from xray.local.dicom import encode_dicom as dicom

PIXELS = noise(32)
LIMIT = 10_000
JPEG = "1.2.840.10008.1.2.4.50"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"
DEFLATED = "1.2.840.10008.1.2.1.99"

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def frame(pixels: np.ndarray, form: str, **options) -> bytes:
    """One encoded picture as a DICOM file holds it."""
    from pydicom.encaps import encapsulate

    return encapsulate([encode(pixels, form, **options)])


def grey(content: bytes) -> np.ndarray:
    picture = open_picture(content, LIMIT)
    assert picture.kind == "DICOM"
    return np.asarray(picture.grey).astype(int)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(dicom(PIXELS), id="8 bits"),
        pytest.param(dicom(PIXELS.astype(np.uint16) * 16, BitsStored=12), id="12 bits"),
        pytest.param(dicom(PIXELS.astype(np.int16) - 100), id="signed"),
        pytest.param(
            dicom(255 - PIXELS, PhotometricInterpretation="MONOCHROME1"), id="inverted"
        ),
        pytest.param(
            dicom(PIXELS, RescaleSlope="2.5", RescaleIntercept="-9"), id="rescaled"
        ),
        pytest.param(
            dicom(PIXELS, JPEG_2000, PixelData=frame(PIXELS, "JPEG2000", no_jp2=True)),
            id="JPEG 2000",
        ),
    ],
)
def test_every_kind_of_dicom_gives_the_same_pixels(content):
    # Without a window the darkest pixel is black and the brightest white.
    low, high = int(PIXELS.min()), int(PIXELS.max())
    expected = np.rint((PIXELS.astype(float) - low) / (high - low) * 255)
    assert np.abs(grey(content) - expected).max() <= 1


def test_jpeg_in_dicom():
    slope = np.repeat(np.arange(0, 256, 8, dtype=np.uint8)[None], 32, axis=0)
    content = dicom(slope, JPEG, PixelData=frame(slope, "JPEG", quality=95))
    assert np.abs(grey(content) - slope).max() < 12


def test_window_of_the_file_is_used():
    stored = np.arange(0, 4096, 128, dtype=np.uint16).reshape(4, 8)
    shown = grey(dicom(stored, BitsStored=12, WindowCenter=1024, WindowWidth=512))
    assert (shown[stored <= 768] == 0).all()
    assert (shown[stored >= 1280] == 255).all()
    assert shown[stored == 1024] == pytest.approx(128, abs=1)


def test_wide_and_narrow_pictures_become_squares_like_any_other():
    picture = open_picture(dicom(np.tile(PIXELS, (1, 2))), LIMIT)
    assert shrink(picture.grey, 16).shape == (16, 16, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (dicom(PIXELS, PixelData=None), "^it holds no pixels$"),
        (dicom(PIXELS, PixelData=b""), "^it holds no pixels$"),
        (dicom(PIXELS)[:-200], "less than expected"),
        (dicom(PIXELS)[:200], "transfer syntax .none named. is not read"),
        (dicom(PIXELS, NumberOfFrames=3), "^it holds 3 frames; one is read$"),
        (dicom(PIXELS, SamplesPerPixel=3), "MONOCHROME1 and MONOCHROME2 are read"),
        (dicom(PIXELS, BitsAllocated=32), "^its pixels have 32 bits"),
        (dicom(PIXELS, Rows=None), r"^damaged DICOM \(AttributeError\)$"),
        (
            dicom(PIXELS, RLE, PixelData=frame(PIXELS, "PNG")),
            r"transfer syntax \(RLE Lossless\) is not read",
        ),
        (
            dicom(PIXELS, JPEG, Rows=16, PixelData=frame(PIXELS, "JPEG")),
            "another size than its header",
        ),
        (
            dicom(PIXELS, JPEG, PixelData=frame(PIXELS, "GIF")),
            r"^damaged DICOM \(UnidentifiedImageError\)$",
        ),
    ],
)
def test_refused_dicom(content, message):
    with refused(message, ValueError):
        open_picture(content, LIMIT)


def test_deflated_dicom_is_refused_before_it_unfolds():
    with refused("transfer syntax .Deflated.* is not read", ValueError):
        open_picture(dicom(PIXELS, DEFLATED), LIMIT)


def test_pixels_are_counted_before_they_are_decoded():
    with refused("^50000x50000 pixels, more than 10000$", TooManyPixels):
        open_picture(dicom(PIXELS, Rows=50_000, Columns=50_000), LIMIT)


ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
UNDEFINED = 2**32 - 1


def sequence(tag: int, body: bytes, length: int | None = None) -> bytes:
    """A sequence in explicit VR, of its body's length unless another is given."""
    head = struct.pack(
        "<HH2sHL", tag >> 16, tag & 0xFFFF, b"SQ", 0, length or len(body)
    )
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0) if length == UNDEFINED else b""
    return head + body + end


def with_element(element: bytes, before: int = 0x00280002) -> bytes:
    """A sound file with one more element, before one that it has."""
    content = dicom(PIXELS)
    place = content.index(struct.pack("<HH", before >> 16, before & 0xFFFF))
    return content[:place] + element + content[place:]


def test_a_sequence_like_any_other_is_passed_over():
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 8 + 2)
    name = struct.pack("<HH2sH", 0x10, 0x10, b"PN", 2) + b"A^"
    for length in (None, UNDEFINED):
        content = with_element(sequence(0x00081140, (item + name) * 50, length))
        np.testing.assert_array_equal(grey(content), grey(dicom(PIXELS)))


OPEN_ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED)
END_OF_ITEM = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
NESTED = struct.pack("<HH2sHL", 0x20, 0x9999, b"SQ", 0, UNDEFINED) + OPEN_ITEM


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            with_element(
                b"".join(
                    struct.pack("<HH2sH", 0x29, 0x1000 + n, b"LO", 2) + b"x "
                    for n in range(12_000)
                ),
                before=0x7FE00010,
            ),
            "its header has thousands of elements",
            id="elements",
        ),
        pytest.param(
            with_element(sequence(0x00081140, ITEM * 100_000, UNDEFINED)),
            r"its header has thousands of elements|damaged DICOM \(OSError\)",
            id="empty items",
        ),
        pytest.param(
            with_element(sequence(0x00020099, ITEM * 100_000, UNDEFINED), 0x00080060),
            r"its header has thousands of elements|damaged DICOM \(OSError\)",
            id="empty items before the header",
        ),
        pytest.param(
            with_element(NESTED * 10_000),
            r"damaged DICOM \((RecursionError|OSError)\)",
            id="one in the other",
        ),
        pytest.param(
            with_element(sequence(0x00283010, ITEM * 100_000), 0x7FE00010),
            r"its element \(0028,3010\) has 800000 bytes, more than 135168",
            id="empty tables",
        ),
        pytest.param(
            with_element(
                sequence(
                    0x00283010,
                    OPEN_ITEM + sequence(0x00283002, ITEM * 100_000) + END_OF_ITEM,
                    UNDEFINED,
                ),
                0x7FE00010,
            ),
            r"its element \(0028,3002\) has 800000 bytes, more than 1024",
            id="inside a table",
        ),
        pytest.param(
            dicom(PIXELS, WindowCenter=[1] * 2000, WindowWidth=[1] * 2000),
            r"its element \(0028,1050\) has 8000 bytes, more than 1024",
            id="windows",
        ),
        pytest.param(
            dicom(PIXELS, PixelData=None) + sequence(0x7FE00010, ITEM * 100_000),
            r"its element \(7FE0,0010\) has 800000 bytes, more than 1024",
            id="pixels that are a sequence",
        ),
    ],
)
def test_headers_that_unfold_are_refused_while_they_are_read(content, message):
    with cProfile.Profile() as profile, refused(f"^({message})$", ValueError):
        open_picture(content, LIMIT)
    calls = sum(entry.callcount for entry in profile.getstats())
    assert calls < 500_000, "millions without the bounds, for the items alone"


def test_a_table_of_every_value_is_used():
    from pydicom import Dataset

    table = Dataset()
    table.LUTDescriptor = [0, 0, 16]  # 65536 entries
    table.LUTData = np.arange(2**16, dtype=np.uint16)[::-1].tobytes()
    table["LUTData"].VR = "OW"
    stored = PIXELS.astype(np.uint16) * 257
    content = dicom(stored, VOILUTSequence=[table])
    assert np.abs(grey(content) - (255 - PIXELS.astype(int))).max() <= 1


def test_animation_and_other_formats_are_refused():
    still = Image.fromarray(PIXELS)
    animated = encode(
        still, save_all=True, append_images=[Image.fromarray(255 - PIXELS)]
    )
    with refused("^an animation of 2 frames$", ValueError):
        open_picture(animated, LIMIT)
    with refused("^not a PNG", UnknownFormat):
        open_picture(encode(still, "GIF"), LIMIT)
