"""A worker at half speed among four: epochs with even shares, and by runner.balance.

    python experiments/benchmarks/bench_straggler.py            # 3 repeats, 16 minutes
    python experiments/benchmarks/bench_straggler.py --quick    # one repeat

Four resident workers share two cores by turns: each runs for 40% of the time, by
SIGSTOP and SIGCONT every tenth of a second, so that none takes another's core; the
straggler runs for 20%. Each repeat measures, one after the other:

- full: all at 40%
- even: the straggler among them, with shares as large as the others'
- balanced: the same with runner.balance, which cuts shares anew after the first epoch

The last line is one JSON object, of medians over the repeats: even_over_full and
balanced_over_full are the seconds of an epoch over those of `full`, of the median epoch
from the third on, and straggler_share the part of the images that the straggler trains
when balanced.
"""

import argparse
import contextlib
import itertools
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import psutil

from experiments.benchmarks.harness import (
    Bench,
    bench_parser,
    median_ratio,
    run_benchmark,
    start_bench,
)
from xray.common.background import beside
from xray.common.processes import exit_on_termination
from xray.records.record import RunRecord

WORKERS = 4
RUNS, STRAGGLES = 0.4, 0.2  # share of the time; two workers at most run at once
PERIOD_SECONDS = 0.1
WAYS = {
    "full": (RUNS, "runner.balance=false"),
    "even": (STRAGGLES, "runner.balance=false"),
    "balanced": (STRAGGLES, "runner.balance=true"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table and one JSON object, and write the benchmark's file."""
    parser = bench_parser(__doc__)
    parser.add_argument("--images", type=int, default=960)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--backbone", default="MobileNet")
    quick = {"images": 480, "epochs": 4}
    return run_benchmark("straggler", parser, _measure, quick, arguments)


def _measure(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    shares = []
    with start_bench(options.images, size=64) as bench:
        for repeat, (way, (speed, setting)) in itertools.product(
            range(options.repeats), WAYS.items()
        ):
            shares_of_time = [RUNS] * (WORKERS - 1) + [speed]
            with beside(partial(_take_turns, shares_of_time)):
                record = _run(bench, options, setting)
            epochs = [epoch.seconds for epoch in record.epochs[2:]]
            seconds[way].append(statistics.median(epochs))
            if way == "balanced":
                images = [worker.images for worker in record.per_worker]
                shares.append(min(images) / sum(images))
            print(f"{repeat + 1}: {way} {seconds[way][-1]:.2f} s", flush=True)
    summary = {
        "even_over_full": median_ratio(seconds["even"], seconds["full"]),
        "balanced_over_full": median_ratio(seconds["balanced"], seconds["full"]),
        "straggler_share": statistics.median(shares),
    }
    return {"seconds": seconds}, summary


def _run(bench: Bench, options: argparse.Namespace, setting: str) -> RunRecord:
    return bench.run(
        "elephas_spark.py",
        f"runner.master=local[{WORKERS}]",
        f"runner.workers={WORKERS}",
        f"model.backbone={options.backbone}",
        f"data.image_size={options.image_size}",
        f"training.epochs={options.epochs}",
        "training.batch_size=8",
        setting,
    )


def _take_turns(shares: Sequence[float], ended: threading.Event) -> None:
    """Let the workers that start from now on run for such shares of the time."""
    workers: list[psutil.Process] = []
    while len(workers) < len(shares):
        if ended.wait(PERIOD_SECONDS):
            return
        workers = _python_workers()
    turns = []  # of a period: when, who and what
    for number, share in enumerate(shares):
        begins = number / len(shares)
        turns.append((begins, number, signal.SIGCONT))
        turns.append(((begins + share) % 1, number, signal.SIGSTOP))
    while not ended.is_set():
        begun = time.monotonic()
        for when, number, what in sorted(turns):
            time.sleep(max(0, begun + when * PERIOD_SECONDS - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.kill(workers[number].pid, what)
        time.sleep(max(0, begun + PERIOD_SECONDS - time.monotonic()))


def _python_workers() -> list[psutil.Process]:
    """Spark's Python workers below this process: forks of its daemon."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            parent = process.parent()
            same = parent and parent.cmdline() == process.cmdline()
            if same and "pyspark.daemon" in process.cmdline():
                found.append(process)
    return found


if __name__ == "__main__":
    exit_on_termination()
    sys.exit(main())
