"""Elephas on Spark beside the hardware's limit: stock and resident, measured in turn.

    python experiments/bench_spark.py            # 3 repeats, about 12 minutes
    python experiments/bench_spark.py --quick    # one small repeat

Each repeat measures as many pinned processes as there are workers
(experiments/hardware_limit.py), then both engines on the same images from the embedded
S3 server, each with single-threaded workers in a process of its own. The last line is
one JSON object; its ratios are medians over the repeats:

- steady_over_limit: resident images/s from the second epoch on, over the limit.
- fit_over_stock: seconds of load, warmup and fit together, stock over resident.
- steady_over_torch: null; no PyTorch peer is measured yet.
- sync_gap_seconds: median time between epochs in which no resident worker trains.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments import hardware_limit
from xray.benchmark import (
    CONFIG,
    Bench,
    median_ratio,
    start_bench,
    write_benchmark,
)
from xray.errors import UserError
from xray.record import RunRecord

QUICK = {"repeats": 1, "images": 160, "epochs": 2, "steps": 5}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table and one JSON object, and write the benchmark's file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=1600, help="a fifth is for test")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30, help="of the limit")
    parser.add_argument("--quick", action="store_true", help="one small repeat")
    parser.add_argument("--out", type=Path, default=Path("results/bench"))
    options = parser.parse_args(arguments)
    if options.quick:
        vars(options).update(QUICK)
    try:
        return _bench(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _bench(options: argparse.Namespace) -> int:
    repeats = []
    with start_bench(options.images, Path(__file__).resolve().parent) as bench:
        for number in range(options.repeats):
            repeats.append(_repeat(bench, options))
            _print_repeat(f"{number + 1}/{options.repeats}", repeats[-1])
    summary = _summarize(repeats)
    settings = {key: value for key, value in vars(options).items() if key != "out"}
    path = write_benchmark(
        options.out,
        "spark",
        {**settings, "config": CONFIG},
        {"repeats": repeats, **summary},
    )
    print(path)
    print(json.dumps(summary))
    return 0


def _repeat(bench: Bench, options: argparse.Namespace) -> dict[str, Any]:
    limit = sum(hardware_limit.measure(options.workers, options.steps))
    settings = (
        f"training.epochs={options.epochs}",
        f"runner.workers={options.workers}",
    )
    repeat: dict[str, Any] = {"limit": {"images_per_second": limit}}
    for engine in ("stock", "resident"):
        record = bench.run("elephas_spark.py", *settings, f"runner.engine={engine}")
        repeat[engine] = _figures(record)
    return repeat


def _figures(record: RunRecord) -> dict[str, Any]:
    phases = record.phases
    gaps = [epoch.sync_gap_seconds for epoch in record.epochs[1:]]
    return {
        "images_trained": record.images_trained,
        "steady_images_per_second": record.images_per_second.steady,
        "phases": phases.model_dump(),
        "load_warmup_fit_seconds": phases.load + phases.warmup + phases.fit,
        "sync_gap_seconds": gaps,
        "macro_auc": record.scores.macro_auc.value,
    }


def _print_repeat(name: str, repeat: dict[str, Any]) -> None:
    print(f"{name}: limit {repeat['limit']['images_per_second']:.1f} images/s")
    for engine in ("stock", "resident"):
        figures = repeat[engine]
        print(
            f"  {engine:9} steady {figures['steady_images_per_second']:6.1f} images/s, "
            f"load, warmup and fit {figures['load_warmup_fit_seconds']:6.1f} s",
            flush=True,
        )


def _summarize(repeats: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def column(name: str, figure: str) -> list[float]:
        return [repeat[name][figure] for repeat in repeats]

    return {
        "steady_over_limit": median_ratio(
            column("resident", "steady_images_per_second"),
            column("limit", "images_per_second"),
        ),
        "fit_over_stock": median_ratio(
            column("stock", "load_warmup_fit_seconds"),
            column("resident", "load_warmup_fit_seconds"),
        ),
        "steady_over_torch": None,
        "sync_gap_seconds": statistics.median(
            gap for gaps in column("resident", "sync_gap_seconds") for gap in gaps
        ),
    }


if __name__ == "__main__":
    sys.exit(main())
