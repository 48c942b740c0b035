"""What more workers would bring, predicted from measured records.

    python experiments/forecast.py results/sweep
    python experiments/forecast.py results/sweep --images 112120 \\
        --workers 1 8 64
    python experiments/forecast.py results/sweep --hold-out

The first two print time, cost, speedup and the knee with 95% intervals; the last checks
the model: each measured worker count is predicted from the others alone. The last line
is one JSON object. The model and its formula are in xray/report/time_model.py.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xray.common.command import command
from xray.common.errors import UserError
from xray.records.reading import read_records
from xray.records.record import RunRecord
from xray.report.costs import PRICES, PriceTable, cluster_of, cost_of, load_prices
from xray.report.forecast import Predictor, families, hold_out, knee, knee_sentence

WORKERS = (1, 2, 4, 8, 16, 32, 64)


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table and one JSON object; 0, or 2 after a user's error."""
    options = _parser().parse_args(arguments)
    everything, _ = read_records(*options.results)
    records = _family(everything, options.results)
    if options.hold_out:
        rows = _check(records, everything)
    else:
        rows = _predict(Predictor(records, everything), options)
    print(json.dumps(rows))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "results", type=Path, nargs="+", help="Elephas records, and folders of them"
    )
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    parser.add_argument("--images", type=int, help="default: as many as were measured")
    parser.add_argument("--hold-out", action="store_true", help="check the model")
    parser.add_argument("--instance-type", default="m5.xlarge")
    parser.add_argument("--workers-per-node", type=int, default=3)
    parser.add_argument(
        "--network-gbps",
        type=float,
        help="of a node, which its workers share; default: that of --instance-type in "
        "the price table",
    )
    parser.add_argument("--prices", type=Path, default=PRICES)
    return parser


def _family(records: list[RunRecord], places: list[Path]) -> list[RunRecord]:
    """The family of records with the most worker counts.

    Raises:
        UserError: no record of `places` can be predicted from.
    """
    found = families(records)
    if not found:
        raise UserError(
            f"No resident Elephas record under {', '.join(map(str, places))}. Run a "
            "sweep first: python experiments/elephas_spark.py --config ... "
            "--set runner.workers=2"
        )
    return found[0]


def _predict(predictor: Predictor, options: argparse.Namespace) -> dict[str, Any]:
    records, prices = predictor.records, load_prices(options.prices)
    network = _network(options, prices)
    found = [
        predictor.predict(predictor.job(count, options.images, network))
        for count in sorted({1, *options.workers})
    ]
    one = found[0].seconds
    print(
        f"{'workers':>7} {'minutes':>8} {'95% interval':>17} {'speedup':>8} {'USD':>8}"
    )
    rows = []
    for each in found:
        nodes = -(-each.job.workers // options.workers_per_node)
        machines = cluster_of(options.instance_type, nodes)
        row = {
            "workers": each.job.workers,
            "seconds": each.seconds,
            "low": each.low,
            "high": each.high,
            "speedup_over_one_worker": one / each.seconds,
            "usd": cost_of(machines, each.seconds, prices, on_emr=True).usd,
            "parts": each.parts,
        }
        rows.append(row)
        _print_row(row)
    seconds = {each.job.workers: each.seconds for each in found}
    print(
        f"{knee_sentence(seconds)} Measured up to {predictor.largest} worker(s) on "
        f"{records[0].machine.get('cpu_model')}."
    )
    job = found[0].job
    return {
        "images": job.train + job.validation + job.test,
        "epochs": job.epochs,
        "measured": sorted({record.workers for record in records}),
        "relative_error": predictor.error,
        "knee": knee(seconds),
        "predictions": rows,
    }


def _network(options: argparse.Namespace, prices: PriceTable) -> float:
    """Bytes a second of the network that each worker has."""
    gbps, table = options.network_gbps, prices.bytes_per_second
    node = gbps * 1e9 / 8 if gbps else table(options.instance_type)
    return node / options.workers_per_node


def _print_row(row: dict[str, Any]) -> None:
    usd = "no price" if row["usd"] is None else f"{row['usd']:.3f}"
    interval = f"{row['low'] / 60:.1f}-{row['high'] / 60:.1f}"
    print(
        f"{row['workers']:>7} {row['seconds'] / 60:>8.1f} {interval:>17} "
        f"{row['speedup_over_one_worker']:>8.2f} {usd:>8}"
    )


def _check(records: list[RunRecord], others: list[RunRecord]) -> dict[str, Any]:
    print("held out  runs  measured              predicted   error")
    rows = []
    for one in hold_out(records, others):
        found = one.predicted
        rows.append(
            {
                "workers": one.workers,
                "runs": one.runs,
                "measured_seconds": one.measured,
                "predicted_seconds": found.seconds,
                "low": found.low,
                "high": found.high,
                "relative_error": one.error,
                "inside": one.inside,
            }
        )
        text = f"{found.seconds:.1f} ({found.low:.1f}-{found.high:.1f})"
        print(
            f"{one.workers:>8} {one.runs:>5} {one.measured:>9.1f} {text:>22} "
            f"{one.error:>+7.0%}{'' if one.inside else ' outside'}"
        )
    return {"held_out": rows}


if __name__ == "__main__":
    sys.exit(main())
