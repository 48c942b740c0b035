"""The GPU benchmark's bookkeeping, with processes that stand in for the networks."""

import sys

import pytest

from experiments.benchmarks import bench_gpu
from experiments.benchmarks.bench_gpu import GOAL, compete, line_up
from tests.conftest import assert_one_line
from tests.refusals import refused

STAND_IN = """
import json, sys
print("warm", flush=True)
for rate in {rates}:
    sys.stdin.readline()
    print(json.dumps({{"images_per_second": rate}}), flush=True)
raise MemoryError("no room")
"""


def stand_in(*rates: float) -> list[str]:
    """A command that trains at these rates and then fails."""
    return [sys.executable, "-c", STAND_IN.format(rates=rates)]


def test_ratios_are_of_pairs_and_a_failure_costs_no_other_figure():
    commands = {
        "jax:float32": stand_in(10, 20, 60),
        "tensorflow:float32:xla": stand_in(30),
        "jax:mixed_bfloat16": [sys.executable, "-c", "import none_such"],
        GOAL: stand_in(5, 20, 20),
    }
    with line_up(commands) as contenders:
        results = compete(contenders, repeats=3)
    rate = "images_per_second"
    assert results["repeats"]["tensorflow:float32:xla"] == [{rate: 30}, None, None]
    assert results["failures"] == {
        "tensorflow:float32:xla": "MemoryError: no room",
        "jax:mixed_bfloat16": "ModuleNotFoundError: No module named 'none_such'",
    }
    assert results["median_images_per_second"] == {"jax:float32": 20, GOAL: 20}
    assert results[f"over_{GOAL}"] == {"jax:float32": 2, GOAL: 1}


def test_every_contender_trains_in_turn(capsys):
    with line_up({"jax:float32": stand_in(1, 2), GOAL: stand_in(3, 4)}) as contenders:
        compete(contenders, repeats=2)
    turns = [line.split()[1] for line in capsys.readouterr().out.splitlines()[2:]]
    assert turns == ["jax:float32:", f"{GOAL}:"] * 2


def test_without_pytorch_there_is_no_ratio():
    with line_up({"jax:float32": stand_in(1)}) as contenders:
        assert compete(contenders, repeats=1)[f"over_{GOAL}"] is None


def test_benchmark_that_measured_nothing_fails():
    with (
        line_up({"jax:float32": [sys.executable, "-c", "1 / 0"]}) as contenders,
        refused("No contender could train: ZeroDivisionError"),
    ):
        compete(contenders, repeats=1)


@pytest.mark.parametrize("arguments", [[], ["--quick"]])
def test_without_a_gpu_nothing_is_measured(monkeypatch, tmp_path, capsys, arguments):
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi
    assert bench_gpu.main([*arguments, "--out", str(tmp_path / "out")]) == 3
    assert_one_line(capsys.readouterr().err, "No GPU", "make gpu")
    assert not (tmp_path / "out").exists()


def test_record_of_a_cpu_says_so(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        bench_gpu, "_commands", lambda options: {"jax:float32": stand_in(1)}
    )
    assert bench_gpu.main(["--device", "cpu", "--quick"]) == 0
    (path,) = tmp_path.rglob("*.json")
    assert path.parent == tmp_path / "results" / "cpu"
    assert path.name.endswith("_cpu_densenet121.json")
    assert '"device": "cpu"' in path.read_text()
