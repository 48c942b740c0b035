"""The record of a benchmark: medians, ratios and where they were measured."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xray.common.files import write_whole
from xray.records.machine import describe_machine, git_state, package_versions
from xray.records.record import utc_now


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
    path = folder / f"{created:%Y%m%dT%H%M%SZ}_{name}.json"
    text = json.dumps(content, indent=1) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))
    return path
