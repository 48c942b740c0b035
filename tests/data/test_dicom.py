"""DICOM files, drawn on the fly, and what is refused of them."""

import io

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


def test_header_of_endless_elements_is_left():
    from pydicom import dcmread

    dataset = dcmread(io.BytesIO(dicom(PIXELS)))
    for number in range(6000):
        dataset.add_new((0x0029, 0x1000 + number), "LO", "x")
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    with refused("^it holds no pixels$", ValueError):
        open_picture(file.getvalue(), LIMIT)


def test_animation_and_other_formats_are_refused():
    still = Image.fromarray(PIXELS)
    animated = encode(
        still, save_all=True, append_images=[Image.fromarray(255 - PIXELS)]
    )
    with refused("^an animation of 2 frames$", ValueError):
        open_picture(animated, LIMIT)
    with refused("^not a PNG", UnknownFormat):
        open_picture(encode(still, "GIF"), LIMIT)
