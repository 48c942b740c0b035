"""The grid, what is done of it, and a real sweep that is run twice."""

import json

import pytest

from experiments import sweep
from tests.conftest import run_script
from tests.factories import make_elephas, make_record
from tests.refusals import refused
from xray.common.redaction import redacted
from xray.config.file import load_config
from xray.config.run import RunConfig
from xray.runners.sweep import (
    SweepRun,
    find_done,
    interleaved,
    parse_vary,
    plan_runs,
    sweep_table,
)

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


def plan(file, *varied, runners=("elephas",), overrides=()):
    return plan_runs(file, runners, overrides, varied)


def test_grid_is_every_combination_on_top_of_the_overrides(file):
    runs = plan(
        file,
        *("runner.sync_every=epoch,10", "training.seed=0,1"),
        "model.head_units=[[8,4]]",
        overrides=["runner.workers=2", "training.epochs=9"],
    )
    assert [run.name for run in runs] == [
        "elephas, runner.sync_every=epoch, training.seed=0, model.head_units=[8, 4]",
        "elephas, runner.sync_every=epoch, training.seed=1, model.head_units=[8, 4]",
        "elephas, runner.sync_every=10, training.seed=0, model.head_units=[8, 4]",
        "elephas, runner.sync_every=10, training.seed=1, model.head_units=[8, 4]",
    ]
    assert {run.config.runner.workers for run in runs} == {2}
    assert runs[2].config.runner.sync_every == 10
    assert runs[2].config.model.head_units == (8, 4)


def test_without_an_axis_each_runner_runs_once(file):
    runs = plan(file, runners=("sequential", "gpu", "elephas"))
    assert [run.name for run in runs] == ["sequential", "gpu", "elephas"]


def test_a_runner_runs_once_what_differs_in_nothing_that_it_heeds(file):
    runs = plan(
        file,
        *("training.seed=0,1", "runner.workers=1,2"),
        "runner.precision=float32,mixed_bfloat16",
        runners=("sequential", "gpu", "elephas"),
    )
    assert [run.name for run in runs] == [
        f"{name}, runner.precision={precision}"
        for name in (
            "sequential, training.seed=0",
            "sequential, training.seed=1",
            "gpu, training.seed=0",
            "gpu, training.seed=1",
            "elephas, training.seed=0, runner.workers=1",
            "elephas, training.seed=0, runner.workers=2",
            "elephas, training.seed=1, runner.workers=1",
            "elephas, training.seed=1, runner.workers=2",
        )
        for precision in ("float32", "mixed_bfloat16")
    ]


def test_settings_of_the_gpu_are_runs_of_the_gpu(file):
    varied = ("runner.backend=tensorflow,jax", "runner.xla=null,true")
    runs = plan(file, *varied, runners=("sequential", "gpu"))
    assert [run.name for run in runs] == [
        "sequential",
        "gpu, runner.backend=tensorflow, runner.xla=null",
        "gpu, runner.backend=tensorflow, runner.xla=true",
        "gpu, runner.backend=jax, runner.xla=null",
        "gpu, runner.backend=jax, runner.xla=true",
    ]
    older = runs[1].config.to_dict()
    del older["runner"]["backend"]  # of before there was another
    record = make_record(runner="gpu", config=older)
    assert find_done(runs[1], [record]) is record
    assert find_done(runs[3], [record]) is None


def test_only_what_the_mode_and_engine_heed_is_varied(file):
    runs = plan(
        file, "runner.engine=resident,stock", "runner.sync_every=epoch,10"
    ) + plan(
        file,
        *("runner.mode=asynchronous,hogwild", "runner.engine=resident,stock"),
        *("runner.frequency=epoch,batch", "runner.optimizer_state=kept,reset"),
    )
    assert [run.name.removeprefix("elephas, ") for run in runs] == [
        "runner.engine=resident, runner.sync_every=epoch",
        "runner.engine=resident, runner.sync_every=10",
        "runner.engine=stock",
        "runner.mode=asynchronous, runner.frequency=epoch",
        "runner.mode=asynchronous, runner.frequency=batch",
        "runner.mode=hogwild, runner.frequency=epoch",
        "runner.mode=hogwild, runner.frequency=batch",
    ]


def test_settings_of_a_run_give_its_configuration_again(file):
    (run,) = plan(file, "runner.sync_every=epoch", "model.weights=null")
    assert load_config(file, run.settings) == run.config


def test_typo_anywhere_in_the_grid_is_refused(file):
    with refused("sync_evry.*sync_every"):
        plan(file, "training.seed=0,1", "runner.sync_evry=epoch,10")
    with refused("training.seed.*Got 'x'"):
        plan(file, "training.seed=0,x")


def test_grid_that_the_runner_cannot_run_is_refused(file, tmp_path, capsys):
    axes = ("--vary", "runner.backend=tensorflow,jax", "--results", str(tmp_path / "r"))
    assert sweep.main(["--config", str(file), "--runner", "elephas", *axes]) == 2
    assert "runner.backend is for the gpu runner alone" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    "varied",
    [
        ["training.seed=1,1"],
        ["training.seed=0", "training.seed=1"],
        ["runner.workers=2,2"],
    ],
)
def test_grid_that_repeats_itself_is_refused(file, varied):
    with refused("twice"):
        plan(file, *varied, runners=("sequential",))


def test_runner_that_is_named_twice_is_refused(file):
    with refused("--runner names one twice. Got gpu sequential gpu."):
        plan(file, runners=("gpu", "sequential", "gpu"))


def test_only_a_success_of_the_same_runner_and_configuration_is_done():
    config = CONFIG.to_dict()
    other = json.loads(json.dumps(config))
    other["training"]["seed"] = 7
    records = [
        make_record(config=config, status="failed"),
        make_record(config=other),
        make_elephas(1, 10, config=config),
    ]
    run = SweepRun("sequential", {}, CONFIG)
    assert find_done(run, records) is None
    elsewhere = {**config, "output": {"models": "s3://b/m/", "tensorboard": None}}
    older, newer = make_record(config=config), make_record(config=elsewhere)
    assert find_done(run, [*records, newer, older]) is newer


def test_a_record_that_hides_secrets_and_hosts_is_done():
    data = {**CONFIG.to_dict()["data"], "endpoint_url": "http://me:secret@box:9000"}
    config = RunConfig.model_validate({"data": data})
    run = SweepRun("sequential", {}, config)
    hidden = make_record(config=redacted(config.to_dict()))
    assert "secret" not in hidden.model_dump_json()
    assert find_done(run, [hidden]) is hidden
    earlier = make_record(config=config.to_dict())  # as version 0.1.0 wrote it
    assert find_done(run, [earlier]) is earlier
    data["endpoint_url"] = "http://me:secret@box2:9000"
    assert find_done(run, [make_record(config={"data": data})]) is None


def test_a_record_that_differs_in_nothing_that_counts_is_done():
    config = CONFIG.to_dict()
    config["runner"]["workers"] = 2
    record, elephas = make_record(config=config), make_elephas(2, 10, config=config)
    assert find_done(SweepRun("sequential", {}, CONFIG), [record]) is record
    assert find_done(SweepRun("elephas", {}, CONFIG), [elephas]) is None


def test_table_shows_dashes_where_no_run_succeeded_or_a_key_means_nothing(file):
    runs = plan(
        file,
        *("training.seed=0,1", "runner.workers=3"),
        runners=("sequential", "elephas"),
    )
    record = make_record(config=runs[1].config.to_dict(), phases={"fit": 12.34})
    header, first, second, third, _ = sweep_table(runs, [record])
    assert header.split()[:3] == ["runner", "training.seed", "runner.workers"]
    assert first.split() == ["sequential", "0", *"–––––"]
    assert second.split()[:4] == ["sequential", "1", "–", "12.3"]
    assert f"{record.run_id}.json" in second
    assert third.split() == ["elephas", "0", "3", *"––––"]


@pytest.mark.cluster
def test_sweep_runs_what_is_missing_once(bucket, tmp_path):
    config = bucket.write_config(tmp_path / "run.yaml", training={"epochs": 1})
    results = tmp_path / "results"
    command = (
        *("experiments/sweep.py", "--config", config, "--results", results),
        *("--runner", "gpu", "sequential", "--vary"),
    )
    first = run_script(*command, "data.limit=2,80")
    # There is no GPU, and two images cannot be split, which does not keep the others
    # from running.
    assert first.returncode == 2, first.stderr
    assert "== run 4/4: sequential, data.limit=80, about" in first.stdout
    assert "failed with exit code 3: gpu, data.limit=80" in first.stderr
    assert "failed with exit code 2: sequential, data.limit=2" in first.stderr
    assert "Traceback" not in first.stderr
    written = set(results.glob("*_w1_*.json"))
    (done,) = (path for path in written if _done(path))
    assert done.name in first.stdout
    assert "_sequential_" in done.name
    assert (results / "report" / "report.html").is_file()
    command = [part for part in command if part != "gpu"]
    again = run_script(*command, "data.limit=80", "--vary", "runner.workers=1,2")
    assert again.returncode == 0, again.stderr
    assert "1 runs, 1 done already" in again.stdout
    assert set(results.glob("*_w1_*.json")) == written


def _done(path):
    return json.loads(path.read_text())["status"] == "success"


def test_typo_ends_a_sweep_before_any_run(tmp_path, file, capsys):
    arguments = ["--config", file, "--runner", "sequential", "elephas"]
    arguments += ["--vary", "training.sed=0,1", "--results", tmp_path / "results"]
    assert sweep.main([*map(str, arguments)]) == 2
    assert "training.seed" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_repeats_are_interleaved_and_those_done_are_not_run_again(file):
    runs = plan(file, "runner.workers=1,2,4")
    one, two, four = runs
    assert interleaved(runs, [], 2) == [one, two, four, one, two, four]
    done = [make_elephas(2, 40, config=redacted(two.config.to_dict()))]
    assert interleaved(runs, done, 2) == [one, four, one, two, four]
    assert interleaved(runs, done * 2, 2) == [one, four, one, four]
