"""The grid, what is done of it, and a real sweep that is run twice."""

import json

import pytest

from experiments import sweep
from tests.conftest import run_script
from tests.factories import make_elephas, make_record
from tests.refusals import refused
from xray.config import RunConfig, load_config
from xray.sweep import find_done, parse_vary, plan_runs, sweep_table

DATA = "data: {images: s3://b/images/, labels: s3://b/labels.csv}\n"
CONFIG = RunConfig.model_validate(
    {"data": {"images": "s3://b/images/", "labels": "s3://b/labels.csv"}}
)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(DATA)
    return path


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("runner.sync_every=epoch,10,1", ["epoch", 10, 1]),
        ("data.cache_dir=null,/tmp/a", [None, "/tmp/a"]),
        ("model.head_units=[[8], [16, 4]]", [[8], [16, 4]]),
        ("runner.master=['local-cluster[2,1,99]']", ["local-cluster[2,1,99]"]),
        ("training.seed=3", [3]),
    ],
)
def test_values_are_yaml_split_at_commas_or_one_list(text, values):
    assert parse_vary(text) == (text.partition("=")[0], values)


@pytest.mark.parametrize("text", ["training.seed", "training.seed=", "=1,2", "a.b=[]"])
def test_axis_without_key_or_values_is_refused(text):
    with refused("--vary takes section.key=value,value"):
        parse_vary(text)


def test_axis_that_is_no_yaml_is_refused():
    with refused("values are not YAML"):
        parse_vary("model.head_units=[[8], [16")


def test_grid_is_every_combination_on_top_of_the_overrides(file):
    runs = plan_runs(
        file,
        ["runner.workers=2", "training.epochs=9"],
        ["runner.sync_every=epoch,10", "training.seed=0,1", "model.head_units=[[8,4]]"],
    )
    assert [run.name for run in runs] == [
        "runner.sync_every=epoch, training.seed=0, model.head_units=[8, 4]",
        "runner.sync_every=epoch, training.seed=1, model.head_units=[8, 4]",
        "runner.sync_every=10, training.seed=0, model.head_units=[8, 4]",
        "runner.sync_every=10, training.seed=1, model.head_units=[8, 4]",
    ]
    assert {run.config.runner.workers for run in runs} == {2}
    assert runs[2].config.runner.sync_every == 10
    assert runs[2].config.model.head_units == (8, 4)


def test_settings_of_a_run_give_its_configuration_again(file):
    (run,) = plan_runs(file, [], ["runner.sync_every=epoch", "model.weights=null"])
    assert load_config(file, run.settings) == run.config


def test_typo_anywhere_in_the_grid_is_refused(file):
    with refused("sync_evry.*sync_every"):
        plan_runs(file, [], ["training.seed=0,1", "runner.sync_evry=epoch,10"])
    with refused("training.seed.*Got 'x'"):
        plan_runs(file, [], ["training.seed=0,x"])


def test_grid_that_the_runner_cannot_run_is_refused(file, tmp_path, capsys):
    axes = ("--vary", "runner.backend=tensorflow,jax", "--results", str(tmp_path / "r"))
    assert sweep.main(["--config", str(file), "--runner", "elephas", *axes]) == 2
    assert "runner.backend is for the gpu runner alone" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    "varied", [["training.seed=1,1"], ["training.seed=0", "training.seed=1"]]
)
def test_grid_that_repeats_itself_is_refused(file, varied):
    with refused("twice"):
        plan_runs(file, [], varied)


def test_only_a_success_of_the_same_runner_and_configuration_is_done():
    config = CONFIG.to_dict()
    other = json.loads(json.dumps(config))
    other["training"]["seed"] = 7
    records = [
        make_record(config=config, status="failed"),
        make_record(config=other),
        make_elephas(1, 10, config=config),
    ]
    assert find_done("sequential", CONFIG, records) is None
    older, newer = make_record(config=config), make_record(config=config)
    assert find_done("sequential", CONFIG, [*records, newer, older]) is newer


def test_table_shows_dashes_where_no_run_succeeded(file):
    runs = plan_runs(file, [], ["training.seed=0,1"])
    record = make_record(config=runs[1].config.to_dict(), phases={"fit": 12.34})
    header, first, second = sweep_table(runs, "sequential", [record])
    assert header.split()[0] == "training.seed"
    assert first.split() == ["0", "–", "–", "–", "–"]
    assert "12.3" in second
    assert f"{record.run_id}.json" in second


@pytest.mark.slow
def test_sweep_runs_what_is_missing_once(bucket, tmp_path):
    config = bucket.write_config(tmp_path / "run.yaml", training={"epochs": 1})
    results = tmp_path / "results"
    command = (
        *("experiments/sweep.py", "--config", config, "--runner", "sequential"),
        *("--vary", "data.limit=60,2,80", "--results", results),
    )
    first = run_script(*command)
    # Two images cannot be split, which does not keep the others from running.
    assert first.returncode == 2, first.stderr
    assert "== run 3/3: data.limit=80, about" in first.stdout
    assert "failed with exit code 2: data.limit=2" in first.stderr
    assert "Traceback" not in first.stderr
    written = set(results.glob("*_sequential_w1_*.json"))
    assert all(f"{path.stem}.json" in first.stdout for path in written if _done(path))
    assert (results / "report" / "report.html").is_file()
    again = run_script(*command[:-4], "--vary", "data.limit=80,60", *command[-2:])
    assert again.returncode == 0, again.stderr
    assert "2 runs, 2 done already" in again.stdout
    assert set(results.glob("*_sequential_w1_*.json")) == written


def _done(path):
    return json.loads(path.read_text())["status"] == "success"


def test_typo_ends_a_sweep_before_any_run(tmp_path, file):
    done = run_script(
        *("experiments/sweep.py", "--config", file, "--runner", "sequential"),
        *("--vary", "training.sed=0,1", "--results", tmp_path / "results"),
    )
    assert done.returncode == 2
    assert "training.seed" in done.stderr
    assert not (tmp_path / "results").exists()
