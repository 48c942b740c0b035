"""ImageReader: the pixels of any images of a run, for every runner and worker."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xray.config.data import DataConfig
from xray.data.images import cached_copy, decode_image, load_images
from xray.data.pixels import PixelFile, empty_pixels, keep_rows
from xray.data.staged import STAGED, UNREADABLE, staged_pixels
from xray.storage.credentials import S3Access
from xray.storage.s3 import Storage


@dataclass(frozen=True)
class ImageReader:
    """What a process needs to read images.

    It travels to executors inside the pickled task, which Spark shows nowhere: not in
    its UI, its logs or its event log. Settings, which Spark does show, hold no secret.

    Attributes:
        access: credentials and endpoint.
        image_size: height and width in pixels of what is returned.
        threads: reads under way at once.
        cache_dir: folder of decoded images kept between runs; None keeps nothing.
        memory_bytes: pixels beyond which `load` keeps them in a file.
        decode: content of a raw image and size to pixels, or ValueError.
    """

    access: S3Access
    image_size: int
    threads: int
    cache_dir: Path | None = None
    memory_bytes: int = 2**30
    decode: Callable[[bytes, int], np.ndarray] = decode_image

    @classmethod
    def of(cls, data: DataConfig, access: S3Access) -> "ImageReader":
        """The reader that the configuration asks for."""
        sets = 3 if data.validation_fraction else 2
        return cls(
            access,
            data.image_size,
            data.read_threads,
            data.cache_dir,
            data.memory_mib * 2**20 // sets,  # all of them are held together
        )

    def outcomes(
        self, uris: Sequence[str], etags: Sequence[str]
    ) -> Iterator[tuple[int, np.ndarray | str]]:
        """(number, pixels or why there are none) of each image, in any order.

        Args:
            uris: addresses as in `Subset.uris`; staged images are not cached again.
            etags: their ETags.

        Raises:
            UserError: S3 itself or a staged shard fails, or `cache_dir` cannot be
                written.
        """
        storage, size = Storage(self.access, self.threads), self.image_size
        staged, raw = [], []
        for number, uri in enumerate(uris):
            if uri.startswith(UNREADABLE):
                yield number, uri.removeprefix(UNREADABLE)
            elif uri.startswith(STAGED):
                staged.append((number, uri))
            else:
                raw.append(number)
        yield from staged_pixels(storage, staged, size, self.threads)
        images = load_images(
            storage,
            [uris[number] for number in raw],
            [etags[number] for number in raw],
            size,
            self.threads,
            self.cache_dir,
            self.decode,
        )
        yield from zip(raw, images, strict=True)

    def count_cached(self, etags: Sequence[str]) -> int:
        """How many of these images `cache_dir` holds by now; 0 without one."""
        if self.cache_dir is None:
            return 0
        folder, size = self.cache_dir, self.image_size
        return sum(cached_copy(folder, etag, size).exists() for etag in etags)

    def load(
        self,
        uris: Sequence[str],
        etags: Sequence[str],
        progress: Callable[[int], object] = lambda count: None,
    ) -> tuple[np.ndarray | PixelFile, np.ndarray, dict[int, str]]:
        """The readable images together.

        Returns:
            uint8 (n, H, W, 1) in memory or in a file, their numbers (n,) ascending,
            and why the others are missing, by number.

        Args:
            uris: addresses of the images.
            etags: their ETags.
            progress: called with 1 after each image.

        Raises:
            UserError: S3 itself fails, or a folder cannot be written.
        """
        folder, size = self.cache_dir, self.image_size
        pixels = empty_pixels(len(uris), size, self.memory_bytes, folder)
        bad = {}
        for number, outcome in self.outcomes(uris, etags):
            if isinstance(outcome, str):
                bad[number] = outcome
            else:
                pixels[number] = outcome
            progress(1)
        good = np.array([n for n in range(len(uris)) if n not in bad], dtype=int)
        return keep_rows(pixels, good), good, bad
