"""The sequential runner as a share of what one core can do, measured in turn.

    python experiments/benchmarks/bench_sequential.py

Each repeat measures the limit of one process (peers/hardware_limit.py) and then a whole
sequential run on as many images from the embedded S3 server; its images per second from
the second epoch on are divided by the limit. About 4 minutes.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from experiments.benchmarks.harness import (
    add_precision_option,
    bench_parser,
    median_ratio,
    run_benchmark,
    start_bench,
)
from experiments.benchmarks.peers import hardware_limit
from experiments.benchmarks.peers.hardware_limit import Limit
from xray.common.processes import exit_on_termination
from xray.config.backbones import BACKBONES

QUICK = {"images": 120, "epochs": 2, "steps": 5}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a line per repeat and one JSON object, and write the file."""
    parser = bench_parser(__doc__)
    parser.add_argument("--backbone", choices=BACKBONES, default="MobileNet")
    parser.add_argument("--images", type=int, default=480)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30, help="of the limit")
    add_precision_option(parser)
    return run_benchmark("sequential", parser, _measure, QUICK, arguments)


def _measure(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    limits, steady = [], []
    sizes = (options.backbone, options.image_size)
    limit = Limit.of_runners(options.precision, *sizes)
    settings = (
        f"runner.precision={options.precision}",
        f"model.backbone={options.backbone}",
        f"training.epochs={options.epochs}",
        f"data.image_size={options.image_size}",
    )
    with start_bench(options.images) as bench:
        for repeat in range(options.repeats):
            ((rate,),) = hardware_limit.measure([1], limit, options.steps)
            limits.append(rate.images_per_second)
            record = bench.run("sequential.py", *settings)
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
    return {"limit": limits, "sequential": steady}, summary


if __name__ == "__main__":
    exit_on_termination()
    sys.exit(main())
