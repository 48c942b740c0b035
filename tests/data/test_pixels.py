"""Pixels in memory and in a file behave alike."""

import numpy as np
import pytest

from tests.refusals import refused
from xray.data.pixels import PixelFile, empty_pixels, keep_rows

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 1), dtype=np.uint8)


@pytest.fixture(params=["memory", "file"])
def pixels(request, tmp_path):
    filled = empty_pixels(7, 4, 112 if request.param == "memory" else 111, tmp_path)
    assert isinstance(filled, PixelFile) == (request.param == "file")
    for row, image in enumerate(IMAGES):
        filled[row] = image
    return filled


@pytest.mark.parametrize(
    "rows", [slice(None), slice(2, 5), np.array([6, 0, 3]), np.array([], dtype=int)]
)
def test_rows_come_as_asked_for(pixels, rows):
    np.testing.assert_array_equal(pixels[rows], IMAGES[rows])
    assert pixels[rows].dtype == np.uint8


def test_shape_and_length(pixels):
    assert (len(pixels), pixels.shape) == (7, (7, 4, 4, 1))


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4, 5, 6], [0, 2, 5], [6], []])
def test_only_kept_rows_remain(pixels, rows):
    rows = np.array(rows, dtype=int)
    kept = keep_rows(pixels, rows)
    assert kept.shape == (len(rows), 4, 4, 1)
    np.testing.assert_array_equal(kept[:], IMAGES[rows])


def test_the_file_has_no_name_and_its_folder_is_made(tmp_path):
    folder = tmp_path / "new"
    images = empty_pixels(3, 4, 0, folder)
    assert list(folder.iterdir()) == []
    assert len(images[:]) == 3


def test_a_folder_without_room_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with refused("need 1 MiB in .*file.* data.memory_mib"):
        empty_pixels(1024, 32, 0, tmp_path / "file")


def test_more_than_the_disk_holds_is_refused_at_once(tmp_path):
    with refused("MiB in .*Set data.cache_dir to a folder with more room"):
        empty_pixels(2**31, 2048, 0, tmp_path)
