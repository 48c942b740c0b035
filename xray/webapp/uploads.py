"""The picture in a request, checked by its content, or the status code it deserves."""

import base64
import io

from flask import Request, request
from PIL import Image
from werkzeug.exceptions import (
    BadRequest,
    RequestEntityTooLarge,
    UnprocessableEntity,
    UnsupportedMediaType,
)

from xray.data.images import (
    Picture,
    TooManyPixels,
    UnknownFormat,
    open_picture,
    why_refused,
)
from xray.data.limited import run_limited

FIELD = "image"
PREVIEW_SIZE = 1024


class MemoryRequest(Request):
    """A request whose files stay in memory; Flask's own go to disk above 500 kB."""

    def _get_file_stream(self, *_: object, **__: object) -> io.BytesIO:
        return io.BytesIO()


def upload_content() -> bytes:
    """The uploaded file: the body of the request, or its form field `image`.

    Raises:
        BadRequest: 400, the form has no such field, or several.
        RequestEntityTooLarge: 413.
    """
    if request.mimetype != "multipart/form-data":
        return request.get_data(cache=False)
    files = request.files.getlist(FIELD)
    if len(files) != 1:
        raise BadRequest(
            f"The form needs one file in its field {FIELD!r}. Got {len(files)}."
        )
    return files[0].read()


def read_picture(content: bytes, max_pixels: int) -> Picture:
    """The X-ray in an uploaded file.

    Raises:
        BadRequest: 400, the file is empty.
        RequestEntityTooLarge: 413, more pixels than are taken.
        UnsupportedMediaType: 415, neither PNG, JPEG nor DICOM.
        UnprocessableEntity: 422, damaged, animated, or without pixels.
    """
    if not content:
        raise BadRequest("The file is empty. Send a PNG, JPEG or DICOM picture.")
    try:
        return run_limited(open_picture, content, max_pixels)
    except (TooManyPixels, MemoryError) as error:
        raise RequestEntityTooLarge(
            f"The picture is {why_refused(error)}. Shrink it first."
        ) from None
    except UnknownFormat as error:
        raise UnsupportedMediaType(
            f"The file is {why_refused(error)}; its name does not matter, its content "
            "does."
        ) from None
    except ValueError as error:
        raise UnprocessableEntity(f"The picture {why_refused(error)}.") from None


def preview(picture: Picture) -> str:
    """A grey PNG as data: address, for a browser that cannot show the file itself."""
    return "data:image/png;base64," + base64.b64encode(
        encode_png(picture.grey, PREVIEW_SIZE)
    ).decode("ascii")


def encode_png(grey: Image.Image, size: int) -> bytes:
    """A PNG of the picture, shrunk to at most `size` pixels wide and high."""
    small = grey.copy()
    small.thumbnail((size, size), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    small.save(file, "PNG", compress_level=1)
    return file.getvalue()
