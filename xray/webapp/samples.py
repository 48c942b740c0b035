"""Pictures to try: drawn here, or those in a folder."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from werkzeug.exceptions import HTTPException

from xray.common.errors import UserError
from xray.local.phantom import draw
from xray.webapp.limits import Limits
from xray.webapp.uploads import encode_png, read_picture

DRAWN = (
    (),
    ("Cardiomegaly",),
    ("Effusion",),
    ("Pneumothorax",),
    ("Mass",),
    ("Emphysema",),
    ("Consolidation",),
    ("Atelectasis", "Nodule"),
)
DRAWN_SIZE = 512
THUMBNAIL_SIZE = 192
MOST = 24  # of a folder
MIMETYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "DICOM": "application/dicom"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """One picture to try.

    Attributes:
        name: of the file, which the browser gives it.
        title: what it shows.
        mimetype: of the content.
        content: the file, or where it is.
        thumbnail: a small grey PNG.
    """

    name: str
    title: str
    mimetype: str
    content: bytes | Path
    thumbnail: bytes

    def read(self) -> bytes:
        """The file's content."""
        if isinstance(self.content, Path):
            return self.content.read_bytes()
        return self.content


def drawn_samples() -> list[Sample]:
    """Chest X-rays drawn from a seed: not real ones, and of no medical value."""
    return [_drawn(index, findings) for index, findings in enumerate(DRAWN)]


def _drawn(index: int, findings: Sequence[str]) -> Sample:
    grey = Image.fromarray(draw(findings, DRAWN_SIZE, np.random.default_rng(index)))
    title = " and ".join(findings) or "No finding"
    return Sample(
        name=f"drawn-{title.replace(' ', '-').lower()}.png",
        title=title,
        mimetype="image/png",
        content=encode_png(grey, DRAWN_SIZE),
        thumbnail=encode_png(grey, THUMBNAIL_SIZE),
    )


def folder_samples(folder: Path, limits: Limits) -> list[Sample]:
    """The first 24 pictures in `folder`, by name; what is no picture is left out.

    Raises:
        UserError: no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise UserError(f"--samples {folder} is no folder. Name one with X-rays.")
    samples = []
    for path in sorted(folder.iterdir()):
        if path.is_file() and len(samples) < MOST:
            samples += _from_file(path, limits)
    if not samples:
        raise UserError(
            f"--samples {folder} holds no PNG, JPEG or DICOM picture. Name another, or "
            "leave it out: pictures are drawn then."
        )
    return samples


def _from_file(path: Path, limits: Limits) -> list[Sample]:
    if path.stat().st_size > limits.upload_bytes:
        logger.warning("%s is left out of the samples: too many bytes", path)
        return []
    try:
        picture = read_picture(path.read_bytes(), limits.pixels)
    except HTTPException as error:
        logger.warning("%s is left out of the samples: %s", path, error.description)
        return []
    mimetype = MIMETYPES[picture.kind]
    thumbnail = encode_png(picture.grey, THUMBNAIL_SIZE)
    return [Sample(path.name, path.name, mimetype, path, thumbnail)]
