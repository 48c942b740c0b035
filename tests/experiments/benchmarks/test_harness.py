"""Paired measurements and their file."""

import json
import re
import sys
from pathlib import Path

import pytest

from experiments.benchmarks.harness import (
    bench_parser,
    last_json,
    median_ratio,
    run_benchmark,
    run_script,
)
from experiments.benchmarks.peer import TORCH, Peer
from tests.refusals import refused
from xray.common.errors import UserError
from xray.records.benchmark import write_benchmark


def test_ratio_is_of_pairs_not_of_medians():
    # Medians alone would give 20 / 20 = 1.
    assert median_ratio([10, 20, 60], [5, 20, 20]) == 2


def test_unpaired_figures_are_refused():
    with pytest.raises(ValueError, match="zip"):
        median_ratio([1], [1, 2])


def test_file_tells_machine_versions_and_commit(tmp_path):
    path = write_benchmark(tmp_path / "bench", "limit", {"steps": 3}, {"rates": [1.5]})
    content = json.loads(path.read_text())
    assert content["benchmark"] == "limit"
    assert content["results"] == {"rates": [1.5]}
    assert content["machine"]["cores"]
    assert content["packages"]["keras"]
    assert set(content["git"]) == {"commit", "dirty"}


def bench(tmp_path, measure, *arguments):
    parser = bench_parser("A benchmark.")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--steps", type=int, default=30)
    quick = {"images": 10, "steps": 3}
    arguments = ["--out", str(tmp_path), *arguments]
    return run_benchmark("some", parser, measure, quick, arguments)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], (3, 100, 30)),
        (["--quick"], (1, 10, 3)),
        (["--quick", "--images", "20", "--repeats", "2"], (2, 20, 3)),
    ],
)
def test_quick_changes_what_is_not_given(tmp_path, capsys, arguments, expected):
    def measure(options):
        sizes = [options.repeats, options.images, options.steps]
        return {"sizes": sizes}, {"ratio": 0.5}

    assert bench(tmp_path, measure, *arguments) == 0
    path, summary = capsys.readouterr().out.splitlines()
    assert json.loads(summary) == {"ratio": 0.5}
    content = json.loads(Path(path).read_text())
    assert content["results"] == {"sizes": [*expected], "ratio": 0.5}
    assert content["settings"]["images"] == expected[1]
    assert str(tmp_path) not in json.dumps(content["settings"])


def test_benchmark_that_cannot_run_is_one_line(tmp_path, capsys):
    def measure(options):
        raise UserError("No room.")

    assert bench(tmp_path, measure) == 2
    assert capsys.readouterr().err == "error: No room.\n"
    assert not list(tmp_path.iterdir())


def test_peer_tells_its_figures_in_its_last_line(tmp_path):
    script = tmp_path / "peer.py"
    script.write_text("print('>>> Fit model'); print('{\"seconds\": 1.5}')")
    assert last_json(run_script([sys.executable, script])) == {"seconds": 1.5}


def test_peer_that_fails_is_one_line(tmp_path):
    script = tmp_path / "peer.py"
    script.write_text("raise MemoryError('no room')")
    with refused("peer.py failed in the benchmark: MemoryError: no room"):
        run_script([sys.executable, script])


@pytest.mark.parametrize(
    ("python", "reason"),
    [
        (None, "no --torch-python"),
        (Path("/nowhere/python"), "/nowhere/python: .*No such file"),
        (Path(sys.executable), "No module named 'torch'"),
    ],
)
def test_torch_that_cannot_be_used_is_noted(python, reason, capsys):
    peer = Peer(TORCH, python)
    assert re.search(reason, peer.note)
    assert "\n" not in peer.note
    assert peer.measure(64, None) is None
    assert ("warning" in capsys.readouterr().err) == bool(python)
