"""Paired measurements and their file."""

import json

import pytest

from xray.benchmark import median_ratio, write_benchmark


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
