"""A stand-in for EMR's own machinery: moto keeps the state, this moves the steps.

moto's server answers over real HTTP and never advances a step. `Machinery` does, in a
thread, through moto's in-process backend, and runs each step's command for real: the
same `emr.step`, with a `spark-submit` that leaves a plausible record.
"""

import gzip
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID

from emr.step import KEEP_SECONDS
from tests.conftest import ROOT

REGION = "us-east-1"
SPARK_SUBMIT = f"""#!{sys.executable}
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from tests.factories import make_elephas
from xray.records.record import utc_now, new_run_id
def value(name):
    return sys.argv[sys.argv.index(name) + 1]
name = "spark.executor.instances="
workers = next(int(a.removeprefix(name)) for a in sys.argv if a.startswith(name))
created = utc_now()
machine = {{"nodes": workers + 1, "cores": 4}}
record = make_elephas(workers, 80 / workers, machine=machine)
record = record.model_copy(update={{
    "created": created, "run_id": new_run_id(created, "elephas", workers, ""),
}})
if workers == {{lost}}:
    results = Path(value("--results"))
    checkpoint = results / "checkpoints" / "elephas_1.npz"
    if "--resume" not in sys.argv:
        checkpoint.parent.mkdir(parents=True)
        checkpoint.write_bytes(b"of epoch 1")
        time.sleep({KEEP_SECONDS} + 2)
        os.kill(os.getpid(), signal.SIGKILL)
    assert checkpoint.read_bytes() == b"of epoch 1"
if value("--config") and workers == {{failing}}:
    print("error: Bucket 'nih' does not exist.", flush=True)
    failed = {{"status": "failed", "error": "Bucket 'nih' does not exist."}}
    record.model_copy(update=failed).write(Path(value("--results")))
    sys.exit(2)
record.write(Path(value("--results")))
print("trained on", workers)
"""

# The real one, with this machine's master, Python and code in place of the nodes'. A
# standalone cluster would need a secret for what YARN arranges by itself.
REAL_SPARK_SUBMIT = f"""#!{sys.executable}
import os, sys
here = {{"yarn": "{{master}}", "spark.authenticate=true": "spark.authenticate=false"}}
arguments = [here.get(a, a) for a in sys.argv[1:]]
for theirs, ours in (
    ("/opt/xray/environment/bin/python", {sys.executable!r}),
    ("/opt/xray/code", {str(ROOT)!r}),
):
    arguments = [a.replace(theirs, ours) for a in arguments]
program = os.path.join(os.path.dirname({sys.executable!r}), "spark-submit")
os.execv(program, ["spark-submit", *arguments])
"""


def emr_backend() -> Any:
    """moto's EMR, whose state a test may look at and change."""
    return get_backend("emr")[DEFAULT_ACCOUNT_ID][REGION]


def clusters() -> list[Any]:
    """Every cluster that was ever started."""
    return list(emr_backend().clusters.values())


class Machinery:
    """Runs the steps of every cluster, one after the other, while the block lasts.

    Args:
        folder: for the stand-in of spark-submit.
        s3: a client, to bring the logs.
        failing: executor count whose step fails; 0 is none.
        lost: executor count whose step is killed after an epoch, the first time.
        master: train for real on this Spark master, if there is one.
        before: called before each step.
        lingers: whether a cluster whose last step has failed waits for one more.
    """

    def __init__(
        self,
        folder: Path,
        s3: Any,
        failing: int = 0,
        lost: int = 0,
        master: str = "",
        before: Callable[[Any, Any], None] = lambda cluster, step: None,
        lingers: bool = False,
    ) -> None:
        self._s3, self._before, self._lingers = s3, before, lingers
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._path = folder / "bin"
        self._path.mkdir(parents=True, exist_ok=True)
        script = self._path / "spark-submit"
        text = SPARK_SUBMIT.replace("{failing}", str(failing))
        text = text.replace("{lost}", str(lost))
        script.write_text(
            REAL_SPARK_SUBMIT.replace("{master}", master) if master else text
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        self.ran: list[str] = []

    def __enter__(self) -> "Machinery":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._ended.is_set():
            for cluster in clusters():
                if cluster.state in ("RUNNING", "WAITING", "TERMINATING"):
                    self._advance_or_end(cluster)
            time.sleep(0.02)

    def _advance_or_end(self, cluster: Any) -> None:
        try:
            self._advance(cluster)
        except Exception as error:  # noqa: BLE001 - the launcher waits for this thread
            cluster.last_state_change_reason = f"the test's machinery: {error}"
            cluster.terminate()

    def _advance(self, cluster: Any) -> None:
        step = next(
            (s for s in cluster.steps if s.state in ("RUNNING", "PENDING")), None
        )
        if step is None:
            cluster.terminate()
            return
        step.state = "RUNNING"
        self._before(cluster, step)
        if step.state != "RUNNING" or cluster.state == "TERMINATED":
            return
        done = self._execute(step)
        self.ran.append(step.name)
        self._bring_log(cluster, step, done.stderr)
        waiting = any(s.state == "PENDING" for s in cluster.steps)
        if done.returncode and not waiting and not self._lingers:
            cluster.state = "TERMINATING"  # nobody sees it fail and the cluster wait
            time.sleep(1)
        step.state = "FAILED" if done.returncode else "COMPLETED"
        if done.returncode and self._lingers:
            deadline = time.monotonic() + 30
            while cluster.steps[-1] is step and time.monotonic() < deadline:
                time.sleep(0.05)
        if done.returncode and step.action_on_failure == "TERMINATE_CLUSTER":
            self._cancel_rest(cluster)

    def _execute(self, step: Any) -> subprocess.CompletedProcess:
        """The step's own command, with this machine's Python for the nodes'."""
        arguments = step.args[step.args.index("-m") :]
        path = f"{self._path}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=400,
        )

    def _bring_log(self, cluster: Any, step: Any, text: str) -> None:
        bucket, _, prefix = cluster.log_uri.removeprefix("s3://").partition("/")
        key = f"{prefix}{cluster.id}/steps/{step.id}/stderr.gz"
        body = gzip.compress(text.encode())
        self._s3.put_object(Bucket=bucket, Key=key, Body=body)

    @staticmethod
    def _cancel_rest(cluster: Any) -> None:
        for step in cluster.steps:
            if step.state == "PENDING":
                step.state = "CANCELLED"
        cluster.terminate()
