"""Runs whose step died before it could leave a record, and their second step."""

import sys
from collections.abc import Sequence
from pathlib import Path

from emr.aws import Aws, translated
from emr.job_flow import add_steps_request
from emr.plan import Run, Sweep
from emr.store import fetch_records
from xray.common.errors import UserError


class LostRuns:
    """Gives each lost run one more step on the same cluster.

    A run that fails by itself leaves a record that says why, and would fail again. The
    step finds the checkpoint of the last epoch on S3 (`emr.step`).

    Args:
        aws: clients.
        sweep: of the runs.
        cluster_id: j-...
        results: folder of the records.
    """

    def __init__(self, aws: Aws, sweep: Sweep, cluster_id: str, results: Path) -> None:
        self._aws, self._sweep = aws, sweep
        self._cluster_id, self._results = cluster_id, results
        self._tried: set[str] = set()

    def run_again(self, failed: Sequence[str]) -> bool:
        """Add a step for each of these runs that was lost, once each.

        Args:
            failed: names of runs whose step has failed.

        Returns:
            Whether there is such a step now.
        """
        new = set(failed) - self._tried
        if not new:
            return False
        try:
            runs = self._sweep.uri("runs", "")
            lost = new - set(fetch_records(self._aws, runs, self._results))
            self._tried |= new
            again = [run for run in self._sweep.runs if run.name in lost]
            if again:
                self._add(again)
            return bool(again)
        except UserError as error:  # the cluster may be ending; the sweep goes on
            print(f"warning: {error}", file=sys.stderr)
            return False

    def _add(self, runs: Sequence[Run]) -> None:
        with translated(f"adding steps to {self._cluster_id}"):
            self._aws.emr.add_job_flow_steps(
                **add_steps_request(self._sweep, runs, self._cluster_id)
            )
        names = ", ".join(run.name for run in runs)
        print(
            f"{names}: the step was lost and is run again, from the last epoch that "
            "was kept.",
            file=sys.stderr,
            flush=True,
        )
