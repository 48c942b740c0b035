"""Staged shards: the same pixels and work as raw images, written once, checked.

A whole run that reads them is in tests/runners/test_runners.py.
"""

import dataclasses
import io
import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.conftest import assert_one_line, run_script
from tests.data.test_dataset import fill
from tests.faulty_s3 import FaultyS3, burst
from tests.pictures import encode, noise
from tests.refusals import refused
from xray.data.dataset import find_dataset
from xray.data.labels import FINDINGS
from xray.data.reader import ImageReader
from xray.data.shard_files import FORMATS
from xray.data.staged import MANIFEST, read_manifest
from xray.data.staging import Staging, plan_staging
from xray.spark.staging import write_on_spark
from xray.storage.credentials import load_access
from xray.storage.s3 import Storage

PREFIX = "s3://nih/staged/"


class Stage:
    """Twelve images with a place to stage them to, on S3 or in folders."""

    def __init__(self, bucket, monkeypatch, on_s3=True):
        fill(bucket)
        monkeypatch.setattr("xray.data.staging.SHARD_BYTES", 32 * 32 * 3)  # four shards
        self.bucket, self.folder = bucket, bucket.folder / "staged"
        self.endpoint_url, self.on_s3 = None, on_s3

    def data(self, **data):
        data = {**self.places(), "max_bad_fraction": 0.5, **data}
        return self.bucket.config(data=data).data

    def places(self):
        if self.on_s3:
            return {"staged": PREFIX}
        root = self.bucket.folder
        return {
            "images": f"{root}/images",
            "labels": f"{root}/Data_Entry_2017_v2020.csv",
            "staged": str(self.folder),
        }

    def access(self):
        return load_access(self.bucket.credentials, self.endpoint_url)

    def plan(self, form="parquet", **data) -> Staging:
        return plan_staging(self.data(**data), self.access(), form)

    def run(self, form="parquet", **data) -> int:
        """The number of shards written."""
        staging = self.plan(form, **data)
        for plan in staging.missing:
            staging.write(plan)
        staging.finish()
        return len(staging.missing)

    def load(self, **data):
        """Dataset, and pixels, numbers and reasons of its training images."""
        data = self.data(**data)
        dataset = find_dataset(data, Storage(self.access()))
        reader = ImageReader.of(data, self.access())
        return dataset, *reader.load(dataset.train.uris, dataset.train.etags)

    def forget_md5(self) -> None:
        """Leave manifest and notes as earlier versions wrote them."""
        for path in (*self.folder.glob("notes/*"), self.folder / MANIFEST):
            content = json.loads(path.read_text())
            for shard in content.get("shards") or [content["shard"]]:
                del shard["md5"]
            path.write_text(json.dumps(content))

    def files(self) -> dict[str, bytes]:
        paths = sorted(p for p in self.folder.rglob("*") if p.is_file())
        return {str(p.relative_to(self.folder)): p.read_bytes() for p in paths}

    def image(self, number: int):
        return self.bucket.folder / "images" / f"{number:08d}.png"


@pytest.fixture
def stage(own_bucket, monkeypatch) -> Stage:
    return Stage(own_bucket, monkeypatch)


@pytest.fixture(params=["s3", "folder"])
def anywhere(own_bucket, monkeypatch, request) -> Stage:
    return Stage(own_bucket, monkeypatch, request.param == "s3")


@pytest.mark.parametrize("form", ["parquet", "tfrecord"])
def test_staged_images_are_the_raw_ones_bit_for_bit(anywhere, form):
    raw, pixels, numbers, _ = anywhere.load(staged=None)
    assert anywhere.run(form) > 1
    for path in anywhere.bucket.folder.glob("images/*"):
        path.unlink()  # nothing is read from there any more
    staged, again, staged_numbers, bad = anywhere.load()
    np.testing.assert_array_equal(pixels, again)
    np.testing.assert_array_equal(numbers, staged_numbers)
    assert not bad
    data = anywhere.data()
    assert staged.identity(data) == raw.identity(data)
    assert staged.listed == raw.listed


def test_tfrecord_shards_are_refused_in_a_process_with_jax(stage, monkeypatch):
    stage.run()
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    stage.load()
    manifest = stage.folder / MANIFEST
    manifest.write_text(manifest.read_text().replace('"parquet"', '"tfrecord"'))
    with refused("TFRecord shards, which TensorFlow alone reads.*--format parquet"):
        stage.load()


def test_an_unreadable_image_is_told_like_a_raw_one(anywhere):
    anywhere.image(3).write_bytes(b"no image")
    anywhere.image(6).write_bytes(encode(noise(8))[:60])
    raw, _, _, reasons = anywhere.load(staged=None, test_fraction=0.2)
    anywhere.run()
    staged, pixels, numbers, bad = anywhere.load(test_fraction=0.2)
    assert bad == reasons
    assert len(pixels) == len(numbers) == len(raw.train) - len(bad)
    assert staged.identity(anywhere.data()) == raw.identity(anywhere.data())


def test_staged_in_a_folder_is_staged_on_s3(own_bucket, monkeypatch):
    stages = [Stage(own_bucket, monkeypatch, on_s3) for on_s3 in (True, False)]
    stages[1].folder = own_bucket.folder / "other"
    for stage in stages:
        assert stage.run() > 1
    on_s3, in_folder = (stage.files() for stage in stages)
    assert [n for n in on_s3 if n[:6] == "shards"]
    for name in on_s3.keys() - {MANIFEST}:
        assert on_s3[name] == in_folder[name], name


def test_too_many_unreadable_images_end_in_an_error(stage):
    stage.image(3).write_bytes(b"no image")
    with refused("1 of 12 images cannot be read, more than data.max_bad_fraction=0.0"):
        stage.run(max_bad_fraction=0.0)
    assert stage.run(max_bad_fraction=0.1) == 0  # the shards were kept


def test_a_second_run_writes_nothing(anywhere):
    anywhere.run()
    before = anywhere.files()
    assert anywhere.run() == 0
    after = anywhere.files()
    manifests = [json.loads(files.pop(MANIFEST)) for files in (before, after)]
    assert before == after
    for manifest in manifests:
        del manifest["created"]
    assert manifests[0] == manifests[1]


def test_an_interrupted_run_goes_on(stage):
    staging = stage.plan()
    staging.write(staging.missing[0])
    with refused("Nothing is staged under s3://nih/staged/. Run experiments/stage.py"):
        stage.load()
    assert stage.run() == len(staging.plans) - 1
    stage.load()


def test_a_changed_image_costs_its_shard_alone(anywhere):
    anywhere.run()
    before = anywhere.files()
    anywhere.image(5).write_bytes(encode(noise(8, seed=99)))
    assert anywhere.run() == 1
    after = anywhere.files()
    # One shard, its note, the index; old ones are gone.
    assert len(before.keys() - after.keys()) == len(after.keys() - before.keys()) == 3
    raw, pixels, *_ = anywhere.load(staged=None)
    np.testing.assert_array_equal(pixels, anywhere.load()[1])


def test_a_changed_label_is_staged_anew(stage):
    stage.run()
    labels = stage.bucket.folder / "Data_Entry_2017_v2020.csv"
    labels.write_text(
        labels.read_text().replace("00000005.png,Mass", "00000005.png,Edema")
    )
    assert stage.run() == 1
    raw, staged = stage.load(staged=None)[0], stage.load()[0]
    assert raw.identity(stage.data()) == staged.identity(stage.data())


def test_shards_are_read_by_pandas_with_labels_and_patients(stage):
    stage.run()
    files = stage.folder.glob("shards/part-*.parquet")
    table = pd.concat(map(pd.read_parquet, files)).set_index("image").sort_index()
    assert list(table.index) == [f"{n:08d}.png" for n in range(12)]
    assert (table["Mass"] == 1).all()
    assert table[list(FINDINGS)].to_numpy().sum() == 12
    assert list(table["patient"]) == [str(n // 2) for n in range(12)]
    assert {len(pixels) for pixels in table["pixels"]} == {32 * 32}


def test_tfrecords_are_read_by_tensorflow(stage):
    import tensorflow as tf

    stage.run("tfrecord")
    (first, *_) = sorted(stage.folder.glob("shards/part-*.tfrecord"))
    wanted = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "pixels": tf.io.FixedLenFeature([], tf.string),
        "labels": tf.io.FixedLenFeature([15], tf.int64),
    }
    for record in tf.data.TFRecordDataset(str(first)):
        example = tf.io.parse_single_example(record, wanted)
        assert example["image"].numpy().endswith(b".png")
        assert tf.io.decode_raw(example["pixels"], tf.uint8).shape == (32 * 32,)
        assert example["labels"][FINDINGS.index("Mass")] == 1


def test_the_manifest_tells_source_counts_sizes_and_order(stage):
    stage.run()
    manifest = read_manifest(Storage(stage.access()), PREFIX)
    assert (manifest.images, manifest.listed, manifest.unreadable) == (12, 12, 0)
    assert manifest.labels == FINDINGS
    assert manifest.source_images == "s3://nih/images/"
    for shard in manifest.shards:
        assert shard.bytes == (stage.folder / shard.name).stat().st_size
    assert sum(shard.images for shard in manifest.shards) == 12
    index = pq.read_table(io.BytesIO((stage.folder / manifest.index).read_bytes()))
    assert len({*index.column("etag").to_pylist()}) == 12


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"image_size": 64}, "staged with data.image_size 32. Got 64"),
        ({"images": "s3://nih/image"}, "data.images s3://nih/images/. Got s3://nih/im"),
        ({"labels": "s3://nih/x.csv"}, "with data.labels s3://nih/Data.*. Got"),
        ({"where": {"Patient ID": "0..3"}}, "with data.where {}. Got .*0..3"),
    ],
)
def test_data_staged_otherwise_are_refused(stage, data, message):
    stage.run()
    with refused(message):
        stage.load(**data)
    with refused(message):
        stage.run(**data)


def test_shards_of_a_part_serve_that_part_alone(stage):
    stage.run(limit=8)
    assert len(stage.load(limit=8)[0].train.names) < 8
    with refused(
        "holds the images of data.limit=8, data.seed=0 only. Got data.limit=N"
    ):
        stage.load()
    stage.run()  # and may be completed
    stage.load(limit=8)
    assert len(stage.load()[0].train) > len(stage.load(limit=8)[0].train)


def test_another_format_in_the_same_place_is_refused(stage):
    stage.run()
    with refused("holds parquet shards. Got --format tfrecord"):
        stage.run("tfrecord")


@pytest.mark.parametrize(
    ("form", "damage", "earlier"),
    [
        *(("parquet", damage, False) for damage in ("cut", "gone", "other", "pixel")),
        ("parquet", "pixel", True),
        ("tfrecord", "pixel", False),
    ],
)
def test_a_damaged_shard_is_named_and_staged_anew(anywhere, form, damage, earlier):
    """Earlier versions wrote no MD5: their shards are known by ETag and size."""
    anywhere.run(form)
    if earlier:
        anywhere.forget_md5()
    expected = anywhere.files()
    shards = sorted(anywhere.folder.glob(f"shards/part-*.{form}"))
    for shard in shards:
        if damage == "cut":
            shard.write_bytes(shard.read_bytes()[:-200])
        elif damage == "gone":
            shard.unlink()
        elif damage == "pixel":
            content = bytearray(shard.read_bytes())
            content[content.find(bytes(anywhere.load(staged=None)[1][0])) + 5] ^= 1
            shard.write_bytes(content)
        else:
            table = pd.DataFrame({"image": ["a"], "etag": ["b"], "patient": ["c"]})
            table = table.assign(**dict.fromkeys(FINDINGS, 0))
            pixels = np.zeros((1, 16, 16, 1), np.uint8)
            shard.write_bytes(FORMATS[form].encode(table, pixels))
    with refused(
        rf"Staged shard .*/staged/shards/part-.*\.{form} cannot .*stage.py with"
    ):
        anywhere.load()
    assert anywhere.run(form) == len(shards)
    anywhere.load()
    shards_of = {name: expected[name] for name in expected if name[:6] == "shards"}
    assert shards_of.items() <= anywhere.files().items()


def test_one_damaged_shard_costs_itself_alone(anywhere):
    anywhere.run()
    first = sorted(anywhere.folder.glob("shards/*"))[0]
    first.write_bytes(first.read_bytes()[:-1])
    sorted(anywhere.folder.glob("notes/*"))[1].write_bytes(b"{")
    assert anywhere.run() == 2
    anywhere.load()


def test_shards_of_an_earlier_version_are_read(stage):
    stage.run()
    pixels = stage.load()[1]
    stage.forget_md5()
    assert stage.run() == 0
    np.testing.assert_array_equal(stage.load()[1], pixels)


def test_a_copy_with_other_etags_is_read(stage):
    stage.run()
    manifest = stage.folder / MANIFEST
    content = json.loads(manifest.read_text())
    for shard in content["shards"]:
        shard["etag"] = "0" * 32 + "-2"
    manifest.write_text(json.dumps(content))
    stage.load()


def test_a_prefix_beside_one_of_a_longer_name_is_its_own(stage):
    stage.run(staged="s3://nih/staged-old/")
    assert stage.run(staged="s3://nih/staged") > 1
    stage.load(staged="s3://nih/staged")


def test_keys_that_may_not_delete_stage_all_the_same(stage, caplog):
    """As the policies in emr/ have it."""
    with FaultyS3(stage.bucket.server.endpoint_url) as proxy:
        proxy.plan = lambda request: "denied" if request.method == "DELETE" else None
        stage.endpoint_url = proxy.endpoint_url
        stage.run()
        stage.image(5).write_bytes(encode(noise(8, seed=99)))
        assert stage.run() == 1
        assert proxy.count("DELETE", "/nih/") > 1
    assert "3 old files remain under s3://nih/staged" in caplog.text


def test_staging_through_a_faulty_s3_is_staging(stage, monkeypatch):
    monkeypatch.setenv("XRAY_S3_PATIENCE_SECONDS", "60")
    stage.run()
    raw, staged = stage.load(staged=None), stage.load()
    expected = stage.files()
    shutil.rmtree(stage.folder)
    with FaultyS3(stage.bucket.server.endpoint_url, burst(seed=3)) as proxy:
        stage.endpoint_url = proxy.endpoint_url
        stage.run()
        written = stage.files()
        through = stage.load(staged=None), stage.load()
    for files in (expected, written):
        del files[MANIFEST]  # it holds the time
    assert written == expected
    for plain, faulty in zip((raw, staged), through, strict=True):
        assert faulty[0].identity(stage.data()) == plain[0].identity(stage.data())
        np.testing.assert_array_equal(faulty[1], plain[1])
        assert faulty[3] == plain[3] == {}


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff"])
def test_a_damaged_manifest_is_refused(stage, content):
    stage.run()
    (stage.folder / MANIFEST).write_bytes(content)
    with refused("manifest.json is no manifest of staged data"):
        stage.load()


def test_a_damaged_index_is_refused(stage):
    stage.run()
    (index,) = stage.folder.glob("index-*")
    index.write_bytes(index.read_bytes()[:100])
    with refused("Index s3://nih/staged/index-.* cannot be read"):
        stage.load()


def test_a_prefix_that_cannot_be_written_is_refused_before_reading(stage):
    with refused("Bucket 'elsewhere' does not exist"):
        stage.run(staged="s3://elsewhere/staged/")


@pytest.mark.slow
class TestOnSpark:
    def test_executors_write_the_same_shards(self, stage, cluster):
        stage.run()
        expected = stage.files()
        shutil.rmtree(stage.folder)
        staging, counted = stage.plan(), []
        write_on_spark(staging, cluster, counted.append)
        staging.finish()
        assert sum(counted) == 12
        written = stage.files()
        for files in (expected, written):
            del files[MANIFEST]  # it holds the time
        assert written == expected

    def test_a_refusal_on_an_executor_is_one_line(self, stage, cluster):
        staging = stage.plan()
        closed = dataclasses.replace(
            staging.reader.access, endpoint_url="http://127.0.0.1:9"
        )
        reader = dataclasses.replace(staging.reader, access=closed)
        with refused("S3 endpoint http://127.0.0.1:9 does not answer"):
            write_on_spark(
                dataclasses.replace(staging, reader=reader), cluster, lambda count: None
            )

    def test_spark_reads_the_shards(self, stage, cluster):
        from pyspark.sql import SparkSession

        stage.run()
        table = SparkSession(cluster.context).read.parquet(
            f"file://{stage.folder}/shards/"
        )
        rows = table.select("image", "Mass", "pixels").collect()
        assert len(rows) == 12
        assert all(row.Mass == 1 and len(row.pixels) == 32 * 32 for row in rows)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([], "data.staged is not set. Give the prefix to write to"),
        (["--set", "data.staged=gs://b/here"], "data.staged"),
    ],
)
def test_a_missing_prefix_is_asked_for(bucket, tmp_path, settings, message):
    config = bucket.write_config(tmp_path / "run.yaml")
    done = run_script("experiments/stage.py", "--config", config, *settings)
    assert done.returncode == 2
    assert_one_line(done.stderr, message)
