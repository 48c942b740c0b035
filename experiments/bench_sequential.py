"""The sequential runner as a share of what one core can do, measured in turn.

    python experiments/bench_sequential.py

Each repeat measures the limit of one process (experiments/hardware_limit.py) and then
a whole sequential run on as many images from the embedded S3 server; its images per
second from the second epoch on are divided by the limit. About 4 minutes.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from experiments import hardware_limit
from xray.benchmark import median_ratio, write_benchmark
from xray.errors import UserError
from xray.local_s3 import serve
from xray.record import RunRecord
from xray.synthetic import generate

ROOT = Path(__file__).resolve().parent
CONFIG = """
data: {images: s3://bench/images/, labels: s3://bench/Data_Entry_2017_v2020.csv,
       min_train_positives: 0}
model: {pooling: avg, head_units: []}
training: {optimizer: adam, learning_rate: 0.001, batch_size: 32}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table and one JSON object, and write the benchmark's file."""
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
    with tempfile.TemporaryDirectory("-bench") as name:
        folder = Path(name)
        generate(folder / "s3" / "bench", options.images, size=256)
        (folder / "bench.yaml").write_text(CONFIG, encoding="utf-8")
        with serve(folder / "s3") as server:
            server.write_credentials(folder / "credentials.yaml")
            for repeat in range(options.repeats):
                limits += hardware_limit.measure(1, options.steps)
                steady.append(_run(folder, repeat, options.epochs))
                share = steady[-1] / limits[-1]
                print(
                    f"{repeat + 1}/{options.repeats}: limit {limits[-1]:.1f}, "
                    f"sequential {steady[-1]:.1f} images/s, share {share:.3f}",
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


def _run(folder: Path, repeat: int, epochs: int) -> float:
    """Images per second of a sequential run from its second epoch on.

    Raises:
        UserError: the run failed.
    """
    results = folder / f"results-{repeat}"
    done = subprocess.run(
        [
            *(sys.executable, ROOT / "sequential.py"),
            *("--config", folder / "bench.yaml", "--results", results),
            *("--set", f"data.credentials={folder / 'credentials.yaml'}"),
            *("--set", f"training.epochs={epochs}"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise UserError(f"The sequential run failed: {last}")
    (path,) = results.glob("*.json")
    record = RunRecord.model_validate_json(path.read_bytes())
    return record.images_per_second.steady


if __name__ == "__main__":
    sys.exit(main())
