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


def dicom(pixels: np.ndarray, syntax: str | None = None, **elements: Any) -> bytes:
    """A DICOM file of uint8, uint16 or int16 pixels, or of one encoded frame.

    Args:
        pixels: (rows, columns).
        syntax: transfer syntax; None is uncompressed.
        **elements: by keyword, to add or change; None leaves an element out.
            `PixelData` may be an encapsulated frame.
    """
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import (
        DigitalXRayImageStorageForPresentation,
        ExplicitVRLittleEndian,
    )

    bits = pixels.dtype.itemsize * 8
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax or ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    values = {
        "PatientName": "Nobody^Drawn",
        "Modality": "DX",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.tobytes(),
        **elements,
    }
    for name, value in values.items():
        if value is not None:
            setattr(dataset, name, value)
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()
