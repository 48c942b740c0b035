"""Image files for tests, as bytes."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image


def encode(image: Image.Image | np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    """The file that Pillow writes for an image or for uint8 or uint16 pixels."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def noise(size: int = 32, seed: int = 0) -> np.ndarray:
    """Random grey pixels, uint8 (size, size)."""
    return np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8)


def huge_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes that declares 8-bit grey pixels of any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, body)
        for kind, body in ((b"IHDR", header), (b"IDAT", b""), (b"IEND", b""))
    )


def _chunk(kind: bytes, body: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + check


def many_chunks(count: int) -> bytes:
    """A PNG of `noise()` with so many empty chunks besides its own three."""
    content = encode(noise())
    return content[:33] + _chunk(b"teSt", b"") * count + content[33:]


def many_scans(count: int, pixels: np.ndarray | None = None) -> bytes:
    """A progressive JPEG, of noise or `pixels`, that tells its last scan again."""
    content = encode(noise() if pixels is None else pixels, "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + last * count + content[-2:]
