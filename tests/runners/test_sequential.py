"""The local runner on one thread and on more."""

import os

import pytest

from tests.conftest import assert_one_line, run_script
from tests.refusals import refused
from tests.runners.test_runners import read_record
from xray.model.saved import load_model
from xray.report.comparison import compare
from xray.report.costs import PRICES, load_prices
from xray.runners.output import save_models
from xray.runners.sequential import run as run_sequential
from xray.training.journal import Journal
from xray.training.local import train_locally

pytestmark = pytest.mark.slow


@pytest.fixture
def run(bucket, tmp_path):
    config = bucket.write_config(tmp_path / "run.yaml", training={"epochs": 1})

    def run(threads):
        return run_script(
            *("experiments/sequential.py", "--config", config),
            *("--results", tmp_path / "results"),
            *("--set", f"runner.threads_per_worker={threads}"),
        )

    return run


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
def test_two_threads_are_another_configuration_and_no_baseline(run, tmp_path):
    done = run(2)
    assert done.returncode == 0, done.stderr
    record = read_record(tmp_path / "results")
    assert (record.runner, record.workers, record.threads_per_worker) == (
        "sequential",
        1,
        2,
    )
    (group,) = compare([record], [], load_prices(PRICES)).groups
    assert group.baseline is None
    assert group.configurations[0].label == "Keras on 2 threads"


def test_bfloat16_is_another_configuration_and_saved_as_plain_keras(bucket, tmp_path):
    models = str(tmp_path / "models")
    records = []
    for precision in ("float32", "mixed_bfloat16"):
        config = bucket.config(
            training={"epochs": 2},
            runner={"precision": precision},
            output={"models": models},
        )
        journal = Journal("sequential", config)
        journal.workers = journal.threads_per_worker = 1
        records.append(train_locally(config, journal))
        save_models(journal, records[-1], str(tmp_path))
    exact, low = (record.epochs[-1].loss for record in records)
    assert low != exact
    assert low == pytest.approx(exact, rel=0.05)
    model, info = load_model(records[1].models["last"].path)
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert info.config["runner"]["precision"] == "mixed_bfloat16"
    (group,) = compare(records, [], load_prices(PRICES)).groups
    labels = [part.label for part in group.configurations]
    assert labels == ["Sequential", "Sequential mixed_bfloat16"]
    assert group.baseline.label == "Sequential"


def test_bfloat16_on_a_cpu_without_it_is_refused_before_anything_is_read(
    bucket, monkeypatch
):
    monkeypatch.setattr("xray.model.cpu_step.multiplies_bfloat16", lambda: False)
    config = bucket.config(runner={"precision": "mixed_bfloat16"})
    with refused("runner.precision=mixed_bfloat16 needs a CPU with AVX512_BF16"):
        run_sequential(config)


def test_more_threads_than_cores_are_refused(run):
    done = run(10_000)
    assert done.returncode == 2
    assert_one_line(done.stderr, "runner.threads_per_worker must be at most the")
