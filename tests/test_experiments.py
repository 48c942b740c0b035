"""The scripts around the runners: demo, hardware limit and benchmark, end to end."""

import json

import pytest

from tests.conftest import run_script
from xray.record import read_records

pytestmark = pytest.mark.slow


def test_demo_leaves_records_and_report(tmp_path):
    done = run_script(
        *("experiments/demo.py", "--images", 120, "--folder", tmp_path / "demo"),
        *("--results", tmp_path / "results"),
        *("--set", "training.epochs=1", "--set", "data.image_size=32"),
        *("--set", "data.min_train_positives=0", "--set", "data.limit=100"),
    )
    assert done.returncode == 0, done.stderr
    assert "gpu: skipped" in done.stdout
    records, left_out = read_records(tmp_path / "results")
    assert not left_out
    runs = [(r.runner, r.workers, r.status) for r in records]
    assert runs == [
        ("sequential", 1, "success"),
        ("gpu", 1, "failed"),
        ("elephas", 1, "success"),
        ("elephas", 2, "success"),
    ]
    assert len({r.work_id for r in records if r.status == "success"}) == 1
    assert (tmp_path / "results" / "report" / "report.html").stat().st_size > 10_000


def test_hardware_limit_measures_processes_together():
    done = run_script(
        *("experiments/hardware_limit.py", "--processes", 1, 2),
        *("--steps", 2, "--image-size", 32, "--batch-size", 4),
    )
    assert done.returncode == 0, done.stderr
    rates = json.loads(done.stdout.splitlines()[-1])["images_per_second"]
    assert set(rates) == {"1", "2"}
    assert min(rates.values()) > 0


def test_sequential_benchmark_writes_its_pairs(tmp_path):
    done = run_script(
        *("experiments/bench_sequential.py", "--repeats", 1, "--images", 60),
        *("--epochs", 2, "--steps", 3, "--out", tmp_path),
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    (path,) = tmp_path.glob("*_sequential.json")
    results = json.loads(path.read_text())["results"]
    ratio = results["sequential"][0] / results["limit"][0]
    assert summary["sequential_over_limit"] == pytest.approx(ratio)


def test_spark_benchmark_ends_with_its_ratios(tmp_path):
    done = run_script(
        *("experiments/bench_spark.py", "--quick", "--out", tmp_path),
        *("--torch-python", tmp_path / "none"),
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert set(summary) == {
        "steady_over_limit",
        "fit_over_stock",
        "fit_over_stock_engine",
        "steady_over_torch",
        "stock_engine_over_limit",
        "sync_gap_seconds",
    }
    assert summary["steady_over_limit"] > 0
    assert summary["steady_over_torch"] is None
    (path,) = tmp_path.glob("*_spark.json")
    results = json.loads(path.read_text())["results"]
    assert "none: [Errno 2]" in results["torch_note"]
    assert results["torch_note"] in done.stderr
    (repeat,) = results["repeats"]
    for name, peer in (
        ("fit_over_stock", "stock"),
        ("fit_over_stock_engine", "stock_engine"),
    ):
        ratio = repeat[peer]["whole_seconds"] / repeat["resident"]["whole_seconds"]
        assert summary[name] == pytest.approx(ratio)
    assert repeat["stock"]["images"] * 2 == repeat["resident"]["images_trained"]
    assert repeat["stock"]["whole_seconds"] > repeat["stock"]["fit_seconds"] > 0
