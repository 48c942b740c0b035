r"""Elephas on Spark beside the hardware's limit and its peers, measured in turn.

    python experiments/benchmarks/bench_spark.py            # 3 repeats, 25 minutes
    python experiments/benchmarks/bench_spark.py --quick    # one small one, 2 minutes
    python experiments/benchmarks/bench_spark.py --torch-python torch-env/bin/python \
        --ray-python ray-env/bin/python

Each repeat measures, one after the other and each in processes of its own, with as many
single-threaded workers:

- limit: pinned processes that train on one batch in memory, with the runners' own step
  in their precision (peers/hardware_limit.py)
- resident: runner.engine=resident, on images of an embedded S3 server, in --precision;
  the others are in float32
- torch: PyTorch DDP on Spark's TorchDistributor (peers/torch_spark.py, which tells how
  to make its environment), where --torch-python or XRAY_TORCH_PYTHON names one
- ray: Keras 2 on Ray Train, its gradients averaged at every step (peers/ray_keras.py,
  which tells how), where --ray-python or XRAY_RAY_PYTHON names an environment
- stock: Elephas as it comes, used as its tutorial shows (peers/stock_elephas.py)
- stock_engine: runner.engine=stock, the same algorithm with its sharp edges mended;
  --quick leaves it out

The last line is one JSON object. Its ratios are medians over the repeats, and null for
what was not measured (--leave-out; a peer without its environment, with the reason):

- steady_over_limit: resident images/s from the second epoch on, over the limit. The
  limit neither reads images nor exchanges weights.
- fit_over_stock: whole seconds of stock over those of resident, from the start of the
  program to the end of `fit`: Python, imports, Spark, tracing and training are in both.
  Resident lists, reads and decodes its images from S3 within that time; stock has them
  in memory for nothing.
- fit_over_stock_engine: the same for stock_engine, which reads from S3 as well.
- steady_over_torch: resident over torch, images/s from the second epoch on, torch on
  images in memory.
- steady_over_ray: the same over ray.
- stock_engine_over_limit: as steady_over_limit, of stock_engine.
- sync_gap_seconds: median time between epochs in which no resident worker trains.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from experiments.benchmarks.harness import (
    Bench,
    add_peer_option,
    add_precision_option,
    bench_parser,
    median_ratio,
    run_benchmark,
    start_bench,
)
from experiments.benchmarks.peer import (
    PEERS_HAVE,
    RAY,
    STEADY,
    TORCH,
    WHOLE,
    Peer,
)
from experiments.benchmarks.peers import hardware_limit
from experiments.benchmarks.peers.hardware_limit import Limit
from xray.common.processes import exit_on_termination
from xray.config.backbones import BACKBONES
from xray.records.record import RunRecord

SLOW = ("stock", "stock_engine")
QUICK = {"images": 160, "epochs": 2, "steps": 5, "leave_out": ["stock_engine"]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table and one JSON object, and write the benchmark's file."""
    parser = bench_parser(__doc__)
    parser.add_argument("--backbone", choices=BACKBONES, default=PEERS_HAVE)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--images", type=int, default=1600, help="a fifth is for test")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30, help="of the limit")
    parser.add_argument(
        "--leave-out",
        nargs="+",
        choices=SLOW,
        default=[],
        help="not measured, which saves five minutes a repeat",
    )
    add_precision_option(parser)
    add_peer_option(parser, "torch", "torch and pyspark")
    add_peer_option(parser, "ray", "ray, tensorflow and tf_keras")
    return run_benchmark("spark", parser, _measure, QUICK, arguments)


def _measure(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    pythons = {TORCH: options.torch_python, RAY: options.ray_python}
    peers = [Peer(kind, pythons[kind], options.backbone) for kind in pythons]
    repeats = []
    with start_bench(options.images) as bench:
        for number in range(options.repeats):
            repeats.append(_repeat(bench, options, peers))
            _print_repeat(f"{number + 1}/{options.repeats}", repeats[-1])
    for peer in peers:
        if peer.note:
            print(f"steady_over_{peer.name} is null: {peer.note}")
    notes = {f"{peer.name}_note": peer.note for peer in peers}
    return {"repeats": repeats, **notes}, _summarize(repeats)


def _repeat(
    bench: Bench, options: argparse.Namespace, peers: Sequence[Peer]
) -> dict[str, Any]:
    settings = (
        f"model.backbone={options.backbone}",
        f"training.epochs={options.epochs}",
        f"runner.workers={options.workers}",
        f"data.image_size={options.image_size}",
    )

    def run(*own: str) -> dict[str, Any]:
        return _figures(bench.run("elephas_spark.py", *settings, *own))

    slow = {
        "stock": lambda: bench.run_peer("stock_elephas.py", *settings),
        "stock_engine": lambda: run("runner.engine=stock"),
    }
    sizes = (options.backbone, options.image_size)
    limit = Limit.of_runners(options.precision, *sizes)
    (rates,) = hardware_limit.measure([options.workers], limit, options.steps)
    resident = run(f"runner.precision={options.precision}")
    train_images = resident["images_trained"] // options.epochs
    return {
        "limit": {STEADY: sum(rate.images_per_second for rate in rates)},
        "resident": resident,
        **{peer.name: peer.measure(train_images, options) for peer in peers},
        **{
            name: None if name in options.leave_out else measure()
            for name, measure in slow.items()
        },
    }


def _figures(record: RunRecord) -> dict[str, Any]:
    gaps = [epoch.sync_gap_seconds for epoch in record.epochs[1:]]
    return {
        "images_trained": record.images_trained,
        STEADY: record.images_per_second.steady,
        WHOLE: record.epochs[-1].elapsed_seconds,
        "phases": record.phases.model_dump(),
        "sync_gap_seconds": gaps,
        # Where a steady epoch goes: the slowest worker, the gap, CPU taken by others.
        "worker_seconds": [epoch.worker_seconds for epoch in record.epochs],
        "worker_cpu_seconds": [worker.cpu_seconds for worker in record.per_worker],
        "macro_auc": record.scores.macro_auc.value,
    }


def _print_repeat(name: str, repeat: dict[str, Any]) -> None:
    print(f"{name:14} images/s from epoch 2   seconds to the end of fit")
    for peer, figures in repeat.items():
        cells = [(figures or {}).get(figure) for figure in (STEADY, WHOLE)]
        steady, whole = ("-" if cell is None else f"{cell:.1f}" for cell in cells)
        print(f"  {peer:12} {steady:>21} {whole:>27}", flush=True)


def _summarize(repeats: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def ratio(one: str, other: str, figure: str) -> float | None:
        pairs = [(repeat[one], repeat[other]) for repeat in repeats]
        if not all(a and b and a[figure] and b[figure] for a, b in pairs):
            return None
        return median_ratio(
            *zip(*((a[figure], b[figure]) for a, b in pairs), strict=True)
        )

    gaps = [gap for repeat in repeats for gap in repeat["resident"]["sync_gap_seconds"]]
    return {
        "steady_over_limit": ratio("resident", "limit", STEADY),
        "fit_over_stock": ratio("stock", "resident", WHOLE),
        "fit_over_stock_engine": ratio("stock_engine", "resident", WHOLE),
        "steady_over_torch": ratio("resident", "torch", STEADY),
        "steady_over_ray": ratio("resident", "ray", STEADY),
        "stock_engine_over_limit": ratio("stock_engine", "limit", STEADY),
        "sync_gap_seconds": statistics.median(gaps) if gaps else None,
    }


if __name__ == "__main__":
    exit_on_termination()
    sys.exit(main())
