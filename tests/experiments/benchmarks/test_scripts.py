"""Benchmarks and the table of backbones, end to end, on the smallest of everything."""

import json

import pytest

from experiments.benchmarks import backbones
from experiments.benchmarks.peers.hardware_limit import count_operations
from tests.conftest import assert_one_line, run_script
from xray.records.machine import multiplies_bfloat16

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


def test_operations_are_counted_from_the_kernels():
    import keras

    # By hand: 3x3 convolution to 8x8x4, 2 * 64 * (9 * 3 * 4); depthwise 3x3 to 4x4x4,
    # 2 * 16 * 36; dense 4 to 5, 2 * 20.
    inputs = keras.Input((8, 8, 3))
    layers = keras.layers
    part = layers.Conv2D(4, 3, padding="same")(inputs)
    part = layers.DepthwiseConv2D(3, strides=2, padding="same")(part)
    part = layers.Dense(5)(layers.GlobalAveragePooling2D()(part))
    model = keras.Model(inputs, part)
    assert count_operations(model) == 13824 + 1152 + 40


def test_step_benchmark_ends_with_its_ratios(tmp_path):
    done = run_script(
        *("experiments/benchmarks/bench_step.py", "--quick", "--backbones", "Tiny"),
        *("--image-size", 32, "--batch-size", 4, "--steps", 2, "--out", tmp_path),
        *("--threads", 1, 2),
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert set(summary) == {
        *("float32_over_keras", "bfloat16_over_keras"),
        *("float32_over_torch", "bfloat16_over_torch"),
    }
    (path,) = tmp_path.glob("*_step.json")
    rates = json.loads(path.read_text())["results"]["rates"]["Tiny"]
    assert set(rates) == {"1", "2"}
    ours, keras_own = (rates["1"][name][0] for name in ("float32", "keras"))
    ratio = ours[0] / keras_own[0]
    assert summary["float32_over_keras"]["Tiny"] == pytest.approx(ratio, abs=1e-3)
    assert 0 < ours[1] < 2
    assert (summary["bfloat16_over_keras"]["Tiny"] is None) != multiplies_bfloat16()
    assert summary["float32_over_torch"] == {"Tiny": None}


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
        "steady_over_ray",
        "stock_engine_over_limit",
        "sync_gap_seconds",
    }
    assert summary["steady_over_limit"] > 0
    assert summary["steady_over_torch"] is None
    (path,) = tmp_path.glob("*_spark.json")
    results = json.loads(path.read_text())["results"]
    assert "none: [Errno 2]" in results["torch_note"]
    assert results["torch_note"] in done.stderr
    assert results["ray_note"] == "no --ray-python was given"
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
