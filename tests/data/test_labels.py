"""The NIH label file, with the quirks of its editions."""

import gzip
import tracemalloc
import warnings

import numpy as np
import pytest

from tests.refusals import refused
from xray.config.schemas import NIH
from xray.data import labels
from xray.data.labels import FINDINGS, read_labels

SOURCE = "s3://bucket/labels.csv"
# The header of Data_Entry_2017_v2020.csv: eleven fields, since two names hold a comma.
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
    "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS = (
    "00000001_000.png,Cardiomegaly,0,1,57,M,PA,2682,2749,0.143,0.143",
    "00000001_001.png,Cardiomegaly|Emphysema,1,1,58,M,PA,2894,2729,0.143,0.143",
    "00000002_000.png,No Finding,0,2,80,M,PA,2500,2048,0.171,0.171",
)


def csv(*rows: str, header: str = HEADER, end: str = "\n") -> bytes:
    return (end.join((header, *rows)) + end).encode()


def found(table, image: str) -> set[str]:
    row = table.loc[image]
    return {name for name in FINDINGS if row[name]}


def test_fifteen_labels_in_the_order_of_the_alphabet():
    assert len(FINDINGS) == 15
    assert list(FINDINGS) == sorted(FINDINGS)


def test_rows_become_patient_and_multi_hot_labels():
    table = read_labels(csv(*ROWS), SOURCE)
    assert list(table.columns) == ["patient", *FINDINGS]
    assert list(table.index) == [row.split(",")[0] for row in ROWS]
    assert list(table["patient"]) == ["1", "1", "2"]
    assert (table[list(FINDINGS)].dtypes == np.uint8).all()
    assert [found(table, image) for image in table.index] == [
        {"Cardiomegaly"},
        {"Cardiomegaly", "Emphysema"},
        {"No Finding"},
    ]


def test_every_finding_has_its_own_column():
    rows = [f"{i}.png,{name},0,{i},1,M,PA,1,1,1,1" for i, name in enumerate(FINDINGS)]
    table = read_labels(csv(*rows), SOURCE)
    assert (table[list(FINDINGS)].to_numpy() == np.eye(15)).all()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(gzip.compress(csv(*ROWS), mtime=0), id="gzip"),
        pytest.param(csv(*ROWS, end="\r\n"), id="Windows line ends"),
        pytest.param(b"\xef\xbb\xbf" + csv(*ROWS), id="byte order mark"),
        pytest.param(
            csv(*(row + "," for row in ROWS), header=HEADER + ","),
            id="first edition: comma after header and rows",
        ),
        pytest.param(csv(*(row + "," for row in ROWS)), id="comma after rows only"),
        pytest.param(
            csv(*(row.replace("|", " | ") for row in ROWS)), id="spaces around bars"
        ),
        pytest.param(
            csv(*(row.replace(",Card", ", Card") for row in ROWS)), id="space before"
        ),
    ],
)
def test_same_table_from_other_editions(content):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = read_labels(content, SOURCE)
    assert table.equals(read_labels(csv(*ROWS), SOURCE))


def test_same_finding_with_and_without_a_space():
    table = read_labels(csv(ROWS[0], "b.png,Edema| Cardiomegaly,0,2,,,,,,,"), SOURCE)
    assert found(table, "b.png") == {"Cardiomegaly", "Edema"}


def test_columns_that_are_not_needed_may_be_absent_or_empty():
    content = csv("a.png,Mass,1", header="Image Index,Finding Labels,Patient ID")
    assert found(read_labels(content, SOURCE), "a.png") == {"Mass"}
    content = csv("a.png,Mass,,1,,,,,,,")
    assert found(read_labels(content, SOURCE), "a.png") == {"Mass"}


def test_quoted_header():
    quoted = HEADER.replace("OriginalImage[Width,Height]", '"OriginalImage[Width,H]"')
    row = "a.png,Mass,0,7,57,M,PA,2682 2749,0.143,0.143"
    assert read_labels(csv(row, header=quoted), SOURCE)["patient"].item() == "7"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (csv(ROWS[0], ROWS[0]), "image '00000001_000.png' more than once"),
        (csv("a.png,Mass|Cold,0,1"), "unknown finding 'Cold'. The 15 known ones: Atel"),
        (csv("a.png,mass,0,1"), "unknown finding 'mass'"),
        (csv("1", header="Image Index"), "lacks column 'Patient ID'"),
        (csv("x,y", header="Image Index,Patient ID"), "lacks column 'Finding Labels'"),
        (csv(ROWS[0], ",Mass,0,1"), "empty field in line 3. Fill it in"),
        (csv("a.png,,0,1"), "empty field in line 2"),
        (csv("a.png,Mass,0,"), "empty field in line 2"),
        (b"", "not a CSV file .EmptyDataError"),
        (b"<html>\n<body>not here</body></html>", "lacks column 'Image Index'"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not a CSV file|lacks column"),
        (b"\xff\xfeI\x00m\x00", "not a CSV file .UnicodeDecodeError"),
        (csv('"never closed', *ROWS), "not a CSV file .ParserError"),
        (gzip.compress(csv(*ROWS), mtime=0)[:60], "not a CSV file .EOFError"),
        (b"\x1f\x8b\x08junk", "not a CSV file"),
        (
            gzip.compress(csv(*ROWS), mtime=0)[:-8] + b"12345678",
            "not a CSV file .BadGzipFile",
        ),
    ],
)
def test_refused_file(content, message):
    with refused(f"^{SOURCE} .*{message}"):
        read_labels(content, SOURCE)


WIDE = ",".join(f"column{number}" for number in range(200_000))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            gzip.compress(bytes(300 * 2**20), 1, mtime=0),
            "has more than 128 MiB",
            id="zeros",
        ),
        pytest.param(csv(header=WIDE), "has 200000 columns, more than 1000", id="wide"),
        pytest.param(
            csv(WIDE, header='"first\nline",' + WIDE),
            "lacks column 'Image Index'",
            id="wide behind a line break",
        ),
        pytest.param(
            csv(*(f"{n}.png,Cold{n},0,{n}" for n in range(30_000))),
            "has unknown finding 'Cold0'",
            id="as many findings as rows",
        ),
    ],
)
def test_what_would_fill_the_memory_is_refused(content, message):
    tracemalloc.start()
    with refused(f"^{SOURCE} .*{message}"):
        read_labels(content, SOURCE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**28


def test_the_limit_is_of_bytes_unzipped(monkeypatch):
    content = csv(*ROWS)
    monkeypatch.setattr(labels, "MAX_BYTES", len(content))
    assert len(read_labels(content, SOURCE)) == len(ROWS)
    assert len(read_labels(gzip.compress(content, mtime=0), SOURCE)) == len(ROWS)
    monkeypatch.setattr(labels, "MAX_BYTES", len(content) - 1)
    for form in (content, gzip.compress(content, mtime=0)):
        with refused("has more than 0 MiB"):
            read_labels(form, SOURCE)


def test_header_alone_is_an_empty_table():
    table = read_labels(csv(), SOURCE)
    assert table.empty
    assert list(table.columns) == ["patient", *FINDINGS]


def test_name_in_the_label_file():
    assert NIH.name_of("images_001/images/00000001_000.png") == "00000001_000.png"
    assert NIH.name_of("00000001_000.png") == "00000001_000.png"
