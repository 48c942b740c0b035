"""Batch inference beside what one core can do, with one worker and with two.

    python experiments/benchmarks/bench_predict.py            # 3 repeats, 10 minutes
    python experiments/benchmarks/bench_predict.py --quick    # one small repeat
    python experiments/benchmarks/bench_predict.py --precision mixed_bfloat16

On drawn images staged as shards at 128x128 behind the embedded S3 server, with the
MobileNet of `sequential.py`. Each repeat measures in turn, in processes of their own:

- limit: `model.predict` on an array in memory, on one pinned core
  (peers/predict_limit.py)
- one, two: experiments/predict.py with as many single-threaded Spark workers, in
  --precision; the limit is in float32

The last line is one JSON object with medians over the repeats of

- steady_over_predict: steady images/s of one worker, over the limit. Steady is from the
  end of a worker's first batch on, so without start-up; reading shards is in it.
- two_over_one: steady images/s of two workers together, over those of one.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks.harness import (
    PEERS,
    Bench,
    add_precision_option,
    bench_parser,
    last_json,
    median_ratio,
    run_benchmark,
    run_script,
    start_bench,
)
from xray.common.processes import exit_on_termination

QUICK = {"images": 1500}  # two parts
STAGED = "data.staged=s3://bench/staged/"
WORKERS = {"one": 1, "two": 2}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a line per repeat and one JSON object, and write the file."""
    parser = bench_parser(__doc__)
    parser.set_defaults(out=Path("results/inference"))
    parser.add_argument("--images", type=int, default=6144)
    add_precision_option(parser, "predict.py")
    return run_benchmark("predict", parser, _measure, QUICK, arguments)


def _measure(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    repeats = []
    with start_bench(options.images) as bench:
        bench.run_tool("stage.py", STAGED)
        model = _train(bench)
        for number in range(options.repeats):
            repeats.append(_repeat(bench, model, options))
            rates = ", ".join(f"{k} {v['steady']:.1f}" for k, v in repeats[-1].items())
            print(f"{number + 1}/{options.repeats}: {rates} images/s", flush=True)
    limit, one, two = (
        [repeat[name]["steady"] for repeat in repeats] for name in repeats[0]
    )
    summary = {
        "steady_over_predict": median_ratio(one, limit),
        "two_over_one": median_ratio(two, one),
    }
    return {"repeats": repeats}, summary


def _train(bench: Bench) -> str:
    """The path of a model that has hardly seen an image."""
    models = f"output.models={bench.folder / 'models'}"
    record = bench.run("sequential.py", "training.epochs=1", "data.limit=80", models)
    return record.models["last"].path


def _repeat(
    bench: Bench, model: str, options: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    command = [sys.executable, PEERS / "predict_limit.py", "--model", model]
    limit = last_json(run_script([*command, "--images", options.images]))
    figures = {"limit": {"steady": limit["images_per_second"]}}
    for name, workers in WORKERS.items():
        figures[name] = _predict(bench, model, workers, options.precision)
    return figures


def _predict(bench: Bench, model: str, workers: int, precision: str) -> dict[str, Any]:
    """What a job on so many single-threaded workers says of its speed."""
    out = Path(tempfile.mkdtemp(dir=bench.folder))
    settings = (
        STAGED,
        f"runner.master=local[{workers}]",
        f"runner.workers={workers}",
        "runner.threads_per_worker=1",
        f"runner.precision={precision}",
    )
    options = ("--model", model, "--out", out)
    bench.run_tool("predict.py", *settings, options=options)
    summary = json.loads((out / "summary.json").read_text())
    return {
        "steady": summary["images_per_second"]["steady"],
        "overall": summary["images_per_second"]["overall"],
        "data_wait_seconds": summary["data_wait_seconds"],
        "workers": summary["workers"],
        "seconds": summary["seconds"],
    }


if __name__ == "__main__":
    exit_on_termination()
    sys.exit(main())
