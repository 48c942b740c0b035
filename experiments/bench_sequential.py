"""The sequential runner as a share of what one core can do, measured in turn.

    python experiments/bench_sequential.py

Each repeat measures the limit of one process (experiments/hardware_limit.py) and then
a whole sequential run on as many images from the embedded S3 server; its images per
second from the second epoch on are divided by the limit. About 4 minutes.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments import hardware_limit
from xray.benchmark import CONFIG, median_ratio, start_bench, write_benchmark
from xray.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a line per repeat and one JSON object, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=480)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30, help="of the limit")
    parser.add_argument("--out", type=Path, default=Path("results/bench"))
    options = parser.parse_args(arguments)
    try:
        return _bench(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _bench(options: argparse.Namespace) -> int:
    limits, steady = [], []
    with start_bench(options.images, Path(__file__).resolve().parent) as bench:
        for repeat in range(options.repeats):
            limits += hardware_limit.measure(1, options.steps)
            record = bench.run("sequential.py", f"training.epochs={options.epochs}")
            steady.append(record.images_per_second.steady)
            print(
                f"{repeat + 1}/{options.repeats}: limit {limits[-1]:.1f}, "
                f"sequential {steady[-1]:.1f} images/s, "
                f"share {steady[-1] / limits[-1]:.3f}",
                flush=True,
            )
    summary = {
        "limit_images_per_second": statistics.median(limits),
        "sequential_images_per_second": statistics.median(steady),
        "sequential_over_limit": median_ratio(steady, limits),
    }
    path = write_benchmark(
        options.out,
        "sequential",
        {"images": options.images, "epochs": options.epochs, "config": CONFIG},
        {"limit": limits, "sequential": steady, **summary},
    )
    print(path)
    print(json.dumps(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
