"""Image bytes to uint8 pixels, the same for every runner, each image decoded once."""

import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from xray.common.errors import UserError
from xray.common.files import write_whole
from xray.data.bounds import check_bounds
from xray.data.dicom import doubt_dicom, is_dicom, read_dicom, show_dicom
from xray.data.limited import run_limited
from xray.storage.s3 import Storage, UnreadableObject

EXTENSIONS = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")
AHEAD_BYTES = 2**26  # of pixels read before anyone asks for them
MAX_PICTURE_PIXELS = 20_000_000
"""Of a picture whose origin nobody vouches for; the largest chest detectors give 15."""


class UnknownFormat(ValueError):
    """The content is no image of a kind that can be read."""


class TooManyPixels(ValueError):
    """The image is so large that decoding it may be an attack."""


@dataclass(frozen=True)
class Picture:
    """One X-ray as people bring it.

    Attributes:
        kind: "PNG", "JPEG" or "DICOM", told by its content.
        grey: its pixels, of mode L and the size they came in.
        doubt: what a DICOM file says of itself that makes it no X-ray of a chest.
    """

    kind: str
    grey: Image.Image
    doubt: str | None = None


def decode_image(content: bytes, size: int) -> np.ndarray:
    """Grey pixels of one PNG, JPEG or DICOM file: uint8 (size, size, 1).

    RGBA, palette and colour become grey; 16 bits become 8 by their high byte, those of
    a DICOM image by the window that the file names.

    Raises:
        ValueError: not an image, truncated, or so large that it may be an attack.
    """
    if is_dicom(content):
        return decode_picture(content, size)
    return shrink(_decode(content, Image.MAX_IMAGE_PIXELS).grey, size)


def open_picture(content: bytes, max_pixels: int) -> Picture:
    """One PNG, JPEG or DICOM file whose origin nobody vouches for.

    `shrink` makes of it what `decode_image` gives. A DICOM image is shown through the
    window that the file names.

    Raises:
        UnknownFormat: its content is none of the three.
        TooManyPixels: it declares more than `max_pixels`.
        ValueError: damaged, without pixels, or more than one frame.
    """
    if is_dicom(content):
        dataset = read_dicom(content)
        _refuse_huge(max_pixels, dataset.Columns, dataset.Rows)
        return Picture("DICOM", show_dicom(dataset), doubt_dicom(dataset))
    return _decode(content, max_pixels, still=True)


def decode_picture(content: bytes, size: int) -> np.ndarray:
    """What the model sees of one PNG, JPEG or DICOM file: uint8 (size, size, 1).

    The same pixels as `decode_image` gives.

    Raises:
        ValueError: why not, in a few words (see `why_refused`).
    """
    if not content:
        raise ValueError("empty")
    try:
        if is_dicom(content):  # its decoder is the slowest, and the easiest to lead on
            picture = run_limited(open_picture, content, MAX_PICTURE_PIXELS)
        else:
            picture = open_picture(content, MAX_PICTURE_PIXELS)
        return shrink(picture.grey, size)
    except (ValueError, MemoryError) as error:
        raise ValueError(why_refused(error)) from None


def why_refused(error: Exception) -> str:
    """Why `open_picture` raised `error`, in a few words that follow "it is" or "it"."""
    if isinstance(error, TooManyPixels):
        return f"too large: {error}"
    if isinstance(error, MemoryError):
        return "too large: it needs more memory than there is"
    if isinstance(error, UnknownFormat):
        return "no PNG, JPEG or DICOM picture"
    reason = re.sub(r"^\w+Error: ", "", str(error))  # Pillow's, for programmers
    return f"cannot be read: {reason}"


def silence_decoders() -> None:
    """Keep what pydicom and Pillow think of foreign files out of this process' log."""
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"pydicom|PIL")


def shrink(grey: Image.Image, size: int) -> np.ndarray:
    """An image of mode L as the model takes it: uint8 (size, size, 1).

    Shrinking averages (Pillow's bilinear filter covers the whole source area).
    """
    if grey.size != (size, size):
        grey = grey.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(grey, dtype=np.uint8)[..., np.newaxis]


def _decode(content: bytes, max_pixels: int, still: bool = False) -> Picture:
    check_bounds(content)
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
            _refuse_huge(max_pixels, *image.size)
            if still and image.format == "PNG" and image.is_animated:
                raise ValueError(f"an animation of {image.n_frames} frames")
            # Phones write JPEG with a second picture inside, which Pillow calls MPO.
            kind = "PNG" if image.format == "PNG" else "JPEG"
            return Picture(kind, _to_grey(image))
    except UnidentifiedImageError:  # its message holds a memory address
        raise UnknownFormat("not a PNG or JPEG image") from None
    except Image.DecompressionBombError:
        raise TooManyPixels(f"more than {max_pixels} pixels") from None
    except (OSError, SyntaxError, Warning) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _refuse_huge(max_pixels: int, width: int, height: int) -> None:
    # Pillow only warns of these, and turning warnings into errors for a moment is
    # not safe in threads.
    if width * height > max_pixels:
        raise TooManyPixels(f"{width}x{height} pixels, more than {max_pixels}")


def _to_grey(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits: Pillow's convert("L") would clip
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode == "P":  # straight to L, Pillow warns of some transparent palettes
        image = image.convert("RGBA")
    return image.convert("L")


def load_images(
    storage: Storage,
    uris: Sequence[str],
    etags: Sequence[str],
    size: int,
    threads: int,
    cache_dir: Path | None = None,
    decode: Callable[[bytes, int], np.ndarray] = decode_image,
) -> Iterator[np.ndarray | str]:
    """Pixels of each image in order, uint8 (size, size, 1), or why it has none.

    Args:
        storage: where the images are.
        uris: their addresses.
        etags: their ETags as listed, which name the cached copies; an image that has
            another one by now is refused.
        size: height and width in pixels.
        threads: reads under way at once.
        cache_dir: folder of decoded images kept between runs; None keeps nothing.
        decode: content and size to pixels, or ValueError.

    Raises:
        UserError: S3 itself fails, an image was replaced or does not arrive whole, or
            `cache_dir` cannot be written.
    """

    def load(pair: tuple[str, str]) -> np.ndarray | str:
        try:
            return _load_one(storage, *pair, size, cache_dir, decode)
        except (UnreadableObject, ValueError) as error:
            return str(error)

    pairs = zip(uris, etags, strict=True)
    batch_size = max(threads, AHEAD_BYTES // size**2)
    with ThreadPoolExecutor(threads) as pool, ending_reads(storage):
        # In batches, so that reading never runs far ahead of whoever consumes this.
        while batch := list(islice(pairs, batch_size)):
            yield from pool.map(load, batch)


def cached_copy(cache_dir: Path, etag: str, size: int) -> Path:
    """Where a decoded image is kept between runs."""
    return cache_dir / f"{etag}-{size}.raw"


@contextmanager
def ending_reads(storage: Storage) -> Iterator[None]:
    """After an error in the block, or Ctrl-C, no thread waits on for a busy S3."""
    try:
        yield
    except BaseException:
        storage.give_up()
        raise


def _load_one(
    storage: Storage,
    uri: str,
    etag: str,
    size: int,
    cache_dir: Path | None,
    decode: Callable[[bytes, int], np.ndarray],
) -> np.ndarray:
    if cache_dir is None:
        return decode(storage.read(uri, etag), size)
    path = cached_copy(cache_dir, etag, size)
    try:
        return np.frombuffer(path.read_bytes(), np.uint8).reshape(size, size, 1)
    except (OSError, ValueError):  # absent, or cut short by a full disk
        pixels = decode(storage.read(uri, etag), size)
        _keep(path, pixels)
        return pixels


def _keep(path: Path, pixels: np.ndarray) -> None:
    try:
        # A lost one costs a decoding: not worth waiting for the disk.
        write_whole(path, lambda file: file.write(pixels.tobytes()), sync=False)
    except OSError as error:
        raise UserError(
            f"data.cache_dir {path.parent} cannot be written: {error.strerror}. Choose "
            "another folder, or null."
        ) from None
