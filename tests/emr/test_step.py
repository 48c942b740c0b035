"""The program that each step of a cluster runs, as EMR runs and cancels it."""

import json
import subprocess
import sys

from tests.conftest import ROOT
from tests.emr.account import BUCKET

pytest_plugins = ["tests.emr.account"]

CANCELLED = """
import signal, sys, time
from pathlib import Path
folder = Path(sys.argv[sys.argv.index("--results") + 1])
def stop(*_):
    folder.mkdir()
    (folder / "aborted.json").write_text('{"status": "aborted", "runner": "gpu"}')
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
print("ready", file=sys.stderr, flush=True)
time.sleep(60)
"""


def test_a_cancelled_step_still_brings_its_record(aws):
    aws.put_object(Bucket=BUCKET, Key="test/sweeps/s/config.yaml", Body=b"data: {}")
    options = ("--run", "one", "--sweep", f"s3://{BUCKET}/test/sweeps/s")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "emr.step", *options),
            *("--", sys.executable, "-c", CANCELLED),
        ],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr.readline() == "ready\n"
    process.terminate()
    assert process.wait(60) == 130
    process.stderr.close()
    key = "test/sweeps/s/runs/one/aborted.json"
    record = json.loads(aws.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    assert (record["status"], record["emr"]["run"]) == ("aborted", "one")
