r"""Runs on the primary node: one run of a sweep, its record brought to S3.

    python -m emr.step --run elephas-e2-r1 --sweep s3://bucket/prefix/sweeps/NAME -- \
        spark-submit ... elephas_spark.py

The command gets `--config` and `--results` besides. Its exit code is the step's; its
record is uploaded also when it failed. The nodes' instance profile is the credentials.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from xray.common.command import command, split_command
from xray.records.predictions import SUFFIX
from xray.storage.s3 import split_uri

JOB_FLOW = Path("/mnt/var/lib/info/job-flow.json")
"""EMR's description of the cluster on its nodes."""

RECORD_SECONDS = 60  # for a cancelled run to write its record


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and upload what it recorded; the command's exit code."""
    own, beside = split_command(arguments)
    options = _parser().parse_args(own)
    with tempfile.TemporaryDirectory("-step") as name:
        folder = Path(name)
        _download(f"{options.sweep}/config.yaml", folder / "config.yaml")
        try:
            return _run(beside, folder)
        finally:
            _bring(folder / "results", options)


def _bring(results: Path, options: argparse.Namespace) -> None:
    """Upload probabilities, then the records, which say that the run has ended."""
    for path in sorted(results.glob(f"*{SUFFIX}")) + sorted(results.glob("*.json")):
        if path.suffix == ".json":
            _annotate(path, options)
        _upload(path, f"{options.sweep}/runs/{options.run}/{path.name}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run one step of a sweep.")
    parser.add_argument("--run", required=True, help="name of the run in its sweep")
    parser.add_argument("--sweep", required=True, help="s3:// address of the sweep")
    parser.add_argument("--commit", help="git commit of the code, for the record")
    parser.add_argument("--dirty", action="store_true", help="with local changes")
    return parser


def _run(command: Sequence[str], folder: Path) -> int:
    """The command's exit code; a cancelled step is passed on, so it can record that."""
    process = subprocess.Popen(
        [
            *command,
            *("--config", str(folder / "config.yaml")),
            *("--results", str(folder / "results")),
        ],
        # spark-submit prints all to standard output; EMR shows a step's errors first.
        stdout=sys.stderr.fileno(),
        cwd=folder,
        start_new_session=True,
    )

    cancelled = threading.Event()

    def cancel(*_: object) -> None:
        # All of its processes: spark-submit, which is Java, does not tell the Python
        # program that it started.
        cancelled.set()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, cancel)
    code = process.wait()
    if cancelled.is_set():
        psutil.wait_procs(_members(process.pid), RECORD_SECONDS)
    return code if code >= 0 else 128 - code


def _members(group: int) -> list[psutil.Process]:
    """The processes of a group that still run."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            ended = process.status() == psutil.STATUS_ZOMBIE
            if os.getpgid(process.pid) == group and not ended:
                found.append(process)
    return found


def _annotate(path: Path, options: argparse.Namespace) -> None:
    """Add to a record what only the step knows: sweep, run, cluster and commit."""
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    record["emr"] = {
        "sweep": options.sweep.rpartition("/")[2],
        "run": options.run,
        "cluster": _cluster_id(),
    }
    if options.commit:
        record["git"] = {"commit": options.commit, "dirty": options.dirty}
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _cluster_id() -> str | None:
    try:
        return json.loads(JOB_FLOW.read_text(encoding="utf-8")).get("jobFlowId")
    except (OSError, ValueError):
        return None


def _client() -> Any:
    import boto3

    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return boto3.client("s3", region_name=region)


def _download(uri: str, path: Path) -> None:
    bucket, key = split_uri(uri)
    _client().download_file(bucket, key, str(path))


def _upload(path: Path, uri: str) -> None:
    bucket, key = split_uri(uri)
    _client().upload_file(str(path), bucket, key)


if __name__ == "__main__":
    sys.exit(main())
