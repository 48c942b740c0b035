"""Paired measurements: runs on drawn images, medians, ratios, and one JSON file."""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xray.common.command import command
from xray.common.errors import UserError
from xray.common.processes import die_with_parent
from xray.local.s3 import serve
from xray.local.synthetic import generate
from xray.model.cpu_step import BFLOAT16
from xray.records.benchmark import write_benchmark
from xray.records.reading import read_records
from xray.records.record import RunRecord

EXPERIMENTS = Path(__file__).resolve().parents[1]
PEERS = EXPERIMENTS / "benchmarks" / "peers"
# The network of the hardware limit: MobileNet 128x128, mean pooling, 15 sigmoids.
CONFIG = """
data: {images: s3://bench/images/, labels: s3://bench/Data_Entry_2017_v2020.csv,
       credentials: CREDENTIALS, min_train_positives: 0}
model: {pooling: avg, head_units: []}
training: {optimizer: adam, learning_rate: 0.001, batch_size: 32}
"""

CACHE_SECONDS = 3600


def bench_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the options of every benchmark: --repeats, --quick and --out."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one small repeat")
    parser.add_argument("--out", type=Path, default=Path("results/bench"))
    return parser


def add_peer_option(parser: argparse.ArgumentParser, peer: str, packages: str) -> None:
    """Give a benchmark `--torch-python` or the like, of an environment for a peer."""
    variable = f"XRAY_{peer.upper()}_PYTHON"
    parser.add_argument(
        f"--{peer}-python",
        type=Path,
        default=os.environ.get(variable) or None,
        help=f"Python with {packages} (default: ${variable})",
    )


def add_precision_option(
    parser: argparse.ArgumentParser, whose: str = "the limit and our runner"
) -> None:
    """Give a benchmark `--precision`, of the runner, and of its limit or not."""
    parser.add_argument(
        "--precision",
        choices=("float32", BFLOAT16),
        default="float32",
        help=f"of {whose} (default: %(default)s)",
    )


@command()
def run_benchmark(
    name: str,
    parser: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace], tuple[dict[str, Any], dict[str, Any]]],
    quick: Mapping[str, Any],
    arguments: Sequence[str] | None,
) -> int:
    """Measure as the command line says; the exit code, 0, or 2 after a user's error.

    Writes the benchmark's file, and prints its path and, as the last line, the summary
    as one JSON object.

    Args:
        name: of the benchmark.
        parser: of `bench_parser`, with the benchmark's own options.
        measure: turns the options into every repeat's figures, and their summary.
        quick: what --quick makes of the options that are not given.
        arguments: of the command line; None are this program's own.
    """
    options = parser.parse_args(arguments)
    if options.quick:
        parser.set_defaults(repeats=1, **quick)
        options = parser.parse_args(arguments)
    figures, summary = measure(options)
    # Paths tell of this machine, and nothing of what was measured.
    settings = {k: v for k, v in vars(options).items() if not isinstance(v, Path)}
    settings["config"] = CONFIG
    print(write_benchmark(options.out, name, settings, {**figures, **summary}))
    print(json.dumps(summary))
    return 0


@dataclass(frozen=True)
class Bench:
    """Runs scripts of experiments/ and of its peers on the same images.

    Attributes:
        folder: of the records.
        config: of the runs.
    """

    folder: Path
    config: Path

    def run(self, script: str, *settings: str) -> RunRecord:
        """The record of one runner, in a process of its own.

        Raises:
            UserError: it failed.
        """
        results = Path(tempfile.mkdtemp(dir=self.folder))
        self._run(script, *self._configure(settings), "--results", results)
        ((record,), _) = read_records(results)
        return record

    def run_peer(self, script: str, *settings: str) -> dict[str, Any]:
        """The JSON object in the last line of a peer that takes our configuration.

        Raises:
            UserError: it failed.
        """
        return last_json(self._run(PEERS / script, *self._configure(settings)))

    def run_tool(
        self, script: str, *settings: str, options: Sequence[object] = ()
    ) -> None:
        """Run a script that takes our configuration and leaves no record.

        Args:
            script: its name.
            *settings: section.key=value
            options: of its own.

        Raises:
            UserError: it failed.
        """
        self._run(script, *self._configure(settings), *options)

    def scoring_peak_bytes(self, model: Path) -> int:
        """The peak memory of predict.py with that model, on this bench's images.

        Raises:
            UserError: it failed.
        """
        out = tempfile.mkdtemp(dir=self.folder)
        command = [sys.executable, EXPERIMENTS / "predict.py", "--model", model]
        command += ["--out", out, "--config", self.config]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(
            [*map(str, command)], preexec_fn=die_with_parent, **quiet
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise UserError(f"predict.py failed in the benchmark ({model.name}).")
        return usage.ru_maxrss * 1024  # Linux tells KiB

    def _configure(self, settings: Sequence[str]) -> list[object]:
        overrides = [part for setting in settings for part in ("--set", setting)]
        return ["--config", self.config, *overrides]

    def _run(self, script: str | Path, *arguments: object) -> str:
        return run_script([sys.executable, EXPERIMENTS / script, *arguments])


@contextlib.contextmanager
def start_bench(images: int, size: int = 256) -> Iterator[Bench]:
    """A bench with `images` drawn images, `size` square, on an embedded S3 server."""
    with tempfile.TemporaryDirectory("-bench") as name:
        folder = Path(name)
        generate(folder / "s3" / "bench", images, size=size, listed_per_image=1)
        credentials = folder / "credentials.yaml"
        text = CONFIG.replace("CREDENTIALS", str(credentials))
        (folder / "bench.yaml").write_text(text, encoding="utf-8")
        # Nobody writes past the server; without a cache each request reads its folder.
        with serve(folder / "s3", cache_seconds=CACHE_SECONDS) as server:
            server.write_credentials(credentials)
            yield Bench(folder, folder / "bench.yaml")


def run_script(
    command: Sequence[object], environment: Mapping[str, str] | None = None
) -> str:
    """What a command prints.

    Args:
        command: a Python, the script and its arguments.
        environment: None is this process' own.

    Raises:
        UserError: it failed; with the last line of its errors.
    """
    done = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        preexec_fn=die_with_parent,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        name = Path(str(command[1])).name
        raise UserError(f"{name} failed in the benchmark: {last}")
    return done.stdout


def last_json(output: str) -> dict[str, Any]:
    """The JSON object in the last line of a script's output."""
    return json.loads(output.strip().splitlines()[-1])


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median over repeats of ours / theirs, each pair measured one after the other."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
