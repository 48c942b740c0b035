"""Images chosen by a column of the label file."""

import pandas as pd
import pytest

from tests.data.test_dataset import fill, find, identity
from tests.refusals import refused
from xray.data.matching import match_images, with_etags
from xray.data.staged import UNREADABLE
from xray.storage.credentials import S3Access, load_access
from xray.storage.s3 import Storage

ROWS = (  # two images a patient, as `fill` has them
    *(("PA", "F", "058Y"), ("AP", "F", "058Y"), ("PA", "M", "006M"), ("PA", "M", "2")),
    *(("AP", "M", "64"), ("PA", "M", "64.5"), ("PA", "F", ""), ("", "F", "17")),
)


@pytest.fixture
def described(own_bucket):
    fill(own_bucket, images=len(ROWS))
    path = own_bucket.folder / "Data_Entry_2017_v2020.csv"
    lines = path.read_text().splitlines()
    lines[0] += ",View Position,Patient Sex,Patient Age"
    lines[1:] = (
        f"{line},{','.join(row)}" for line, row in zip(lines[1:], ROWS, strict=True)
    )
    path.write_text("\n".join(lines) + "\n")
    return own_bucket


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"View Position": "PA"}, [0, 2, 3, 5, 6]),
        ({"View Position": "PA", "Patient Sex": "F"}, [0, 6]),
        ({"View Position": "PA|AP"}, range(7)),
        ({"Patient Age": "..2"}, [2, 3]),
        ({"Patient Age": "17..64"}, [0, 1, 4, 7]),
        ({"Patient Age": "64.."}, [4, 5]),
        ({"Patient ID": 0}, [0, 1]),
    ],
)
def test_images_that_fulfil_every_condition_are_kept(described, where, expected):
    data = described.config(data={"where": where}).data
    table, listed = match_images(
        data, Storage(load_access(data.credentials, data.endpoint_url))
    )
    assert list(table.index) == [f"{n:08d}.png" for n in expected]
    assert listed == len(ROWS)


def test_the_work_tells_its_conditions(described):
    work = identity(described, where={"View Position": "PA"})
    assert work["dataset"]["where"] == {"View Position": "PA"}
    assert "where" not in identity(described)["dataset"]


def test_conditions_that_nothing_fulfils(described):
    with refused("No image fulfils data.where .View Position LATERAL"):
        find(described, where={"View Position": "LATERAL"})
    with refused("lacks column 'View Positon'. Did you mean 'View Position'?"):
        find(described, where={"View Positon": "PA"})


def test_a_folder_is_the_same_work_as_a_bucket(own_bucket):
    fill(own_bucket)
    root = own_bucket.folder
    folder = {
        "images": f"{root}/images",
        "labels": f"{root}/Data_Entry_2017_v2020.csv",
    }
    assert identity(own_bucket, **folder) == identity(own_bucket)
    assert identity(own_bucket, limit=8, **folder) == identity(own_bucket, limit=8)
    before = identity(own_bucket)
    image = root / "images" / "00000003.png"
    image.write_bytes(image.read_bytes() + b" ")
    assert identity(own_bucket, **folder) == identity(own_bucket) != before


def test_a_file_that_cannot_be_read_is_told_with_its_reason(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    uris = [f"{tmp_path}/a", f"{tmp_path}/gone", "s3://nih/b"]
    table = pd.DataFrame({"uri": uris, "etag": ["", "", "known"]})
    found = with_etags(table, Storage(S3Access()), 2)
    assert list(found["uri"]) == [
        uris[0],
        f"{UNREADABLE}no such file or directory",
        uris[2],
    ]
    assert list(found["etag"]) == ["c4ca4238a0b923820dcc509a6f75849b", "", "known"]
    assert list(table["etag"]) == ["", "", "known"]
