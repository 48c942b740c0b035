"""Loading and memory: raw images beside staged ones, few images beside many.

    python experiments/benchmarks/bench_data.py            # 3 repeats, a quarter hour
    python experiments/benchmarks/bench_data.py --quick    # one small repeat

On drawn images of 1024x1024 pixels, NIH's size, behind the embedded S3 server:

- load_raw_over_staged: seconds of the sequential runner's `load` phase (list, read,
  decode) from raw images, over the same from staged shards; median of the repeats.

On smaller drawn images, staged, with the narrowest MobileNet:

- driver_memory_ratio: peak memory of the driver of two Elephas workers with all images
  of 32x32 pixels, over that with a tenth of them.
- worker_in_memory_mib, worker_on_disk_mib: peak memory of such a worker with a fifth of
  them at 256x256, when its shard stays in memory, and when the shard is four times what
  data.memory_mib leaves it.

The last line is one JSON object with these figures.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from experiments.benchmarks.harness import (
    Bench,
    bench_parser,
    run_benchmark,
    start_bench,
)
from xray.common.processes import exit_on_termination
from xray.records.record import RunRecord

QUICK = {"images": 60, "many": 1000}
SMALL = ("model.alpha=0.25", "training.epochs=1")
WORKERS = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table and one JSON object, and write the benchmark's file."""
    parser = bench_parser(__doc__)
    parser.add_argument("--images", type=int, default=2000, help="to load, 1024x1024")
    parser.add_argument("--many", type=int, default=20_000, help="to train, 32x32")
    return run_benchmark("data", parser, _measure, QUICK, arguments)


def _measure(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    with start_bench(options.images, size=1024) as bench:
        loads = _compare_loads(bench, options.repeats)
    with start_bench(options.many, size=32) as bench:
        drivers = _compare_drivers(bench, options.many)
    with start_bench(options.many // 5, size=64) as bench:
        workers = _compare_workers(bench, options.many // 5)
    ratio = statistics.median(load["raw"] / load["staged"] for load in loads)
    return {"loads": loads}, {"load_raw_over_staged": ratio, **drivers, **workers}


def _compare_loads(bench: Bench, repeats: int) -> list[dict[str, float]]:
    """Seconds of the load phase in each repeat, raw and staged."""
    sources = {"raw": "data.staged=null", "staged": "data.staged=s3://bench/staged/"}
    bench.run_tool("stage.py", sources["staged"])
    loads = []
    for number in range(repeats):
        seconds = {
            name: bench.run("sequential.py", *SMALL, source).phases.load
            for name, source in sources.items()
        }
        loads.append(seconds)
        print(
            f"{number + 1}/{repeats}: load {seconds['raw']:.2f} s raw, "
            f"{seconds['staged']:.2f} s staged",
            flush=True,
        )
    return loads


def _compare_drivers(bench: Bench, images: int) -> dict[str, float]:
    """Peak memory of the driver with all images and with a tenth of them."""
    source = ("data.image_size=32", "data.staged=s3://bench/staged/")
    bench.run_tool("stage.py", *source)
    few, many = (
        _train(bench, *source, f"data.limit={limit}").driver_peak_memory_bytes / 2**20
        for limit in (images // 10, images)
    )
    print(f"driver: {few:.0f} MiB with {images // 10} images, {many:.0f} with {images}")
    return {"driver_memory_ratio": many / few, "driver_mib": [few, many]}


def _compare_workers(bench: Bench, images: int) -> dict[str, float]:
    """Peak memory of a worker whose shard fits its budget, and is four times it."""
    source = ("data.image_size=256", "data.staged=s3://bench/staged/")
    bench.run_tool("stage.py", *source)
    shard_mib = images * 0.8 / WORKERS * 256**2 / 2**20
    peaks = []
    # Training and test images have half of memory_mib each.
    for budget_mib in (16384, int(2 * shard_mib / 4)):
        record = _train(bench, *source, f"data.memory_mib={budget_mib}")
        peaks.append(max(w.peak_memory_bytes for w in record.per_worker) / 2**20)
    print(
        f"worker: {peaks[0]:.0f} MiB with its shard of {shard_mib:.0f} MiB in "
        f"memory, {peaks[1]:.0f} with a budget of a quarter of it"
    )
    return {
        "worker_shard_mib": shard_mib,
        "worker_in_memory_mib": peaks[0],
        "worker_on_disk_mib": peaks[1],
    }


def _train(bench: Bench, *settings: str) -> RunRecord:
    """The record of two Elephas workers."""
    workers = f"runner.workers={WORKERS}"
    return bench.run("elephas_spark.py", *SMALL, *settings, workers)


if __name__ == "__main__":
    exit_on_termination()
    sys.exit(main())
