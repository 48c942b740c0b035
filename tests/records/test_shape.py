"""One odd record is left out by name, and the others are read."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.factories import make_elephas, make_record
from xray.records.reading import read_records
from xray.records.record import RunRecord
from xray.records.shape import LARGEST, find_oddity

quick = settings(derandomize=True, deadline=None, max_examples=40)


def changed(place: str, value: object) -> dict:
    """The content of a good record but for one value."""
    record = make_elephas(2, 50.0, exchange={"rounds": 5, "bytes_received": 9})
    content = part = json.loads(record.model_dump_json())
    *way, last = place.split(".")
    for name in way:
        part = part.setdefault(name, {})
    part[last] = value
    return content


@pytest.mark.parametrize(
    ("place", "value", "what"),
    [
        ("config.training.optimizer", ["adam"], "must be a text or a number"),
        ("config.runner.sync_every", {}, "must be a text or a number"),
        ("config.runner", [], "must be a mapping"),
        ("machine.cores", "four", "must be a number"),
        ("machine.cpu_model", [1], "must be a text or a number"),
        ("machine.memory_bytes", 10**400, "must be a number below 2^63"),
        ("exchange.rounds", 10**400, "must be a number below 2^63"),
        ("images_trained", 10**400, "must be a number below 2^63"),
        ("work.training.seed", -(10**30), "must be a number below 2^63"),
        ("workers", LARGEST, "must be a number below 2^63"),
        ("work.training", [1], "must be a mapping"),
        ("config.training.scored_epochs", "6", "must be a number"),
        ("config.data.validation_fraction", [0.1], "must be a number"),
        ("machine.executors", "two", "must be a list of mappings"),
        ("machine.executors", ["host"], "must be a list of mappings"),
    ],
)
def test_an_odd_record_is_left_out_by_file_and_field(tmp_path, place, value, what):
    good = make_record()
    good.write(tmp_path)
    odd = tmp_path / "odd.json"
    odd.write_text(json.dumps(changed(place, value)))
    records, left_out = read_records(tmp_path)
    assert records == [good]
    assert left_out == [f"{odd}: not a run record ({place}: {what})"]


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("cores", "four", "a number"),
        ("workers", [], "a number"),
        ("cpu_model", 1, "a text"),
    ],
)
def test_an_odd_executor_is_named(name, value, what):
    content = changed("machine.executors", [{"cores": 4}, {"cores": 4, name: value}])
    assert find_oddity(content) == f"machine.executors.1.{name}: must be {what}"


@pytest.mark.parametrize(
    "present", ["0-9", [9.0], [[0.0]], [[None, 9.0]], [[0.0, "9"]]]
)
def test_odd_seconds_of_an_executor_are_named(present):
    content = changed("machine.executors", [{"cores": 4, "present": present}])
    said = "machine.executors.0.present: must be pairs of seconds"
    assert find_oddity(content) == said


def test_what_runners_write_is_not_odd():
    for record in (make_record(), make_elephas(2, 50.0, config={"runner": {}})):
        assert find_oddity(record.model_dump(mode="json")) is None
    assert find_oddity(changed("config.model.head_units", [8, 4])) is None
    assert find_oddity(changed("machine.nodes", None)) is None
    present = [[0.0, 9], [12.5, None]]
    assert find_oddity(changed("machine.executors", [{"present": present}])) is None
    assert find_oddity(changed("work.anything", LARGEST - 1)) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)
FIELDS = st.sampled_from(sorted(RunRecord.model_fields))


@quick
@given(FIELDS, JSON)
def test_any_content_is_a_record_or_left_out_in_one_line(tmp_path_factory, name, value):
    folder = tmp_path_factory.mktemp("records")
    good = make_record()
    good.write(folder)
    (folder / "a.json").write_text(json.dumps(changed(name, value)))
    records, left_out = read_records(folder)
    assert good in records
    assert len(records) + len(left_out) == 2
    assert all(len(line.splitlines()) == 1 for line in left_out)
    for record in records:
        again = RunRecord.model_validate_json(record.model_dump_json())
        assert again.model_dump(mode="json") == record.model_dump(mode="json")
