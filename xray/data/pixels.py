"""Decoded images of one process: an array in memory, or a file where they exceed it."""

import os
import tempfile
from pathlib import Path

import numpy as np

from xray.common.errors import UserError


class PixelFile:
    """uint8 (N, S, S, 1) in an unnamed file, read by rows as if it were an array.

    Reads copy just the rows asked for; a memory map would count every page it has
    touched as this process' memory. The file is gone when its process is.

    Attributes:
        shape: (N, S, S, 1).
    """

    def __init__(self, count: int, size: int, folder: Path | None) -> None:
        self.shape = (count, size, size, 1)
        self._bytes_per_image = size * size
        wanted = max(1, count * self._bytes_per_image)
        try:
            if folder:
                folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(prefix="xray-", dir=folder)
            os.posix_fallocate(self._file.fileno(), 0, wanted)
        except OSError as error:
            raise UserError(
                f"{count} images of {size}x{size} need {wanted / 2**20:.0f} MiB in "
                f"{folder or tempfile.gettempdir()}: {error.strerror}. Set "
                "data.cache_dir to a folder with more room, or raise data.memory_mib."
            ) from None

    def __len__(self) -> int:
        """Images."""
        return self.shape[0]

    def __setitem__(self, row: int, pixels: np.ndarray) -> None:
        """Store one image."""
        offset = row * self._bytes_per_image
        os.pwrite(self._file.fileno(), np.ascontiguousarray(pixels), offset)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """The images at `rows`: uint8 (n, S, S, 1)."""
        rows = np.arange(len(self))[rows]
        images = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for image, row in zip(images, rows, strict=True):
            offset = int(row) * self._bytes_per_image
            os.preadv(self._file.fileno(), [image], offset)
        return images


def empty_pixels(
    count: int, size: int, memory_bytes: int, folder: Path | None
) -> np.ndarray | PixelFile:
    """Room for `count` images of `size` x `size`, in a file if beyond `memory_bytes`.

    Args:
        count: images.
        size: height and width in pixels.
        memory_bytes: the most that is kept in memory.
        folder: of the file; None is the system's temporary folder.

    Raises:
        UserError: the folder has no room.
    """
    if count * size * size > memory_bytes:
        return PixelFile(count, size, folder)
    return np.empty((count, size, size, 1), np.uint8)


def keep_rows(
    pixels: np.ndarray | PixelFile, rows: np.ndarray
) -> np.ndarray | PixelFile:
    """`pixels` with `rows` alone, moved to the front in place.

    Args:
        pixels: uint8 (N, S, S, 1).
        rows: ascending numbers of rows.
    """
    for target, row in enumerate(rows):
        if target != row:
            pixels[target] = pixels[row : row + 1][0]
    if isinstance(pixels, np.ndarray):
        return pixels[: len(rows)]
    pixels.shape = (len(rows), *pixels.shape[1:])
    return pixels
