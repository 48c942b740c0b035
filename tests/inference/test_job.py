"""What an inference job is made of before a model is loaded."""

import pandas as pd
import pytest

from tests.data.test_dataset import fill
from tests.refusals import refused
from xray.data.labels import FINDINGS
from xray.data.staging import plan_shards, plan_staging
from xray.inference.inputs import find_inputs
from xray.inference.job import cut_parts, steady_rate
from xray.inference.scoring import Pace
from xray.inference.settings import job_config, knows_labels, user_settings
from xray.model.sidecar import ModelInfo
from xray.storage.credentials import load_access
from xray.storage.s3 import Storage


def table(count: int) -> pd.DataFrame:
    names = [f"{number:08d}.png" for number in range(count)]
    return pd.DataFrame({"key": names, "uri": names, "etag": "e"})


def names_of(parts) -> set[str]:
    return {part.name for part in parts}


def test_parts_hold_every_image_once():
    images = table(5000)
    parts = cut_parts(images, 128, "parts")
    assert len(parts) == 8
    keys = pd.concat([part.images["key"] for part in parts])
    assert sorted(keys) == images["key"].tolist()
    assert [len(part) for part in cut_parts(table(3), 128, "parts")] == [3]
    assert len(cut_parts(table(600), 128, "parts")) == 8  # for several workers


def test_another_image_changes_its_part_alone():
    before, after = (cut_parts(table(n), 128, "parts") for n in (5000, 5001))
    assert len(names_of(before) - names_of(after)) == 1
    changed = table(5000)
    changed.loc[7, "etag"] = "f"
    assert len(names_of(before) - names_of(cut_parts(changed, 128, "parts"))) == 1


@pytest.mark.parametrize("size", [64, 128, 512])
def test_parts_are_whole_staged_shards(size):
    images = table(17_000)
    part_of = {
        key: part.name
        for part in cut_parts(images, size, "p")
        for key in part.images.key
    }
    labels = pd.DataFrame(0, images.key, list(FINDINGS))
    labels = labels.assign(patient="1", uri=images.key, etag="e")
    for plan in plan_shards(labels, size, "parquet"):
        assert len({part_of[name] for name in plan.images["image"]}) == 1


def test_staged_images_come_with_labels_and_those_that_are_unreadable(own_bucket):
    fill(own_bucket)
    (own_bucket.folder / "images" / "00000003.png").write_bytes(b"no image")
    data = {"staged": "s3://nih/staged/", "max_bad_fraction": 0.5}
    data = own_bucket.config(data=data).data
    access = load_access(data.credentials, data.endpoint_url)
    staging = plan_staging(data, access, "parquet")
    for plan in staging.missing:
        staging.write(plan)
    staging.finish()
    inputs = find_inputs(data, Storage(access), "all", labelled=True)
    assert inputs.images["key"].tolist() == [f"{n:08d}.png" for n in range(12)]
    assert inputs.images["uri"].str.startswith("unreadable:").sum() == 1
    assert inputs.labels["Mass"].sum() == 12
    test = find_inputs(data, Storage(access), "test", labelled=False)
    assert 0 < len(test.images) < 12
    assert list(test.labels.index) == test.images["key"].tolist()


def test_steady_is_from_each_workers_second_batch_on():
    def pace(worker, ends, images):
        return Pace(("host", worker), ends, images, 0.0)

    assert steady_rate([pace(1, [5.0], [64])]) is None
    # 128 images in 2 s, then one part more of the same worker: 192 in 4 s.
    first, second = pace(1, [5.0, 6, 7], [64, 64, 64]), pace(1, [9.0, 9.1], [64, 0])
    assert steady_rate([first]) == 64
    assert steady_rate([second, first]) == 48
    other = pace(2, [100.0, 102.0], [64, 32])
    assert steady_rate([first, other]) == 64 + 16


def info(**data) -> ModelInfo:
    images = {"images": "s3://nih/i/", "labels": "s3://nih/l.csv", "limit": 7}
    return ModelInfo(
        created="2026-03-01T12:00:00Z",
        runner="sequential",
        which="last",
        image_size=32,
        config={
            "data": {**images, "image_size": 32, "staged": "s3://nih/s/", **data},
            "runner": {"workers": 2},
        },
        images={"train": 1, "test": 1},
    )


def test_settings_are_the_runs_and_the_users_on_top(tmp_path):
    def settle(*overrides, config=None, **options):
        settings = user_settings(config, options, overrides)
        return knows_labels(settings["data"]), job_config(settings, info(), "m")

    labelled, config = settle()
    assert labelled
    assert (config.data.limit, config.data.staged) == (7, "s3://nih/s/")
    assert config.runner.workers is None  # those of the training run
    labelled, config = settle(images="s3://other/")
    assert not labelled
    assert (config.data.images, config.data.staged) == ("s3://other/", None)
    labelled, config = settle(
        "runner.workers=2", images="s3://o/", labels="s3://o/l.csv"
    )
    assert labelled
    assert (config.data.labels, config.runner.workers) == ("s3://o/l.csv", 2)
    path = tmp_path / "my.yaml"
    path.write_text("data: {images: s3://m/, labels: s3://m/l.csv, image_size: 32}")
    labelled, config = settle("data.seed=3", config=path)
    assert labelled
    assert (config.data.images, config.data.limit, config.data.seed) == (
        "s3://m/",
        7,
        3,
    )
    with refused("data.image_size must be the model's, 32. Got 64"):
        settle("data.image_size=64")
