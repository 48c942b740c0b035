"""Reading many images at once, in memory and beyond it."""

import json

import numpy as np

from tests.conftest import run_script
from tests.pictures import encode
from xray.data.pixels import PixelFile
from xray.data.reader import ImageReader
from xray.storage.credentials import load_access

# Loads every image of a bucket, visits all of them as an epoch does, and tells by how
# much the process has grown.
MEASURE = """
import json, sys
import numpy as np
from xray.config.run import RunConfig
from xray.storage.credentials import load_access
from xray.training.batches import Feed
from xray.records.machine import peak_memory_bytes
from xray.data.reader import ImageReader
from xray.storage.s3 import Storage

config = RunConfig.model_validate_json(sys.argv[1])
access = load_access(config.data.credentials, config.data.endpoint_url)
reader = ImageReader.of(config.data, access)
listed = Storage(access).list_objects(config.data.images)
uris = [f"s3://nih/{o.key}" for o in listed]
etags = [o.etag for o in listed]
reader.load(uris[:8], etags[:8])  # boto3 and Pillow are not what is measured
before = peak_memory_bytes()
pixels, good, bad = reader.load(uris, etags)
feed = Feed(pixels, np.zeros((len(good), 15)), 8, seed=0)
total = sum(int(images.sum()) for images, _ in feed)
grown = peak_memory_bytes() - before
print(json.dumps({"images": len(good), "total": total, "grown": grown}))
"""


def reader_of(bucket, **data) -> ImageReader:
    config = bucket.config(data=data).data
    return ImageReader.of(config, load_access(config.credentials, config.endpoint_url))


def load(reader, names, progress=lambda count: None):
    uris = [f"s3://nih/{name}" for name in names]
    return reader.load(uris, [""] * len(names), progress)


def test_unreadable_images_leave_no_hole(own_bucket, tmp_path):
    for value in range(6):
        pixels = encode(np.full((32, 32), value, np.uint8))
        (own_bucket.folder / f"{value}.png").write_bytes(pixels)
    (own_bucket.folder / "2.png").write_bytes(b"no image")
    names, counted = [f"{value}.png" for value in range(7)], []
    for memory_mib in (1, 0):
        reader = reader_of(own_bucket, memory_mib=memory_mib)
        pixels, good, bad = load(reader, names, counted.append)
        assert isinstance(pixels, PixelFile) == (memory_mib == 0)
        assert list(good) == [0, 1, 3, 4, 5]
        assert bad == {2: "not a PNG or JPEG image", 6: "no such key"}
        assert [int(p) for p in pixels[:][:, 0, 0, 0]] == [0, 1, 3, 4, 5]
    assert counted == [1] * 14


def test_images_beyond_the_memory_budget_stay_on_disk(bucket):
    """160 MiB of pixels with a budget of 16, and without one."""
    grown = {}
    for memory_mib in (16, 1024):
        # 160 images, 1 MiB each
        data = {"image_size": 1024, "memory_mib": memory_mib, "read_threads": 4}
        config = bucket.config(data=data)
        done = run_script("-c", MEASURE, config.model_dump_json())
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert result["images"] == 160
        grown[memory_mib] = (result["grown"], result["total"])
    assert grown[16][1] == grown[1024][1]  # the same pixels
    assert grown[1024][0] > 150 * 2**20
    assert grown[16][0] < 100 * 2**20  # AHEAD_BYTES and the threads' own
