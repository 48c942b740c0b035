r"""Runs on the primary node: one run of a sweep, what it leaves brought to S3.

    python -m emr.step --run elephas-e2-r1 --sweep s3://bucket/prefix/sweeps/NAME -- \
        spark-submit ... elephas_spark.py

The command gets `--config` and `--results` besides. Its exit code is the step's; its
record is uploaded also when it failed. The checkpoint of each epoch is uploaded
meanwhile: where an earlier try of the run has left one, the command gets `--resume` and
goes on from there. The nodes' instance profile is the credentials.
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
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from xray.common.background import beside
from xray.common.command import command, split_command
from xray.common.errors import UserError
from xray.records.predictions import SUFFIX
from xray.storage.credentials import load_access
from xray.storage.place import Place
from xray.training.checkpoint import CHECKPOINTS

JOB_FLOW = Path("/mnt/var/lib/info/job-flow.json")
"""EMR's description of the cluster on its nodes."""

KEEP_SECONDS = 5  # between two looks for a checkpoint

RECORD_SECONDS = 60  # for a cancelled run to write its record


@command()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and upload what it left; the command's exit code."""
    own, program = split_command(arguments)
    options = _parser().parse_args(own)
    access = load_access()
    run = Place(f"{options.sweep}/runs/{options.run}", access)
    with tempfile.TemporaryDirectory("-step") as name:
        folder = Path(name)
        config = Place(options.sweep, access).read("config.yaml")
        (folder / "config.yaml").write_bytes(config)
        results = folder / "results"
        resume = ("--resume",) if _fetch_checkpoints(run, results) else ()
        try:
            with beside(partial(_keep_checkpoints, run, results)):
                code = _run([*program, *resume], folder)
        finally:
            _bring(results, run, options)
        if code == 0:
            _forget_checkpoints(run)
        return code


def _checkpoints(run: Place) -> list[str]:
    return [name for name in run.names() if name.startswith(CHECKPOINTS)]


def _fetch_checkpoints(run: Place, results: Path) -> bool:
    """Put what an earlier try has left where the command looks; whether it has."""
    names = _checkpoints(run)
    for name in names:
        Place(str(results)).write(name, run.read(name))
        print(f"Going on from {run.at(name)}", file=sys.stderr, flush=True)
    return bool(names)


def _keep_checkpoints(run: Place, results: Path, ended: threading.Event) -> None:
    """Upload each checkpoint when it has changed, the last one also at the end."""
    kept: dict[Path, int] = {}
    last = False
    while not last:
        last = ended.wait(KEEP_SECONDS)
        for path in sorted((results / CHECKPOINTS).glob("*.npz")):
            try:
                changed = path.stat().st_mtime_ns
                if kept.get(path) != changed:
                    run.write(f"{CHECKPOINTS}/{path.name}", path.read_bytes())
                kept[path] = changed
            except FileNotFoundError:  # the run is over
                continue
            except UserError as error:  # the next one may come through
                print(f"warning: {error}", file=sys.stderr, flush=True)


def _forget_checkpoints(run: Place) -> None:
    with contextlib.suppress(UserError):  # the role may not allow to delete
        for name in _checkpoints(run):
            run.delete(name)


def _bring(results: Path, run: Place, options: argparse.Namespace) -> None:
    """Upload probabilities, then the records, which say that the run has ended."""
    for path in sorted(results.glob(f"*{SUFFIX}")) + sorted(results.glob("*.json")):
        if path.suffix == ".json":
            _annotate(path, options)
        run.write(path.name, path.read_bytes())


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


if __name__ == "__main__":
    sys.exit(main())
