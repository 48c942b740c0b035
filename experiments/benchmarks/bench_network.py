"""Averages of weights between hosts whose links are slow, by number of workers.

    python experiments/benchmarks/bench_network.py            # 3 repeats, 4 minutes
    python experiments/benchmarks/bench_network.py --quick    # one, up to 4 workers
    git worktree add older COMMIT
    python experiments/benchmarks/bench_network.py --against older

Each worker and the driver have a host of their own, a network namespace of this
machine, with a link of --rate in both directions. They average a vector of --megabytes
(MobileNet's weights are 13) again and again and do nothing else. --against measures the
code of another checkout in turn. Needs root, and iproute2.

The last line is one JSON object, medians over the repeats by number of workers: seconds
of an average, those of the other checkout, its seconds over ours, and the link's own
limit: the (2 - 1/N) vectors that a worker sends, at --rate.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks.harness import EXPERIMENTS, bench_parser, run_benchmark
from xray.common.errors import UserError
from xray.common.processes import exit_on_termination
from xray.local.network import Network, network

AVERAGING = EXPERIMENTS / "benchmarks" / "peers" / "averaging.py"
WAIT_SECONDS = 300


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table and one JSON object, and write the benchmark's file."""
    parser = bench_parser(__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--megabytes", type=float, default=13)
    parser.add_argument("--rate", type=float, default=1000, help="Mbit/s of a link")
    parser.add_argument("--rounds", type=int, default=5, help="averages a repeat")
    parser.add_argument("--against", type=Path, help="another checkout")
    quick = {"workers": [2, 4], "rounds": 2}
    return run_benchmark("network", parser, _measure, quick, arguments)


def _measure(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    codes = {"ours": EXPERIMENTS.parent}
    if options.against:
        codes["other"] = options.against.resolve()
    seconds: dict[str, dict[int, list[float]]] = {
        name: {count: [] for count in options.workers} for name in codes
    }
    with network(1 + max(options.workers)) as net:
        for host in net.hosts:
            host.slow_down(options.rate)
        for repeat in range(options.repeats):
            for count in options.workers:
                for name, code in codes.items():
                    found = _average(net, code, count, options)
                    seconds[name][count].append(found)
                    print(f"{repeat + 1}: {count} workers, {name} {found:.3f} s")
    return {"seconds": seconds}, _summarize(seconds, options)


def _average(
    net: Network, code: Path, workers: int, options: argparse.Namespace
) -> float:
    """Median seconds in which all workers have the average."""
    first, *others = net.hosts

    def start(host: Any, *arguments: object) -> subprocess.Popen:
        return host.start(
            [sys.executable, str(AVERAGING), *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": str(code), "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    size = f"{options.megabytes:g}"
    driver = start(first, "serve", first.address, workers, size)
    address = driver.stdout.readline()
    started = [
        start(host, "average", number, size, options.rounds)
        for number, host in enumerate(others[:workers])
    ]
    for process in started:
        process.stdin.write(address)
        process.stdin.flush()
    try:
        said = [process.communicate(timeout=WAIT_SECONDS)[0] for process in started]
        rounds = [json.loads(text) for text in said]
    except (subprocess.TimeoutExpired, ValueError):
        raise UserError("A worker failed in the benchmark: see above.") from None
    finally:
        driver.communicate()
    return statistics.median(map(max, zip(*rounds, strict=True)))


def _summarize(
    seconds: dict[str, dict[int, list[float]]], options: argparse.Namespace
) -> dict[str, Any]:
    bits = options.megabytes * 8
    summary: dict[str, Any] = {
        "seconds": {n: statistics.median(s) for n, s in seconds["ours"].items()},
        "link_seconds": {n: (2 - 1 / n) * bits / options.rate for n in seconds["ours"]},
        "other_seconds": None,
        "other_over_ours": None,
    }
    if "other" in seconds:
        other = {n: statistics.median(s) for n, s in seconds["other"].items()}
        ratios = {n: other[n] / summary["seconds"][n] for n in other}
        summary |= {"other_seconds": other, "other_over_ours": ratios}
    return summary


if __name__ == "__main__":
    exit_on_termination()
    sys.exit(main())
