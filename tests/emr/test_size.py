"""Sizing advice, the cost estimate, and the dry run that prints it."""

import json
import re

import pytest

from emr import launch, size
from emr.commands import make_sweep
from emr.estimate import estimate_cost, predict_minutes
from emr.plan import cluster_config
from emr.settings import load_settings
from tests.conftest import assert_one_line
from tests.refusals import refused
from tests.report.test_forecast import run
from xray.config.file import load_config
from xray.config.run import RunConfig
from xray.report.costs import PriceTable

PRICES = PriceTable.model_validate(
    {
        "instances": {
            "m5.xlarge": {
                "ec2_usd_per_hour": 0.2,
                "emr_usd_per_hour": 0.05,
                "source": "test",
                "date": "2026-01-01",
            }
        }
    }
)


@pytest.fixture
def results(tmp_path):
    for workers in (1, 2, 4):
        run(workers, cores=4).write(tmp_path / "results")
    return tmp_path / "results"


def ask(capsys, results, *arguments):
    code = size.main(["--results", str(results), *arguments])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_the_smallest_cluster_within_the_deadline_is_chosen(results, capsys):
    code, out, _ = ask(capsys, results, "--deadline", "30m")
    assert code == 0
    advice = json.loads(out.splitlines()[-1])
    assert advice["meets_deadline"]
    assert advice["high"] <= 1800
    fewer = advice["executors"] - 1
    _, out, _ = ask(capsys, results, "--deadline", f"{advice['high'] - 1:.0f}s")
    assert json.loads(out.splitlines()[-1])["executors"] > fewer + 1
    assert advice["workers"] == 3 * advice["executors"]
    assert advice["usd"] > 0


def test_reasons_name_nodes_cores_memory_and_records(results, capsys):
    _, out, _ = ask(capsys, results, "--deadline", "2h")
    for part in ("one a node", "1 of 4 left", "x (model", "[1, 2, 4] worker(s)"):
        assert part in out


@pytest.mark.parametrize(
    ("settings", "cores"),
    [
        ((), 2),
        (("core.instance_type=m5.4xlarge", "core.vcpus=16"), 8),
        (("core.instance_type=m7a.xlarge",), None),  # each vCPU is a core
        (("core.instance_type=c7i.xlarge", "spark.cores_for_system=2"), None),
    ],
)
def test_workers_that_share_a_core_are_said_to_be_slower(
    results, capsys, settings, cores
):
    more = ["core.memory_mib=65536", *settings]
    arguments = [part for setting in more for part in ("--cluster-set", setting)]
    arguments += ["--prices", str(results.parent / "prices.yaml")]
    price = {"ec2_usd_per_hour": 1, "emr_usd_per_hour": 1, "source": "test"}
    kinds = ("m5.xlarge", "m5.4xlarge", "m7a.xlarge", "c7i.xlarge")
    table = {kind: {**price, "date": "2026-01-01"} for kind in kinds}
    (results.parent / "prices.yaml").write_text(json.dumps({"instances": table}))
    code, out, _ = ask(capsys, results, *arguments)
    assert code == 0
    assert ("slower than predicted" in out) == bool(cores)
    if cores:
        assert f"on {cores} physical core(s)" in out


def test_an_impossible_deadline_is_said(results, capsys):
    _, out, _ = ask(capsys, results, "--deadline", "5s")
    assert "NOT within" in out
    assert not json.loads(out.splitlines()[-1])["meets_deadline"]


def test_without_a_deadline_the_knee_is_advised(results, capsys):
    _, out, _ = ask(capsys, results)
    advice = json.loads(out.splitlines()[-1])
    assert advice["executors"] == advice["knee"]


def test_large_images_need_a_larger_node(results, capsys):
    for workers in (1, 2):
        record = run(workers, cores=4)
        record.config["data"]["image_size"] = 1024
        record.write(results)
    _, out, _ = ask(capsys, results, "--image-size", "1024", "--deadline", "20h")
    assert "TAKE A LARGER ONE" in out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--backbone", "DenseNet"), "There: MobileNet at 128"),
        (("--deadline", "soon"), "must be like 90m or 2h"),
        (("--deadline", "0h"), "must be like 90m or 2h"),
        (("--images", "1"), "--images must be at least 2"),
    ],
)
def test_bad_input_is_one_line(results, capsys, arguments, part):
    code, _, err = ask(capsys, results, *arguments)
    assert code == 2
    assert_one_line(err, part)


def make(*executors, repeats=1, settings=(), **data):
    like = run(1).config
    config = {
        "data": {"images": "s3://b/i/", "labels": "s3://b/l.csv", **data},
        "model": {"backbone": "MobileNet", "alpha": 1.0},
        "training": {k: like["training"][k] for k in ("epochs", "batch_size")},
    }
    config = RunConfig.model_validate(config)
    return make_sweep(load_settings(overrides=settings), config, executors, repeats)


def test_cost_is_nodes_times_hours_times_price():
    found = estimate_cost(make(1, 3), PRICES, {1: (50, 60, 70), 3: (20, 22, 30)})
    assert found["nodes"] == 4
    assert found["usd_per_hour"] == pytest.approx(1.0)
    assert found["hours"] == 1.5  # 8 minutes to start, 60 and 22
    assert (found["usd_low"], found["usd"], found["usd_high"]) == (1.3, 1.5, 1.8)


def test_spot_is_priced_beside_on_demand_where_its_price_is_known():
    price = PRICES.instances["m5.xlarge"]
    cheap = price.model_copy(update={"spot_usd_per_hour": 0.05})
    prices = PRICES.model_copy(update={"instances": {"m5.xlarge": cheap}})
    sweep, minutes = make(3, settings=["market=SPOT"]), {3: (50, 52, 70)}
    found = estimate_cost(sweep, prices, minutes)
    assert found["usd"] == pytest.approx(4 * 0.25)  # as above, for an hour
    surcharge = price.emr_usd_per_hour
    one = 0.25 + 3 * (0.05 + surcharge)  # the primary node is on demand
    assert found["spot"] == pytest.approx(one, abs=0.005)
    assert estimate_cost(sweep, PRICES, minutes)["spot"] is None
    assert estimate_cost(make(3), prices, minutes)["spot"] is None


def test_a_missing_price_is_said():
    settings = ["core.instance_type=m5a.xlarge"]
    found = estimate_cost(make(1, settings=settings), PRICES, {1: (50, 60, 70)})
    assert found["usd"] is None
    assert "m5a.xlarge" in found["problem"]


def test_what_nobody_measured_is_null():
    """A guess of half an hour for 1 and 3 executors alike was printed as a fact."""
    found = estimate_cost(make(1, 3), PRICES, {1: (50, 60, 70)})
    assert found["minutes_per_run"] == {"1": 60, "3": None}
    assert [found[name] for name in ("hours", "usd", "usd_low", "usd_high")] == [
        None
    ] * 4
    assert found["usd_per_hour"] == pytest.approx(1.0)
    assert found["basis"].startswith("not known")


def test_minutes_come_from_records_of_the_same_network():
    sweep = make(1, 4)
    like = sweep.config.model.model_dump(mode="json")
    records = [run(n) for n in (1, 2)]
    assert predict_minutes(sweep, records) == {}
    for record in records:
        record.config["model"] = like
    minutes = predict_minutes(sweep, records)
    assert set(minutes) == {1, 4}
    low, likely, high = minutes[4]
    assert low < likely < high
    assert likely < minutes[1][1]
    assert predict_minutes(sweep, records[:1]) == {}


def test_a_dry_run_prints_one_json_object_and_needs_no_credentials(
    capsys, monkeypatch, tmp_path
):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    like = cluster_config(load_config(launch.CONFIG)).model.model_dump(mode="json")
    for record in (run(1), run(2)):
        record.config["model"] = like
        record.write(tmp_path)
    arguments = ["sweep", "--executors", "1", "2", "4", "--dry-run"]
    arguments += ["--cluster-set", "s3_prefix=s3://mine/xray/"]
    arguments += ["--set", "training.batch_size=32", "--results", str(tmp_path)]
    assert launch.main(arguments) == 0
    said = capsys.readouterr().out
    assert re.search(r"\n +4  \d", said)
    assert re.search(r"5 nodes at 1\.2 USD/h together, [\d.]+ USD \([\d.]+ to ", said)
    assert "cores: m5.xlarge trains with 3 threads on 2 physical core(s)" in said
    assert launch.main([*arguments, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    request = plan["requests"]["run_job_flow"]
    assert [step["Name"] for step in request["Steps"]] == plan["runs"]
    assert request["Instances"]["InstanceGroups"][1]["InstanceCount"] == 4
    assert request["Instances"]["KeepJobFlowAliveWhenNoSteps"] is False
    assert request["AutoTerminationPolicy"]["IdleTimeout"] == 900
    assert plan["estimate"]["usd"] > 0


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ((), "s3_prefix must name a bucket of yours. Got 's3://CHANGE-ME/xray/'"),
        (
            ("s3_prefix=s3://mine/", "core.instance_type=m5.huge"),
            "core.instance_type 'm5.huge' has no price, so it may not exist. Known: ",
        ),
    ],
)
def test_a_dry_run_of_a_placeholder_is_refused(capsys, settings, part):
    chosen = [text for value in settings for text in ("--cluster-set", value)]
    assert launch.main(["sweep", "--executors", "1", "--dry-run", *chosen]) == 2
    assert_one_line(capsys.readouterr().err, part)


def test_a_dry_run_of_a_type_without_emr_price_says_so(capsys, tmp_path):
    arguments = ["sweep", "--executors", "1", "--dry-run", "--results", str(tmp_path)]
    chosen = ("s3_prefix=s3://mine/", "core.instance_type=g3s.xlarge")
    arguments += [text for value in chosen for text in ("--cluster-set", value)]
    assert launch.main(arguments) == 0
    out = capsys.readouterr().out
    assert "2 nodes at a price that is not known: no EMR price for g3s.xlarge" in out
    assert "not known: --results holds no records" in out


def test_a_pool_of_several_lengths_is_refused_unless_one_is_asked_for(results, capsys):
    record = run(4)
    record.epochs = record.epochs[:2]
    record.write(results)
    code, _, err = ask(capsys, results)
    assert code == 2
    assert_one_line(err, "have 2, 5 epochs. Say for how many with --epochs")
    code, out, _ = ask(capsys, results, "--epochs", "12", "--images", "9000")
    assert code == 0
    assert out.startswith("9,000 images at 128x128, MobileNet, 12 epochs; from records")


def test_a_refused_configuration_needs_no_aws():
    with refused("data.endpoint_url"):
        make(1, endpoint_url="http://localhost:1")
