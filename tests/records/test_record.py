"""Records on disk, and the hash that says who did the same work."""

import json
import os
import re
import resource
import stat
from datetime import UTC, datetime, timedelta

import pytest

from tests.factories import START, make_calibration, make_elephas, make_record
from xray.records.reading import read_records
from xray.records.record import (
    SCHEMA_VERSION,
    RunRecord,
    new_run_id,
    utc_now,
    work_differences,
    work_id,
)


def test_record_reads_back_equal(tmp_path):
    measured = make_record(calibration=make_calibration())
    records = [measured, make_record(), make_elephas(2, 50.0)]
    for record in records:
        path = record.write(tmp_path / "new" / "folder")
        assert path.name == f"{record.run_id}.json"
    assert read_records(tmp_path) == (records, [])


def test_file_is_whole_and_readable_by_all(tmp_path):
    before = os.umask(0o077)
    try:
        path = make_record().write(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == [path.name]  # nothing temporary is left
    text = path.read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert json.loads(text)["schema_version"] == SCHEMA_VERSION


def test_writing_again_replaces(tmp_path):
    record = make_record()
    record.write(tmp_path)
    record.error = "changed"
    record.write(tmp_path)
    assert read_records(tmp_path) == ([record], [])


def test_a_disk_that_refuses_leaves_no_half_of_a_record(tmp_path):
    record = make_record()
    path = record.write(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # bytes of a file
    try:
        for one in (record, make_record()):
            with pytest.raises(OSError, match="File too large"):
                one.write(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == [path.name]
    assert read_records(tmp_path) == ([record], [])


def test_loss_that_is_not_a_number_is_null(tmp_path):
    record = make_record()
    record.epochs[0].loss = float("nan")
    record.write(tmp_path)
    ((read,), left_out) = read_records(tmp_path)
    assert left_out == []
    assert read.epochs[0].loss is None


def test_field_of_a_newer_program_is_kept(tmp_path):
    content = json.loads(make_record().model_dump_json())
    content["colour"] = "blue"
    content["phases"]["nap"] = 1.5
    (tmp_path / "a.json").write_text(json.dumps(content))
    ((record,), _) = read_records(tmp_path)
    assert (record.colour, record.phases.nap) == ("blue", 1.5)
    assert json.loads(record.model_dump_json())["colour"] == "blue"


def test_required_fields_are_the_only_ones_required():
    record = RunRecord(
        run_id="x", created=START, status="failed", runner="gpu", seed=0, config={}
    )
    assert record.scores is None
    assert record.phases.total == 0


def test_work_id_does_not_depend_on_the_order_of_keys():
    one = {"model": {"alpha": 1.0, "pooling": "avg"}, "training": {"epochs": 5}}
    other = {"training": {"epochs": 5}, "model": {"pooling": "avg", "alpha": 1.0}}
    assert work_id(one) == work_id(other)
    assert len(work_id(one)) == 16
    assert int(work_id(one), 16)


@pytest.mark.parametrize("value", [6, 5.5, None, "5", [5]])
def test_work_id_depends_on_every_value(value):
    assert work_id({"training": {"epochs": 5}}) != work_id(
        {"training": {"epochs": value}}
    )


def test_differences_are_named():
    one = {"a": {"b": 1, "c": {"d": 2}}, "e": [1], "same": 0}
    other = {"a": {"b": 2, "c": {"d": 2}, "new": 1}, "e": [1, 2], "same": 0}
    assert work_differences(one, other) == ["a.b", "a.new", "e"]
    assert work_differences(other, one) == ["a.b", "a.new", "e"]
    assert work_differences(one, one) == []


def test_run_id_tells_time_runner_workers_and_commit():
    created = datetime(2026, 3, 1, 9, 8, 7, 654321, tzinfo=UTC)
    name = new_run_id(created, "elephas", 4, "0123456789abcdef")
    assert re.fullmatch(r"20260301T090807\.654Z_elephas_w4_0123456_[0-9a-f]{8}", name)
    assert "_gpu_w0_nogit_" in new_run_id(created, "gpu", None, "")


def test_run_ids_sort_by_time_and_differ_within_a_millisecond():
    first = utc_now()
    later = first + timedelta(milliseconds=1)
    assert new_run_id(first, "gpu", 1, "abc") < new_run_id(later, "gpu", 1, "abc")
    assert len({new_run_id(first, "gpu", 1, "abc") for _ in range(50)}) == 50
    assert first.tzinfo is UTC
