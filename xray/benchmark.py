"""Paired measurements: what they ran on, their medians and ratios, as one JSON file."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xray.machine import describe_machine, git_state, package_versions
from xray.record import utc_now


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median over repeats of ours / theirs, each pair measured one after the other."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def write_benchmark(
    folder: Path, name: str, settings: Mapping[str, Any], results: Mapping[str, Any]
) -> Path:
    """The file `<UTC time>_<name>.json` in `folder`.

    Args:
        folder: made if it is missing.
        name: of the benchmark.
        settings: what was run.
        results: every repeat's figure, and the ratios.
    """
    created = utc_now()
    content = {
        "benchmark": name,
        "created": created.isoformat(),
        "settings": dict(settings),
        "results": dict(results),
        "machine": describe_machine(),
        "packages": package_versions(),
        "git": git_state(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{created:%Y%m%dT%H%M%SZ}_{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path
