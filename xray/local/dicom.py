"""DICOM files of drawn pixels, to try what reads them."""

import io
from typing import Any

import numpy as np


def encode_dicom(
    pixels: np.ndarray, syntax: str | None = None, **elements: Any
) -> bytes:
    """A DICOM file of drawn pixels, to try what reads them.

    Args:
        pixels: uint8, uint16 or int16 (rows, columns).
        syntax: transfer syntax; None is uncompressed.
        **elements: by keyword, to add or change; None leaves an element out.
            `PixelData` may hold an encoded frame.
    """
    from pydicom import Dataset, uid
    from pydicom.dataset import FileMetaDataset

    bits = pixels.dtype.itemsize * 8
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax or uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = (
        uid.DigitalXRayImageStorageForPresentation
    )
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    values = {
        "PatientName": "Drawn^Nobody",
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
