"""Which runs are repeats, and what tells others apart."""

from tests.factories import (
    make_elephas,
    make_record,
)
from tests.report.test_comparison import only_group
from xray.records.record import Source
from xray.report.comparison import compare
from xray.report.configurations import pixel_source
from xray.report.costs import PRICES, load_prices


def test_nodes_and_instance_tell_configurations_apart():
    on_emr = make_record().machine | {"nodes": 3, "instance_type": "m5.xlarge"}
    group = only_group(make_elephas(4, 30), make_elephas(4, 30, machine=on_emr))
    labels = [part.label for part in group.configurations]
    assert labels == ["Elephas 4×1, 1 node", "Elephas 4×1, 3 nodes, m5.xlarge"]


def test_where_the_pixels_came_from_tells_configurations_apart():
    """A warm cache, staged shards and an S3 beside the program read 32 times faster."""
    raw, staged, warm, cold, local = (make_record(phases={"load": s}) for s in range(5))
    staged.config["data"]["staged"] = "s3://bucket/staged/"
    warm.config["data"]["cache_dir"] = cold.config["data"]["cache_dir"] = "/cache"
    warm.source, cold.source = Source(cached=4000), Source(cached=0)
    local.source = Source(store="this machine", cached=0)
    group = only_group(raw, staged, warm, cold, local)
    assert {part.label for part in group.configurations} == {
        "Sequential",
        "Sequential, staged shards",
        "Sequential, warm cache folder",
        "Sequential, empty cache folder",
        "Sequential, S3 on this machine",
    }
    old = make_record()
    old.config["data"]["endpoint_url"] = "http://127.0.0.1:9000"
    assert pixel_source(old) == "S3 on this machine"


def test_another_commit_is_another_configuration_unless_told_otherwise():
    other = {"commit": "f" * 40, "dirty": False}
    dirty = {"commit": "f" * 40, "dirty": True}
    records = [make_record(), make_record(git=other), make_record(git=dirty)]
    labels = {part.label for part in only_group(*records).configurations}
    assert labels == {
        "Sequential, commit 0123456",
        "Sequential, commit fffffff",
        "Sequential, commit fffffff with changes",
    }
    (group,) = compare(records, [], load_prices(PRICES), any_commit=True).groups
    assert [len(part.records) for part in group.configurations] == [3]


def test_sync_every_is_named_and_sorted_by_its_number():
    runs = [make_elephas(2, 40, engine="resident") for _ in range(4)]
    for record, every in zip(runs, (10, 1, "epoch", 5), strict=True):
        record.config["runner"] = {"sync_every": every}
    assert [part.label for part in only_group(*runs).configurations] == [
        "Elephas 2×1 resident every 1 step",
        "Elephas 2×1 resident every 5 steps",
        "Elephas 2×1 resident every 10 steps",
        "Elephas 2×1 resident",
    ]


def test_crowding_cpu_and_type_are_those_of_the_machines_that_trained():
    """A driver of 4 cores beside nodes of 36: 70 workers have a core each."""
    host = {"cpu_model": "Node CPU", "cores": 36, "instance_type": "c5.9xlarge"}
    driver = make_record().machine | {"cores": 4, "nodes": 3}
    fits = driver | {"executors": [host | {"workers": 35}] * 2}
    full = driver | {"executors": [host | {"workers": 30}, host | {"workers": 40}]}
    group = only_group(*(make_elephas(70, 8, machine=m) for m in (fits, full)))
    keys = [part.key for part in group.of("elephas")]
    assert {key.crowding for key in keys} == {None, "oversubscribed"}
    (crowded,) = [part for part in group.of("elephas") if part.key.crowding]
    assert crowded.records[0].machine == full
    assert {(key.cpu_model, key.instance_type) for key in keys} == {
        ("Node CPU", "c5.9xlarge")
    }
