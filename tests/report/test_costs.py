"""Price tables and the cost of a run."""

import pytest

from tests.factories import make_elephas, make_gpu, make_record
from xray.common.errors import UserError
from xray.report.costs import PRICES, cluster_of, cost_of, load_prices, run_cost

ENTRY = "{ec2_usd_per_hour: 1.0, source: list, date: 2026-01-02}"


@pytest.fixture(scope="module")
def prices():
    return load_prices(PRICES)


def on(instance_type, nodes=None):
    return make_record().machine | {"instance_type": instance_type, "nodes": nodes}


def test_shipped_table_names_source_and_date(prices):
    assert {"m5.xlarge", "g3s.xlarge"} <= prices.instances.keys()
    assert all(price.source and price.date for price in prices.instances.values())
    assert "check before use" in prices.instances["g3s.xlarge"].source


def test_elephas_pays_every_node_and_the_surcharge(prices):
    run = make_elephas(4, 80, machine=on("m5.xlarge", 5), phases={"total": 1800})
    cost = run_cost(run, prices)
    assert cost.usd == pytest.approx(5 * (0.192 + 0.048) * 0.5)
    assert not cost.assumed


def executors(*hosts):
    """Of a small driver: (instance type, cores, workers) for each machine."""
    names = ("instance_type", "cores", "workers")
    found = [dict(zip(names, host, strict=True)) for host in hosts]
    return on("m5.xlarge", len(hosts) + 1) | {"executors": found}


def test_nodes_are_priced_as_what_they_are_and_the_primary_as_the_driver(prices):
    large = prices.instances["m5.xlarge"].model_copy(
        update={"ec2_usd_per_hour": 1.5, "emr_usd_per_hour": 0.25}
    )
    table = prices.model_copy(
        update={"instances": {**prices.instances, "large": large}}
    )
    machine = executors(("large", 36, 35), ("large", 36, 35))
    run = make_elephas(70, 80, machine=machine, phases={"total": 3600})
    cost = run_cost(run, table)
    assert cost.usd == pytest.approx(0.24 + 2 * 1.75)
    assert cost.described == "1 × m5.xlarge + 2 × large"
    assert not cost.assumed


def test_a_node_that_went_and_came_back_is_priced_for_its_time(prices):
    machine = executors(*[("m5.xlarge", 4, 1)] * 3)
    spans = [[[0.0, None]], [[0.0, 900.0], [2700.0, None]], [[2700.0, None]]]
    for executor, present in zip(machine["executors"], spans, strict=True):
        executor["present"] = present
    run = make_elephas(3, 80, machine=machine, phases={"total": 3600})
    cost = run_cost(run, prices)
    # The primary and the first for an hour, the second for a half, the last a quarter.
    assert cost.usd == pytest.approx(0.24 * (1 + 1 + 0.5 + 0.25))
    assert cost.usd_per_hour == pytest.approx(cost.usd)
    assert cost.described == "4 × m5.xlarge"


def test_a_local_run_is_priced_with_the_primary_node_of_its_cluster(prices):
    run = make_elephas(2, 80, phases={"total": 3600})
    cost = run_cost(run, prices)
    assert cost.usd == pytest.approx(2 * 0.24)
    assert (cost.machines, cost.assumed) == ({"m5.xlarge": 2}, True)


def test_a_forecast_a_run_and_a_plan_have_one_price(prices):
    run = make_elephas(6, 80, machine=on("m5.xlarge", 3), phases={"total": 1800})
    planned = cost_of(cluster_of("m5.xlarge", 2), 1800, prices, on_emr=True)
    assert planned.usd == run_cost(run, prices).usd == pytest.approx(0.36)


def test_sequential_pays_no_surcharge(prices):
    run = make_record(machine=on("m5.xlarge"), phases={"total": 3600})
    assert run_cost(run, prices).usd == pytest.approx(0.192)


def test_one_minute_is_the_least(prices):
    run = make_record(machine=on("m5.xlarge"), phases={"total": 3})
    assert run_cost(run, prices).usd == pytest.approx(0.192 / 60)


def test_outside_ec2_the_cost_is_assumed(prices):
    cost = run_cost(make_gpu(phases={"total": 7200}), prices)
    assert (cost.machines, cost.assumed) == ({"g3s.xlarge": 1}, True)
    assert cost.usd == pytest.approx(1.5)


def test_unknown_instance_type_has_no_price_and_a_next_step(prices):
    cost = run_cost(make_record(machine=on("x9.huge")), prices)
    assert cost.usd is None
    assert "x9.huge" in cost.problem and "add it to the price table" in cost.problem


def test_elephas_without_surcharge_has_no_price(prices):
    cost = run_cost(make_elephas(2, 50, machine=on("g3s.xlarge", 2)), prices)
    assert cost.usd is None
    assert "emr_usd_per_hour" in cost.problem


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("instances: [", "not valid YAML"),
        ("- 1", "key: value"),
        ("{}", "instances"),
        ("instances: {}", "instances"),
        ("instances: {a: {ec2_usd_per_hour: 1}}", "instances.a.source"),
        (f"instances: {{a: {ENTRY.replace('1.0', '-1.0')}}}", "ec2_usd_per_hour"),
        (f"instances: {{a: {ENTRY.replace('1.0', '.nan')}}}", "ec2_usd_per_hour"),
        (f"instances: {{a: {ENTRY.replace('1.0', 'cheap')}}}", "ec2_usd_per_hour"),
        (f"instances: {{a: {ENTRY}}}\noutside_ec2: {{gpu: b}}", "outside_ec2.gpu"),
        (f"instances: {{a: {ENTRY}}}\nregion: x", "region"),
    ],
)
def test_malformed_table_is_one_line(tmp_path, text, message):
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        load_prices(path)
    assert "\n" not in str(caught.value)


def test_missing_table_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        load_prices(tmp_path / "none.yaml")
