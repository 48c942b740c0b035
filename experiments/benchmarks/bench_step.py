"""One training step, ours beside Keras as it comes and PyTorch, measured in turn.

    python experiments/benchmarks/bench_step.py --torch-python torch-env/bin/python
    python experiments/benchmarks/bench_step.py --quick    # MobileNet, once, 2 minutes

One batch in memory, 128x128 pixels, each way in a pinned process of its own that stays
warm while the others train; every repeat lets each of them train in turn:

- keras: as it comes; float32, bfloat16: the steps of the sequential and the resident
  runners (peers/hardware_limit.py)
- torch_float32, torch_bfloat16: PyTorch, channels last (peers/torch_step.py, which
  tells how to make its environment), where --torch-python or XRAY_TORCH_PYTHON names
  one

The table has images per second and, of ours, the share of the core's peak arithmetic.
The last line is one JSON object: `float32_over_keras`, `bfloat16_over_keras`,
`float32_over_torch` and `bfloat16_over_torch`, each from backbone to the median ratio
over the repeats on the first number of --threads; null where the CPU has no bfloat16 or
PyTorch was not there.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.benchmarks.harness import (
    PEERS,
    add_peer_option,
    bench_parser,
    median_ratio,
    run_benchmark,
)
from experiments.benchmarks.peers.hardware_limit import (
    Limit,
    Rate,
    Trainer,
    train_together,
)
from xray.common.processes import exit_on_termination
from xray.config.backbones import BACKBONES
from xray.records.machine import multiplies_bfloat16

# Batches as they are trained; a large network's step on 32 images takes seconds.
BATCH_SIZES = {"MobileNet": 32, "ResNet50": 16, "DenseNet121": 16}
RATIOS = (
    ("float32", "keras"),
    ("bfloat16", "keras"),
    ("float32", "torch_float32"),
    ("bfloat16", "torch_bfloat16"),
)
TORCH_HAS = ("MobileNet", "ResNet50", "DenseNet121")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table and one JSON object, and write the benchmark's file."""
    parser = bench_parser(__doc__)
    parser.add_argument("--backbones", choices=BACKBONES, nargs="+", default=TORCH_HAS)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, help="default: 32, of large ones 16")
    parser.add_argument("--steps", type=int, default=20, help="of each way in a repeat")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    add_peer_option(parser, "torch", "torch and torchvision")
    quick = {"backbones": ["MobileNet"], "steps": 10}
    return run_benchmark("step", parser, _measure, quick, arguments)


def _measure(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    table = {}
    for backbone in options.backbones:
        table[backbone] = {
            str(threads): _interleaved(backbone, threads, options)
            for threads in options.threads
        }
    first = str(options.threads[0])
    summary = {
        f"{one}_over_{other.partition('_')[0]}": {
            backbone: _ratio(rates[first], one, other)
            for backbone, rates in table.items()
        }
        for one, other in RATIOS
    }
    return {"rates": table}, summary


def _interleaved(
    backbone: str, threads: int, options: argparse.Namespace
) -> dict[str, list[Rate]]:
    """The rates of each way, a rate a repeat; without the ways that do not start."""
    batch = options.batch_size or BATCH_SIZES.get(backbone, 16)
    limit = Limit("", backbone, options.image_size, batch, threads)
    with _trainers(limit, options.torch_python) as trainers:
        rates: dict[str, list[Rate]] = {name: [] for name in trainers}
        for _ in range(options.repeats):
            for name, trainer in trainers.items():
                rates[name] += train_together([trainer], options.steps)
    print(f"{backbone}, {threads} thread(s), batch {batch}: images/s (share of peak)")
    for name, found in rates.items():
        each = ", ".join(_cell(rate) for rate in found)
        print(f"  {name:15} {each}", flush=True)
    return rates


def _cell(rate: Rate) -> str:
    share = f" ({rate.share_of_peak:.0%})" if rate.share_of_peak else ""
    return f"{rate.images_per_second:.1f}{share}"


@contextmanager
def _trainers(limit: Limit, torch_python: Path | None) -> Iterator[dict[str, Trainer]]:
    """Every way that can be measured here, warm."""
    cores = sorted(os.sched_getaffinity(0))[: limit.threads]
    steps = ["keras", "float32"] + ["bfloat16"] * multiplies_bfloat16()
    started = {step: Trainer.of(replace(limit, step=step), cores) for step in steps}
    if torch_python and limit.backbone in TORCH_HAS:
        for precision in steps[1:]:
            started[f"torch_{precision}"] = Trainer(
                (
                    *(torch_python, PEERS / "torch_step.py", "--precision", precision),
                    *("--backbone", limit.backbone, "--batch-size", limit.batch_size),
                    *("--image-size", limit.image_size, "--cores", *cores),
                )
            )
    warm = {}
    for name, trainer in started.items():  # each alone would take minutes
        if trainer.wait():
            warm[name] = trainer
        else:
            print(f"{name} does not start here", file=sys.stderr, flush=True)
    try:
        yield warm
    finally:
        for trainer in started.values():
            trainer.stop()


def _ratio(rates: dict[str, list[Rate]], one: str, other: str) -> float | None:
    if one not in rates or other not in rates:
        return None
    found = ([rate.images_per_second for rate in rates[name]] for name in (one, other))
    return round(median_ratio(*found), 3)


if __name__ == "__main__":
    exit_on_termination()
    sys.exit(main())
