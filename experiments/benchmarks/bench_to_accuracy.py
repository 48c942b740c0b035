"""Seconds until two workers are as good as one thread, by how they average.

    python experiments/benchmarks/bench_to_accuracy.py            # 3 seeds, 30 minutes
    python experiments/benchmarks/bench_to_accuracy.py --quick    # one seed, one way
    python experiments/benchmarks/bench_to_accuracy.py --config my.yaml --epochs 12

On drawn X-rays, or with a configuration of your own on its own bucket. For each seed
one sequential run, and then resident workers in every way of WAYS, for half as many
epochs more. The target is the macro AUC with which the sequential run of that seed
ends; a run has reached it where the line between two scored epochs first does.

The last line is one JSON object: for each way, medians over the seeds of

- over_first: seconds from the program's start to the target, over those of the
  sequential run, which may reach its own last AUC before its last epoch
- over_end: the same, over the seconds to the end of the sequential run's training
- fit_over_end: the same from the first training step on, without either's start
- auc: that of the epoch in which the sequential run ends, less the target

A ratio is null where half of the seeds or more do not reach the target.
"""

import argparse
import contextlib
import math
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.benchmarks.harness import (
    Bench,
    bench_parser,
    run_benchmark,
    start_bench,
)
from xray.common.processes import exit_on_termination
from xray.config.file import load_config
from xray.report.to_target import CurvePoint, curve, until

# As experiments/configs/demo.yaml, which is small and learns within minutes.
SETTINGS = (
    *("data.image_size=64", "model.alpha=0.25", "model.batch_norm_momentum=0.9"),
    *("training.learning_rate=0.003", "training.batch_size=8"),
)
WAYS = {
    "epoch": (),
    "often": ("runner.sync_every=10",),
    "rate": ("training.scale_learning_rate=true",),
    "split": ("training.batch_size={split}",),
    "averaged": ("runner.optimizer_state=averaged",),
    "outer": ("runner.outer_momentum=0.5",),
    "split_outer": ("training.batch_size={split}", "runner.outer_momentum=0.5"),
    "often_averaged": ("runner.sync_every=10", "runner.optimizer_state=averaged"),
    "averaged_outer": ("runner.optimizer_state=averaged", "runner.outer_momentum=0.5"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table and one JSON object, and write the benchmark's file."""
    parser = bench_parser(__doc__)
    parser.add_argument("--config", type=Path, help="in place of drawn X-rays")
    parser.add_argument("--images", type=int, default=1200, help="to draw")
    parser.add_argument("--epochs", type=int, default=8, help="of the sequential run")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    quick = {"images": 200, "epochs": 2, "ways": ["split_outer"]}
    return run_benchmark("to_accuracy", parser, _measure, quick, arguments)


def _measure(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    seeds = []
    with _bench(options) as bench:
        size = load_config(bench.config, _settings(options)).training.batch_size
        ways = {
            way: [text.format(split=max(1, size // options.workers)) for text in texts]
            for way, texts in WAYS.items()
            if way in options.ways
        }
        for seed in range(options.repeats):
            seeds.append(_measure_seed(bench, options, seed, ways))
    summary = {way: _summarize(way, options.epochs, seeds) for way in ways}
    measured = [{way: run.to_dict() for way, run in runs.items()} for runs in seeds]
    return {"ways": ways, "seeds": measured}, summary


@contextlib.contextmanager
def _bench(options: argparse.Namespace) -> Iterator[Bench]:
    if options.config is None:
        with start_bench(options.images) as bench:
            yield bench
        return
    with tempfile.TemporaryDirectory("-bench") as folder:
        yield Bench(Path(folder), options.config)


def _settings(options: argparse.Namespace) -> tuple[str, ...]:
    return SETTINGS if options.config is None else ()


class Run(NamedTuple):
    """What a run's record says of its way to the target.

    Attributes:
        start: seconds from the program's start to the first training step.
        points: the macro AUC after each epoch.
    """

    start: float
    points: list[CurvePoint]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        points = [point._asdict() for point in self.points]
        return {"start": self.start, "points": points}

    def seconds_to(self, auc: float) -> float:
        """From the program's start; infinite where it is never reached."""
        reached = until(self.points, auc)
        return reached.seconds if reached else math.inf


def _measure_seed(
    bench: Bench,
    options: argparse.Namespace,
    seed: int,
    ways: dict[str, Sequence[str]],
) -> dict[str, Run]:
    """The run of each way, and that of one thread first."""
    together = (
        *("elephas_spark.py", f"training.epochs={math.ceil(1.5 * options.epochs)}"),
        *(f"runner.{key}" for key in _workers(options)),
    )
    wanted = {"sequential": ("sequential.py", f"training.epochs={options.epochs}")}
    wanted |= {way: (*together, *settings) for way, settings in ways.items()}
    common = (*_settings(options), f"training.seed={seed}")
    runs = {}
    for way, (script, *settings) in wanted.items():
        record = bench.run(
            script, *common, "training.evaluate_every_epoch=true", *settings
        )
        first = record.epochs[0]
        points = curve(record)
        runs[way] = Run(first.elapsed_seconds - first.seconds, points)
        aucs = " ".join(f"{point.auc:.3f}" for point in points)
        print(f"seed {seed}, {way}: {points[-1].seconds:.0f} s, AUC {aucs}", flush=True)
    return runs


def _workers(options: argparse.Namespace) -> tuple[str, str]:
    return f"workers={options.workers}", f"master=local[{options.workers}]"


def _summarize(
    way: str, epochs: int, seeds: Sequence[dict[str, Run]]
) -> dict[str, float | None]:
    compared = [_compare(runs["sequential"], runs[way], epochs) for runs in seeds]
    medians = {
        name: statistics.median(each[name] for each in compared) for name in compared[0]
    }
    return {name: m if math.isfinite(m) else None for name, m in medians.items()}


def _compare(alone: Run, together: Run, epochs: int) -> dict[str, float]:
    end = alone.points[-1]
    seconds = together.seconds_to(end.auc)
    return {
        "over_first": seconds / alone.seconds_to(end.auc),
        "over_end": seconds / end.seconds,
        "fit_over_end": (seconds - together.start) / (end.seconds - alone.start),
        "auc": together.points[epochs - 1].auc - end.auc,
    }


if __name__ == "__main__":
    exit_on_termination()
    sys.exit(main())
