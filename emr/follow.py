"""Clusters of a sweep: find, follow to the end of their steps, and end them."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from emr.aws import ACTIVE, Aws, NoAnswer, quota_hint, translated
from emr.plan import SWEEP_NAME
from emr.store import log_tail
from xray.common.errors import UserError

STEP_FAILED = ("FAILED", "INTERRUPTED", "CANCELLED")
STEP_ENDED = ("COMPLETED", *STEP_FAILED)
CLUSTER_ENDED = ("TERMINATED", "TERMINATED_WITH_ERRORS")


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds.

    Attributes:
        poll: between two looks at the cluster.
        silence: without an answer from AWS, before giving up.
        log: for the log of a failed step, which EMR brings when the cluster ends.
    """

    poll: float = 30
    silence: float = 900
    log: float = 420


def find_clusters(aws: Aws, name: str | None = None) -> list[dict[str, Any]]:
    """Running clusters of a sweep, or of every sweep; newest first.

    Raises:
        UserError: AWS refuses or does not answer.
    """
    with translated("listing clusters"):
        pages = aws.emr.get_paginator("list_clusters").paginate(
            ClusterStates=list(ACTIVE)
        )
        clusters = [cluster for page in pages for cluster in page["Clusters"]]
    ours = [cluster for cluster in clusters if SWEEP_NAME.fullmatch(cluster["Name"])]
    return [cluster for cluster in ours if name in (None, cluster["Name"])]


def list_steps(aws: Aws, cluster_id: str) -> list[dict[str, Any]]:
    """The steps of a cluster, in the order they run.

    Raises:
        UserError: AWS refuses or does not answer.
    """
    with translated(f"listing the steps of {cluster_id}"):
        pages = aws.emr.get_paginator("list_steps").paginate(ClusterId=cluster_id)
        steps = [step for page in pages for step in page["Steps"]]
    return sorted(
        steps, key=lambda step: step["Status"]["Timeline"]["CreationDateTime"]
    )


def describe(aws: Aws, cluster_id: str) -> dict[str, Any]:
    """EMR's description of a cluster.

    Raises:
        UserError: no such cluster, or AWS does not answer.
    """
    with translated(f"looking for cluster {cluster_id}"):
        return aws.emr.describe_cluster(ClusterId=cluster_id)["Cluster"]


def terminate(aws: Aws, cluster_id: str) -> None:
    """End a cluster; one that has ended already is left alone.

    Raises:
        UserError: AWS refuses or does not answer; says how to end it by hand.
    """
    try:
        if describe(aws, cluster_id)["Status"]["State"] in CLUSTER_ENDED:
            return
        with translated(f"ending cluster {cluster_id}"):
            aws.emr.terminate_job_flows(JobFlowIds=[cluster_id])
    except UserError as error:
        raise UserError(
            f"Cluster {cluster_id} could not be ended and may cost money: {error} By "
            f"hand: aws emr terminate-clusters --cluster-ids {cluster_id}"
        ) from None
    print(f"Cluster {cluster_id} is being ended.", file=sys.stderr)


def follow(
    aws: Aws,
    cluster_id: str,
    names: Sequence[str],
    finished: Callable[[], None],
    again: Callable[[Sequence[str]], bool],
    patience: Patience,
) -> None:
    """Wait until the steps `names` have ended, however long; a line for each change.

    EMR's own waiters give up after 30 minutes and do not know every end state.

    Args:
        aws: clients.
        cluster_id: j-...
        names: of the steps to wait for.
        finished: called whenever one more has ended, well or not.
        again: called then with those that have failed, if the cluster goes on; it may
            add a step of the same name, and says whether it has.
        patience: how often to look and how long to bear silence.

    Raises:
        UserError: the cluster failed, or a step did, which the others do not mind; or
            AWS is silent for too long.
    """
    ended, last_line, heard = -1, "", time.monotonic()
    while True:
        try:
            cluster = describe(aws, cluster_id)
            latest = {step["Name"]: step for step in list_steps(aws, cluster_id)}
            steps = [latest[name] for name in names if name in latest]
            states = [step["Status"]["State"] for step in steps]
            last_line = _show(cluster, steps, last_line)
            now_ended = sum(state in STEP_ENDED for state in states)
            if now_ended != ended:
                finished()
                ended = now_ended
                failed = [s["Name"] for s in steps if s["Status"]["State"] == "FAILED"]
                if failed and cluster["Status"]["State"] in ACTIVE and again(failed):
                    ended = -1  # what was seen of the steps is out of date
        except NoAnswer:
            _bear(cluster_id, time.monotonic() - heard, patience)
            time.sleep(patience.poll)
            continue
        heard = time.monotonic()
        gone = cluster["Status"]["State"] in CLUSTER_ENDED
        if gone or ended == len(names):
            if any(state in STEP_FAILED for state in states):
                _raise_step_failure(aws, cluster, steps, patience)
            if ended < len(names):
                _raise_cluster_failure(cluster)
            return
        time.sleep(patience.poll)


def _bear(cluster_id: str, silent_seconds: float, patience: Patience) -> None:
    if silent_seconds > patience.silence:
        raise UserError(
            f"AWS has not answered for {silent_seconds / 60:.0f} min. Cluster "
            f"{cluster_id} goes on and ends by itself after its last step; the same "
            "command takes up the sweep."
        ) from None
    print("AWS does not answer; trying again.", file=sys.stderr)


def _show(
    cluster: dict[str, Any], steps: Sequence[dict[str, Any]], last_line: str
) -> str:
    """Print where the sweep is, if that changed."""
    states = [step["Status"]["State"] for step in steps]
    running = [s["Name"] for s in steps if s["Status"]["State"] == "RUNNING"]
    failed = sum(state in STEP_FAILED for state in states)
    line = (
        f"{cluster['Id']} {cluster['Status']['State'].lower()}: "
        f"{states.count('COMPLETED')} of {len(steps)} runs done"
        f"{f', {failed} failed' if failed else ''}"
        f"{f', {running[0]} runs' if running else ''}"
    )
    if line != last_line:
        print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)
    return line


def _raise_step_failure(
    aws: Aws,
    cluster: dict[str, Any],
    steps: Sequence[dict[str, Any]],
    patience: Patience,
) -> None:
    """End the cluster, which brings the log, show its end, and say what failed."""
    failed = [s for s in steps if s["Status"]["State"] in STEP_FAILED]
    # One that failed comes before those that somebody cancelled.
    step = min(failed, key=lambda step: STEP_FAILED.index(step["Status"]["State"]))
    terminate(aws, cluster["Id"])
    lines = []
    if step["Status"]["State"] == "FAILED":
        print("Waiting for the log of the failed step.", file=sys.stderr)
        lines = log_tail(
            aws, cluster["LogUri"], cluster["Id"], step["Id"], patience.log
        )
    for line in lines:
        print(f"| {line}", file=sys.stderr)
    details = step["Status"].get("FailureDetails", {})
    said = [line[6:].strip(" .") for line in lines if line.startswith("error:")]
    reason = (said or [details.get("Message") or details.get("Reason") or ""])[-1]
    raise UserError(
        f"Step {step['Name']} on {cluster['Id']} is {step['Status']['State']}"
        f"{f': {reason}' if reason else ''}. {len(steps) - len(failed)} of "
        f"{len(steps)} runs are done, and their records kept; when it is mended, the "
        "same command runs the others."
    )


def _raise_cluster_failure(cluster: dict[str, Any]) -> None:
    change = cluster["Status"].get("StateChangeReason", {})
    code, message = change.get("Code", ""), change.get("Message") or "no reason given"
    bootstrap = "bootstrap" in f"{code} {message}".lower()
    reason = " ".join(message.split()).rstrip(".")
    where = f" Its log: {cluster['LogUri'].rstrip('/')}/{cluster['Id']}/node/"
    raise UserError(
        f"Cluster {cluster['Id']} ended before its runs: {reason}."
        f"{where if bootstrap else ''}{quota_hint(message)}"
    )
