"""Decoding, and loading with and without a cache."""

import hashlib
import warnings
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from tests.pictures import encode, huge_png, noise
from tests.refusals import refused
from xray.data.images import decode_image, load_images
from xray.storage.credentials import load_access
from xray.storage.s3 import Storage

PIXELS = noise(32)


def grey() -> Image.Image:
    return Image.fromarray(PIXELS)


def with_alpha(mode: str) -> Image.Image:
    image = grey().convert(mode)
    image.putalpha(Image.fromarray(noise(32, seed=1)))
    return image


def palette() -> Image.Image:
    """A palette image whose colours are grey, in an order of their own."""
    shades = np.random.default_rng(2).permutation(256).astype(np.uint8)
    place = np.argsort(shades)
    image = Image.fromarray(place[PIXELS].astype(np.uint8), "P")
    image.putpalette(np.repeat(shades, 3).tobytes())
    return image


def deep(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.astype(np.uint16))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(encode(grey()), id="L"),
        pytest.param(encode(grey().convert("RGB")), id="RGB"),
        pytest.param(encode(with_alpha("RGBA")), id="RGBA"),
        pytest.param(encode(with_alpha("LA")), id="LA"),
        pytest.param(encode(palette()), id="palette"),
        pytest.param(encode(palette(), transparency=7), id="palette, one transparent"),
        pytest.param(
            encode(palette(), transparency=bytes(range(256))), id="palette with alpha"
        ),
        pytest.param(encode(deep(PIXELS.astype(int) * 257)), id="16 bits"),
    ],
)
def test_every_kind_of_png_gives_the_same_pixels(content):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoded = decode_image(content, 32)
    assert decoded.shape == (32, 32, 1)
    assert decoded.dtype == np.uint8
    assert (decoded[..., 0] == PIXELS).all()


@pytest.mark.parametrize(
    ("value", "expected"), [(65535, 255), (32768, 128), (255, 0), (256, 1), (0, 0)]
)
def test_sixteen_bits_keep_their_high_byte(value, expected):
    content = encode(deep(np.full((8, 8), value)))
    assert (decode_image(content, 8) == expected).all()


def test_one_bit_is_black_and_white():
    content = encode(Image.fromarray(PIXELS > 127))
    assert (decode_image(content, 32)[..., 0] == np.where(PIXELS > 127, 255, 0)).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg(mode):
    slope = np.repeat(np.arange(0, 256, 8, dtype=np.uint8)[None], 32, axis=0)
    content = encode(Image.fromarray(slope).convert(mode), "JPEG", quality=95)
    decoded = decode_image(content, 32)[..., 0].astype(int)
    assert np.abs(decoded - slope).max() < 12


@pytest.mark.parametrize("shape", [(64, 64), (100, 50), (16, 40)])
def test_other_shapes_are_resized_to_a_square(shape):
    decoded = decode_image(encode(np.full(shape, 77, np.uint8)), 32)
    assert decoded.shape == (32, 32, 1)
    assert (decoded == 77).all()


def test_shrinking_averages():
    checkers = (np.indices((64, 64)).sum(axis=0) % 2 * 200).astype(np.uint8)
    assert np.abs(decode_image(encode(checkers), 16).astype(int) - 100).max() <= 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "^not a PNG or JPEG image$"),
        (b"plain text", "^not a PNG or JPEG image$"),
        (encode(grey(), "GIF"), "^not a PNG or JPEG image$"),
        (encode(grey())[:20], "not a PNG or JPEG image|Truncated"),
        (encode(grey())[:300], "OSError: .*truncated"),
        (encode(grey(), "JPEG")[:400], "OSError: .*truncated"),
        (huge_png(50_000, 50_000), "^more than 89478485 pixels$"),
        (huge_png(10_000, 10_000), "^10000x10000 pixels, more than 89478485$"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_refused_content(content, message):
    with refused(message, ValueError):
        decode_image(content, 32)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_threads_agree_and_leave_the_warning_filters_alone():
    before = list(warnings.filters)
    contents = [encode(grey()), huge_png(10_000, 10_000)] * 100

    def outcome(content: bytes) -> bool:
        try:
            return decode_image(content, 32).any()
        except ValueError:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outcome, contents)) == [True, False] * 100
    assert warnings.filters == before


class Shelf:
    """Images in a bucket of their own, loaded as a run loads them."""

    def __init__(self, bucket, cache_dir=None) -> None:
        self.storage = Storage(load_access(bucket.credentials))
        self.folder, self.cache_dir = bucket.folder, cache_dir
        self.etags = defaultdict(str)

    def add(self, name: str, content: bytes) -> None:
        (self.folder / name).write_bytes(content)
        self.etags[name] = hashlib.md5(content).hexdigest()

    def load(self, *names: str, size: int = 32):
        return list(
            load_images(
                self.storage,
                [f"s3://nih/{name}" for name in names],
                [self.etags[name] for name in names],
                size,
                threads=4,
                cache_dir=self.cache_dir,
            )
        )


@pytest.fixture
def shelf(own_bucket, tmp_path) -> Shelf:
    return Shelf(own_bucket, tmp_path / "cache" / "images")


def test_order_is_kept(bucket):
    names = [f"images/{p.name}" for p in sorted((bucket.folder / "images").iterdir())]
    shelf = Shelf(bucket)
    images = shelf.load(*reversed(names), size=64)
    assert len(images) == len(names)
    for name, pixels in zip(reversed(names), images, strict=True):
        expected = decode_image((bucket.folder / name).read_bytes(), 64)
        assert (pixels == expected).all()


def test_bad_images_are_told_and_the_others_loaded(shelf):
    shelf.add("good.png", encode(grey()))
    shelf.add("text.png", b"not an image")
    first, gone, text, last = shelf.load("good.png", "gone.png", "text.png", "good.png")
    assert (first[..., 0] == PIXELS).all()
    assert (gone, text) == ("no such key", "not a PNG or JPEG image")
    assert (last == first).all()


def test_more_images_than_one_batch_of_reads(shelf, monkeypatch):
    monkeypatch.setattr("xray.data.images.AHEAD_BYTES", 0)  # one image a thread
    for value in range(9):
        shelf.add(f"{value}.png", encode(np.full((32, 32), value, np.uint8)))
    images = shelf.load(*(f"{value}.png" for value in range(9)))
    assert [pixels.max() for pixels in images] == list(range(9))


def test_second_load_reads_the_cache_alone(shelf):
    shelf.add("a.png", encode(grey()))
    (first,) = shelf.load("a.png")
    (shelf.folder / "a.png").unlink()
    (second,) = shelf.load("a.png")
    assert (second == first).all()
    assert second.shape == (32, 32, 1)


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 2000])
def test_damaged_cache_file_is_repaired(shelf, content):
    shelf.add("a.png", encode(grey()))
    shelf.load("a.png")
    (cached,) = shelf.cache_dir.iterdir()
    cached.write_bytes(content)
    (pixels,) = shelf.load("a.png")
    assert (pixels[..., 0] == PIXELS).all()
    assert cached.read_bytes() == PIXELS.tobytes()


def test_other_size_is_another_file(shelf):
    shelf.add("a.png", encode(grey()))
    shelf.load("a.png")
    (small,) = shelf.load("a.png", size=16)
    assert small.shape == (16, 16, 1)
    assert len(list(shelf.cache_dir.iterdir())) == 2


def test_bad_image_is_never_cached(shelf):
    shelf.add("a.png", b"not an image")
    assert shelf.load("a.png") == ["not a PNG or JPEG image"]
    shelf.add("a.png", encode(grey()))
    (pixels,) = shelf.load("a.png")
    assert (pixels[..., 0] == PIXELS).all()


def test_cache_folder_that_is_a_file(shelf):
    shelf.add("a.png", encode(grey()))
    shelf.cache_dir.parent.write_text("")
    with refused("data.cache_dir .* cannot be written: .* Choose another folder"):
        shelf.load("a.png")


def test_a_cached_copy_is_of_one_content(shelf):
    shelf.add("a.png", encode(grey()))
    shelf.load("a.png")
    shelf.add("a.png", encode(np.full((32, 32), 7, np.uint8)))
    assert (shelf.load("a.png")[0] == 7).all()
    shelf.add("a.png", encode(grey()))
    assert (shelf.load("a.png")[0][..., 0] == PIXELS).all()


def test_an_image_replaced_since_its_listing_ends_the_reading(shelf):
    shelf.add("a.png", encode(grey()))
    (shelf.folder / "a.png").write_bytes(encode(np.zeros((32, 32), np.uint8)))
    with refused("s3://nih/a.png was replaced since it was listed"):
        shelf.load("a.png")


def test_each_image_is_read_once(faulty, tmp_path):
    proxy, bucket = faulty
    shelf = Shelf(bucket, tmp_path / "cache")
    names = sorted(f"images/{p.name}" for p in (bucket.folder / "images").iterdir())[
        :40
    ]
    for name in names:
        content = (bucket.folder / name).read_bytes()
        shelf.etags[name] = hashlib.md5(content).hexdigest()
    shelf.load(*names)
    assert len(proxy.requests) == len(names)
    shelf.load(*names)
    assert len(proxy.requests) == len(names)  # the second time from the cache


def test_an_s3_that_stays_away_ends_many_reads_soon(faulty, monkeypatch):
    """Reads that wait behind the first failure do not each wait as long again."""
    proxy, bucket = faulty
    monkeypatch.setenv("XRAY_S3_PATIENCE_SECONDS", "3")
    proxy.plan = lambda request: "503"
    with refused("answers 503 .* and did so for 3 s"):
        Shelf(bucket).load(*(f"images/{n}.png" for n in range(100)))
    tries = Counter(request.path for request in proxy.requests)
    # Four threads tried theirs for three seconds; what came after was given up at once.
    assert 1 <= sum(times > 2 for times in tries.values()) <= 4
