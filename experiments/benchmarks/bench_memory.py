"""What a process takes that trains or scores, by network, image size and batch size.

    python experiments/benchmarks/bench_memory.py            # all: many minutes
    python experiments/benchmarks/bench_memory.py --quick    # MobileNet alone
    python experiments/benchmarks/bench_memory.py --scoring  # by predict.py

The peak of the sequential runner's process over a few batches of drawn images: of 16
and of 64 images of 128x128 pixels, and of 32 of 224x224. A resident worker computes the
same and adds its share of the images. From these figures xray/spark/memory.py says what
an executor is given outside the Java heap.

With --scoring it is the peak of predict.py instead, over batches of 64 images of
128x128 and of 224x224 pixels, with a model that such a run has just saved.

The last line is one JSON object: MiB by network, in the order above.
"""

import argparse
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
from xray.config.backbones import BACKBONES
from xray.model.predict import SCORE_BATCH

BATCHES = ((16, 128), (64, 128), (32, 224))
"""Images of a batch, and their height and width in pixels."""
SCORED = ((SCORE_BATCH, 128), (SCORE_BATCH, 224))
STEPS = 3
IMAGES = 2 * 64 * STEPS


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table and one JSON object, and write the benchmark's file."""
    parser = bench_parser(__doc__)
    parser.set_defaults(repeats=1)
    parser.add_argument(
        "--backbones", nargs="+", choices=BACKBONES, default=list(BACKBONES)
    )
    parser.add_argument("--scoring", action="store_true", help="predict.py's peaks")
    quick = {"backbones": ["MobileNet"]}
    return run_benchmark("memory", parser, _measure, quick, arguments)


def _measure(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    peaks: dict[str, list[int]] = {}
    batches, peak_mib = BATCHES, _peak_mib
    if options.scoring:
        batches, peak_mib = SCORED, _scoring_peak_mib
    with start_bench(IMAGES, size=64) as bench:
        for backbone in options.backbones:
            peaks[backbone] = [
                max(
                    peak_mib(bench, backbone, batch, size)
                    for _ in range(options.repeats)
                )
                for batch, size in batches
            ]
            print(backbone, *peaks[backbone], "MiB", flush=True)
    return {"batches": batches}, peaks


def _peak_mib(bench: Bench, backbone: str, batch: int, size: int) -> int:
    record = bench.run(
        "sequential.py",
        f"model.backbone={backbone}",
        f"data.image_size={size}",
        f"data.limit={2 * batch * STEPS}",
        f"training.batch_size={batch}",
        "training.epochs=1",
    )
    return record.driver_peak_memory_bytes // 2**20


def _scoring_peak_mib(bench: Bench, backbone: str, batch: int, size: int) -> int:
    record = bench.run(
        "sequential.py",
        f"model.backbone={backbone}",
        f"data.image_size={size}",
        f"data.limit={2 * batch * STEPS}",
        "training.batch_size=8",
        "training.epochs=1",
        f"output.models={bench.folder / 'models'}",
    )
    model = bench.folder / "models" / f"{record.run_id}_last.keras"
    return bench.scoring_peak_bytes(model) // 2**20


if __name__ == "__main__":
    exit_on_termination()
    sys.exit(main())
