"""Files that are small, and would cost their decoder minutes."""

import numpy as np
import pytest
from PIL import Image

from tests.pictures import encode, many_chunks, many_scans, noise
from tests.refusals import refused
from xray.data.bounds import MAX_JPEG_SCANS, MAX_PNG_CHUNKS, check_bounds
from xray.data.images import decode_image, decode_picture, open_picture
from xray.local.dicom import encode_dicom

PIXELS = noise(32)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (many_chunks(1_000_000), "a PNG of more than 20000 chunks"),
        (many_scans(3000), "a JPEG of more than 50 scans"),
    ],
)
@pytest.mark.parametrize(
    "decode", [lambda content: decode_image(content, 32), check_bounds]
)
def test_bombs_are_refused_by_every_decoder(content, words, decode):
    with refused(f"^{words}$", ValueError):
        decode(content)
    with refused(f"^{words}$", ValueError):
        open_picture(content, 10_000)
    with refused(f"^cannot be read: {words}$", ValueError):
        decode_picture(content, 32)


def test_a_bomb_inside_a_dicom_file_is_refused():
    from pydicom.encaps import encapsulate

    frame = encapsulate([many_scans(3000, PIXELS)])
    content = encode_dicom(PIXELS, "1.2.840.10008.1.2.4.50", PixelData=frame)
    with refused("^a JPEG of more than 50 scans$", ValueError):
        open_picture(content, 10_000)


def test_as_many_as_are_allowed_are_read():
    chunks = many_chunks(MAX_PNG_CHUNKS - 3)  # and IHDR, IDAT, IEND
    np.testing.assert_array_equal(decode_image(chunks, 32)[..., 0], PIXELS)
    with refused("chunks", ValueError):
        check_bounds(many_chunks(MAX_PNG_CHUNKS - 2))
    own = encode(Image.fromarray(PIXELS), "JPEG", progressive=True).count(b"\xff\xda")
    scans = many_scans(MAX_JPEG_SCANS - own)
    assert decode_image(scans, 32).shape == (32, 32, 1)
    with refused("scans", ValueError):
        check_bounds(many_scans(MAX_JPEG_SCANS - own + 1))


def test_other_files_are_none_of_its_business():
    for content in (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"\xff\xda" * 1000):
        check_bounds(content)
