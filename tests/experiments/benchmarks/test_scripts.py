"""Benchmarks and the table of backbones, end to end, on the smallest of everything."""

import json

import pytest

from experiments.benchmarks import backbones
from tests.conftest import assert_one_line, run_script

pytestmark = pytest.mark.cluster


def test_hardware_limit_measures_processes_together():
    done = run_script(
        *("experiments/benchmarks/peers/hardware_limit.py", "--processes", 1, 2),
        *("--backbone", "Tiny", "--steps", 2, "--image-size", 32, "--batch-size", 4),
    )
    assert done.returncode == 0, done.stderr
    rates = json.loads(done.stdout.splitlines()[-1])["images_per_second"]
    assert set(rates) == {"1", "2"}
    assert min(rates.values()) > 0
    assert "2 process(es)" in done.stdout


def test_sequential_benchmark_writes_its_pairs(tmp_path):
    done = run_script(
        *("experiments/benchmarks/bench_sequential.py", "--quick", "--images", 50),
        *("--backbone", "Tiny", "--image-size", 32, "--steps", 2, "--out", tmp_path),
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    (path,) = tmp_path.glob("*_sequential.json")
    results = json.loads(path.read_text())["results"]
    ratio = results["sequential"][0] / results["limit"][0]
    assert summary["sequential_over_limit"] == pytest.approx(ratio)


def test_spark_benchmark_ends_with_its_ratios(tmp_path):
    done = run_script(
        *(
            "experiments/benchmarks/bench_spark.py",
            "--quick",
            "--workers",
            1,
            "--images",
            50,
        ),
        *("--backbone", "Tiny", "--image-size", 32, "--steps", 2, "--out", tmp_path),
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
    ratio = repeat["stock"]["whole_seconds"] / repeat["resident"]["whole_seconds"]
    assert summary["fit_over_stock"] == pytest.approx(ratio)
    assert repeat["stock_engine"] is summary["fit_over_stock_engine"] is None
    assert repeat["stock"]["images"] * 2 == repeat["resident"]["images_trained"]
    assert repeat["stock"]["whole_seconds"] > repeat["stock"]["fit_seconds"] > 0
    assert len(repeat["resident"]["worker_cpu_seconds"]) == 1


def test_table_of_backbones_is_kept_and_goes_on(tmp_path, capsys):
    options = ("--backbones", "Tiny", "--runners", "sequential", "--out", tmp_path)
    done = run_script("experiments/benchmarks/backbones.py", *options)
    assert done.returncode == 0, done.stderr
    assert "== 1/1: Tiny, sequential" in done.stdout
    kept = json.loads((tmp_path / "backbones.json").read_text())
    cell = kept["cells"]["Tiny"]["sequential"]
    assert cell["status"] == "success"
    assert 0 < cell["loss"] < 5
    assert cell["model_id"]
    options = [*map(str, options)]
    assert backbones.main(options) == 0  # nothing is run again
    assert "| Tiny | ✓" in capsys.readouterr().out

    cell |= {"status": "failed", "reason": "No room."}
    (tmp_path / "backbones.json").write_text(json.dumps(kept))
    table = backbones.Table(tmp_path / "backbones.json")
    assert not table.done("Tiny", "sequential")
    assert "| Tiny | No room. | – | – | – | – |" in table.lines()

    kept["settings"]["images"] = 7
    (tmp_path / "backbones.json").write_text(json.dumps(kept))
    assert backbones.main(options) == 2
    assert_one_line(capsys.readouterr().err, "of other settings. Give another --out")
