"""Records read back: each run once, other files left out with the reason."""

import json
import re
import shutil
from datetime import timedelta

import pytest

from tests.factories import START, make_elephas, make_record
from tests.refusals import refused
from xray.records.reading import read_records
from xray.records.record import SCHEMA_VERSION


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", r"not a run record \(file: Invalid JSON"),
        ("", r"not a run record \(file: Invalid JSON"),
        ("[]", r"not a run record \(file: "),
        ("{}", r"not a run record \(run_id: Field required\)"),
        ("\udcff", r"not a run record \(file: Invalid JSON"),
    ],
)
def test_other_files_are_left_out_with_the_reason(tmp_path, content, reason):
    good = make_record()
    good.write(tmp_path)
    (tmp_path / "z.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    (tmp_path / "notes.txt").write_text("not looked at")
    records, (left_out,) = read_records(tmp_path)
    assert records == [good]
    assert re.search(reason, left_out)
    assert left_out.startswith(f"{tmp_path}/z.json: ")
    assert "\n" not in left_out


def test_newer_schema_is_left_out(tmp_path):
    make_record(schema_version=SCHEMA_VERSION + 1).write(tmp_path)
    records, (left_out,) = read_records(tmp_path)
    assert records == []
    assert left_out.endswith(
        f"schema {SCHEMA_VERSION + 1}, newer than {SCHEMA_VERSION}"
    )


def test_folder_named_like_a_record_is_left_out(tmp_path):
    (tmp_path / "folder.json").mkdir()
    assert len(read_records(tmp_path)[1]) == 1


def test_records_come_oldest_first(tmp_path):
    hours = (5, 1, 3)
    for hour in hours:
        created = START + timedelta(hours=hour)
        make_record(run_id=f"run{9 - hour}", created=created).write(tmp_path)
    records, _ = read_records(tmp_path)
    assert [r.created for r in records] == sorted(r.created for r in records)
    assert [r.run_id for r in records] == ["run8", "run6", "run4"]


def test_no_folder_is_no_record(tmp_path):
    assert read_records(tmp_path / "none") == ([], [])


def test_benchmarks_are_no_records(tmp_path):
    from xray.records.benchmark import write_benchmark

    write_benchmark(tmp_path, "sequential", {"images": 1}, {"limit": [1.0]})
    assert read_records(tmp_path) == ([], [])


def test_saved_models_are_no_records(tmp_path):
    for suffix in ("json", "keras"):
        (tmp_path / f"run_last.{suffix}").write_text("{}")
    assert read_records(tmp_path) == ([], [])


def test_a_copy_is_no_repeat(tmp_path):
    runs = [make_elephas(2, 50.0), make_record()]
    for folder in ("study", "other", "third"):
        for run in runs[: 2 if folder == "study" else 1]:
            run.write(tmp_path / folder)
    records, (left_out,) = read_records(tmp_path)
    assert sorted(run.run_id for run in records) == sorted(run.run_id for run in runs)
    assert left_out.startswith("2 copies ignored: ")
    assert f"{tmp_path}/third/{runs[0].run_id}.json is " in left_out


def test_a_file_named_twice_is_no_copy(tmp_path):
    record = make_record()
    path = record.write(tmp_path)
    assert read_records(tmp_path, path, tmp_path) == ([record], [])


def test_files_and_folders_are_read_together(tmp_path):
    one = make_record().write(tmp_path / "one")
    make_elephas(2, 50.0).write(tmp_path / "two")
    assert len(read_records(one, tmp_path / "two")[0]) == 2


def test_one_run_told_in_two_ways_is_refused_and_both_are_named(tmp_path):
    first = make_record().write(tmp_path / "a")
    other = tmp_path / "b.json"
    shutil.copy(first, other)
    content = json.loads(other.read_text())
    other.write_text(json.dumps(content, indent=4))  # the same in other words
    assert len(read_records(tmp_path)[0]) == 1
    content["phases"]["total"] += 1
    other.write_text(json.dumps(content))
    with refused(f"Two different records .*: {first} and {other}"):
        read_records(tmp_path)
