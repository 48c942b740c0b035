"""Paired measurements: runs on drawn images, medians, ratios, and one JSON file."""

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xray.errors import UserError
from xray.local_s3 import serve
from xray.machine import describe_machine, git_state, package_versions
from xray.processes import die_with_parent
from xray.record import RunRecord, read_records, utc_now
from xray.synthetic import generate

# The network of the hardware limit: MobileNet 128x128, mean pooling, 15 sigmoids.
CONFIG = """
data: {images: s3://bench/images/, labels: s3://bench/Data_Entry_2017_v2020.csv,
       credentials: CREDENTIALS, min_train_positives: 0}
model: {pooling: avg, head_units: []}
training: {optimizer: adam, learning_rate: 0.001, batch_size: 32}
"""


@dataclass(frozen=True)
class Bench:
    """Runs scripts on the same drawn images.

    Attributes:
        folder: of the images, the configuration and the records.
        scripts: folder of the runners.
    """

    folder: Path
    scripts: Path

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
        return last_json(self._run(script, *self._configure(settings)))

    def run_tool(self, script: str, *settings: str) -> None:
        """Run a script that takes our configuration and leaves no record.

        Raises:
            UserError: it failed.
        """
        self._run(script, *self._configure(settings))

    def _configure(self, settings: Sequence[str]) -> list[object]:
        overrides = [part for setting in settings for part in ("--set", setting)]
        return ["--config", self.folder / "bench.yaml", *overrides]

    def _run(self, script: str, *arguments: object) -> str:
        return run_script([sys.executable, self.scripts / script, *arguments])


@contextlib.contextmanager
def start_bench(images: int, scripts: Path, size: int = 256) -> Iterator[Bench]:
    """A bench with `images` drawn images, `size` square, on an embedded S3 server."""
    with tempfile.TemporaryDirectory("-bench") as name:
        folder = Path(name)
        generate(folder / "s3" / "bench", images, size=size, listed_per_image=1)
        credentials = folder / "credentials.yaml"
        text = CONFIG.replace("CREDENTIALS", str(credentials))
        (folder / "bench.yaml").write_text(text, encoding="utf-8")
        with serve(folder / "s3") as server:
            server.write_credentials(credentials)
            yield Bench(folder, scripts)


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


def write_benchmark(
    folder: Path, name: str, settings: Mapping[str, Any], results: Mapping[str, Any]
) -> Path:
    """The file `<UTC time>_<name>.json` in `folder`.

    Args:
        folder: made if it is missing.
        name: of the benchmark.
        settings: what was run.
        results: every repeat's figure, and the ratios.
    """
    created = utc_now()
    content = {
        "benchmark": name,
        "created": created.isoformat(),
        "settings": dict(settings),
        "results": dict(results),
        "machine": describe_machine(),
        "packages": package_versions(),
        "git": git_state(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{created:%Y%m%dT%H%M%SZ}_{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path
