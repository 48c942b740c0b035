"""The demo data: its format, its quirks and its repeatability."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.conftest import assert_one_line
from xray.common.errors import UserError
from xray.local.phantom import DRAWN_FINDINGS, draw
from xray.local.synthetic import CSV_NAME, NO_FINDING, generate, main

IMAGES, SIZE = 80, 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("synthetic") / "demo"
    generate(path, IMAGES, seed=3, size=SIZE)
    return path


@pytest.fixture(scope="module")
def table(folder) -> pd.DataFrame:
    return pd.read_csv(folder / CSV_NAME, index_col=False)


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def positives(table: pd.DataFrame) -> pd.DataFrame:
    return table["Finding Labels"].str.get_dummies("|")


def test_header_is_the_real_one(folder):
    lines = (folder / CSV_NAME).read_text().splitlines()
    assert lines[0] == (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
        "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
    )
    assert {line.count(",") for line in lines} == {10}


def test_columns_as_pandas_reads_them(table):
    assert table["OriginalImage[Width"].between(1000, 4000).all()
    assert table["Height]"].between(1000, 4000).all()
    assert table["y]"].between(0.1, 0.2).all()
    assert set(table["View Position"]) == {"PA", "AP"}
    assert set(table["Patient Gender"]) == {"M", "F"}
    assert table["Patient Age"].between(1, 95).all()


def test_lists_many_more_images_than_are_there(folder, table):
    there = {path.name for path in (folder / "images").iterdir()}
    assert len(there) == IMAGES
    assert len(table) == 10 * IMAGES
    assert there == set(table["Image Index"][:IMAGES])
    assert table["Image Index"].is_unique


def test_names_hold_patient_and_number(table):
    names = [
        f"{patient:08d}_{number:03d}.png"
        for patient, number in zip(
            table["Patient ID"], table["Follow-up #"], strict=True
        )
    ]
    assert names == list(table["Image Index"])


def test_several_images_a_patient(table):
    counts = table.groupby("Patient ID").size()[:-1]  # the last one may be cut
    assert counts.min() == 1
    assert counts.max() == 8
    assert counts.median() < counts.mean()


def test_every_finding_is_frequent(table):
    share = positives(table).mean()
    assert set(share.index) == {*DRAWN_FINDINGS, NO_FINDING}
    assert share[list(DRAWN_FINDINGS)].between(0.08, 0.20).all()
    assert 0.2 < share[NO_FINDING] < 0.4


def test_every_finding_is_among_the_images_that_are_there(table):
    assert (positives(table[:IMAGES]).sum() > 0).all()


def test_no_finding_stands_alone(table):
    labels = table["Finding Labels"]
    assert set(labels[labels.str.contains(NO_FINDING)]) == {NO_FINDING}
    assert labels.str.contains("|", regex=False).any()


def test_images_of_a_patient_are_alike_but_not_the_same(table):
    hits = positives(table)[list(DRAWN_FINDINGS)]
    again = table["Patient ID"].eq(table["Patient ID"].shift())
    before = hits.shift().eq(1).loc[again]
    now = hits.loc[again].eq(1)
    kept = (before & now).sum().sum() / before.sum().sum()
    assert 2 * hits.mean().mean() < kept < 0.9


def test_png_mode_and_size(folder):
    modes = []
    for path in (folder / "images").iterdir():
        with Image.open(path) as image:
            assert image.size == (SIZE, SIZE)
            modes.append(image.mode)
    assert set(modes) == {"L", "RGBA"}
    assert modes.count("RGBA") < IMAGES / 8


def test_usual_size_is_that_of_the_real_images(tmp_path):
    generate(tmp_path / "demo", images=1)
    path = tmp_path / "demo" / "images" / "00000001_000.png"
    with Image.open(path) as image:
        assert (image.size, image.mode) == ((1024, 1024), "L")
    assert 100_000 < path.stat().st_size < 500_000


def test_same_seed_same_bytes_with_any_number_of_threads(folder, tmp_path):
    generate(tmp_path / "again", IMAGES, seed=3, size=SIZE, workers=5)
    assert contents(tmp_path / "again") == contents(folder)


def test_other_seed_other_labels_and_pictures(folder, tmp_path):
    generate(tmp_path / "other", 4, seed=4, size=SIZE)
    ours, theirs = contents(tmp_path / "other"), contents(folder)
    assert all(ours[name] != theirs.get(name) for name in ours)


def test_second_call_rewrites_nothing_and_more_images_adds(tmp_path):
    generate(tmp_path, 5, size=SIZE)
    first = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    generate(tmp_path, 5, size=SIZE)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.*")} == first
    generate(tmp_path, 8, size=SIZE)
    images = [path for path in first if path.suffix == ".png"]
    assert all(path.stat().st_mtime_ns == first[path] for path in images)
    assert len(list((tmp_path / "images").iterdir())) == 8


def test_fewer_images_or_another_seed_leaves_as_a_new_folder(tmp_path):
    for images, seed in ((8, 0), (5, 0), (5, 1)):
        generate(tmp_path / "used", images, seed=seed, size=SIZE)
    generate(tmp_path / "new", 5, seed=1, size=SIZE)
    assert contents(tmp_path / "used") == contents(tmp_path / "new")


def test_interrupted_call_is_completed(folder, tmp_path):
    generate(tmp_path / "demo", IMAGES, seed=3, size=SIZE)
    for path in list((tmp_path / "demo" / "images").iterdir())[::2]:
        path.unlink()
    generate(tmp_path / "demo", IMAGES, seed=3, size=SIZE)
    assert contents(tmp_path / "demo") == contents(folder)


def test_folder_with_other_data_is_left_alone(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "00000001_000.png").write_bytes(b"a real one")
    with pytest.raises(UserError, match="not demo data"):
        generate(tmp_path, 5, size=SIZE)
    assert len(contents(tmp_path)) == 1


def test_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="not demo data"):
        generate(tmp_path / "file", 5, size=SIZE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": 0}, "images must be 1 to 100000. Got 0"),
        ({"images": 1, "seed": -1}, "seed must be 0 to"),
        ({"images": 1, "size": 8}, "size must be 16 to 4096. Got 8"),
        ({"images": 1, "listed_per_image": 0}, "listed_per_image must be"),
    ],
)
def test_number_out_of_range(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        generate(tmp_path, **settings)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("finding", DRAWN_FINDINGS)
def test_each_finding_is_visible_when_small(finding):
    def average(findings):
        pictures = [draw(findings, 64, np.random.default_rng(i)) for i in range(8)]
        return np.mean(pictures, axis=0)

    difference = np.abs(average([finding]) - average([]))
    # At least 10 of 4,096 pixels change by a tenth of the range, whatever the position.
    assert (difference > 25).sum() >= 10


def test_draw_returns_bytes_in_the_size_asked_for():
    picture = draw(["Mass", "Hernia"], 100, np.random.default_rng(0))
    assert picture.shape == (100, 100)
    assert picture.dtype == np.uint8
    assert picture.max() - picture.min() > 150


def test_command_line(tmp_path, capsys):
    folder = tmp_path / "demo"
    assert main([str(folder), "--images", "3", "--size", "32"]) == 0
    assert "3 images" in capsys.readouterr().out
    assert main([str(tmp_path), "--images", "3"]) == 2
    assert_one_line(capsys.readouterr().err, "not demo data")


def test_import_brings_no_framework():
    code = (
        "import sys, xray.local.synthetic, xray.local_s3, xray.local.s3\n"
        "heavy = {'tensorflow', 'keras', 'pyspark', 'boto3'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
