"""The commands of emr.launch, each a function of its arguments."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emr.aws import Aws, translated
from emr.checks import check_bucket, check_placeholder, checks
from emr.estimate import estimate_cost, predict_minutes
from emr.follow import (
    STEP_ENDED,
    Patience,
    describe,
    find_clusters,
    follow,
    list_steps,
    terminate,
)
from emr.job_flow import (
    BOOTSTRAP,
    add_steps_request,
    artifact_uri,
    run_job_flow_request,
)
from emr.lost import LostRuns
from emr.packaging import build_code, build_environment, code_name, environment_name
from emr.plan import SWEEP_NAME, Run, Sweep, cluster_config, plan_runs
from emr.settings import NODES_TAG, ClusterSettings
from emr.store import fetch_records, log_tail, upload
from xray.common.errors import UserError
from xray.config.run import RunConfig
from xray.records.machine import git_state
from xray.records.reading import read_records
from xray.report.costs import PriceTable


def make_sweep(
    settings: ClusterSettings,
    config: RunConfig,
    executors: Sequence[int],
    repeats: int,
) -> Sweep:
    """The sweep that these settings mean; the same ones always mean the same sweep.

    Raises:
        UserError: a setting that a cluster cannot have.
    """
    return Sweep(
        settings,
        cluster_config(config),
        plan_runs(executors, repeats),
        environment_name(),
        code_name(),
        git_state(),
    )


def dry_run(sweep: Sweep, prices: PriceTable, results: Path) -> dict[str, Any]:
    """The exact requests and the estimated cost, as JSON values; AWS is not asked.

    Runs that are done already, and a cluster that runs, are not known here.

    Raises:
        UserError: a placeholder was not replaced, or an instance type is not known.
    """
    check_placeholder(sweep.settings)
    for role in ("primary", "core"):
        name = getattr(sweep.settings, role).instance_type
        if name not in prices.instances:
            raise UserError(
                f"{role}.instance_type {name!r} has no price, so it may not exist. "
                f"Known: {', '.join(sorted(prices.instances))}; add it to --prices."
            )
    records = read_records(results)[0] if results.is_dir() else []
    minutes = predict_minutes(sweep, records)
    return {
        "sweep": sweep.name,
        "runs": [run.name for run in sweep.runs],
        "region": sweep.settings.region,
        "records": sweep.uri("runs", ""),
        "uploads": [
            artifact_uri(sweep, sweep.environment),
            artifact_uri(sweep, sweep.code),
            sweep.uri(BOOTSTRAP),
            sweep.uri("config.yaml"),
        ],
        "requests": {"run_job_flow": run_job_flow_request(sweep, sweep.runs)},
        "config": sweep.config.to_dict(),
        "estimate": estimate_cost(sweep, prices, minutes),
    }


def run_sweep(
    aws: Aws, sweep: Sweep, results: Path, build: Path, patience: Patience
) -> None:
    """Every run of the sweep that has no record yet; nothing is run twice.

    Raises:
        UserError: something that can be mended; records so far are in `results`, and
            no cluster is left unless AWS did not answer or the user wanted it.
    """
    for _ in checks(aws, sweep):
        pass
    missing = _missing(aws, sweep, results)
    if not missing:
        print(f"{sweep.name}: every run has its record.", file=sys.stderr)
        return
    # Before the guard: a cluster of somebody's that we cannot join must not be ended.
    cluster_id = _take_up(aws, sweep, missing)
    if cluster_id is None:
        upload(aws, sweep, [build_environment(build), build_code(build)])
    keep = False
    try:
        cluster_id = cluster_id or _start(aws, sweep, missing)
        names = [run.name for run in missing]
        lost = LostRuns(aws, sweep, cluster_id, results)
        follow(
            aws,
            cluster_id,
            names,
            lambda: _missing(aws, sweep, results),
            lost.run_again,
            patience,
        )
    except KeyboardInterrupt:
        keep = not _wants_to_end(sweep.name)
        raise
    finally:
        _clean_up(aws, sweep, results, keep)
    if _missing(aws, sweep, results):
        raise UserError(
            f"{sweep.name}: a step completed without a successful record; see `logs`."
        )


def _clean_up(aws: Aws, sweep: Sweep, results: Path, keep: bool) -> None:
    """End the cluster and fetch the rest; trouble here must not hide why we came."""
    try:
        if not keep:
            terminate_all(aws, sweep.name)
        fetch_records(aws, sweep.uri("runs", ""), results)
    except UserError as error:
        print(f"warning: {error}", file=sys.stderr)


def _missing(aws: Aws, sweep: Sweep, results: Path) -> list[Run]:
    """Runs without a successful record, after fetching what there is."""
    found = fetch_records(aws, sweep.uri("runs", ""), results)
    return [run for run in sweep.runs if "success" not in found.get(run.name, ())]


def _take_up(aws: Aws, sweep: Sweep, missing: Sequence[Run]) -> str | None:
    """The sweep's own cluster if it still runs, with a step for every missing run."""
    clusters = find_clusters(aws, sweep.name)
    if not clusters:
        return None
    cluster_id = clusters[0]["Id"]
    waiting = {
        step["Name"]
        for step in list_steps(aws, cluster_id)
        if step["Status"]["State"] not in STEP_ENDED
    }
    new = [run for run in missing if run.name not in waiting]
    print(f"{sweep.name} runs on {cluster_id} already; following.", file=sys.stderr)
    if new:
        _check_large_enough(aws, cluster_id, new)
        with translated(f"adding steps to {cluster_id}"):
            aws.emr.add_job_flow_steps(**add_steps_request(sweep, new, cluster_id))
    return cluster_id


def _check_large_enough(aws: Aws, cluster_id: str, runs: Sequence[Run]) -> None:
    tags = {tag["Key"]: tag["Value"] for tag in describe(aws, cluster_id)["Tags"]}
    nodes = int(tags.get(NODES_TAG, 0))
    needed = max(run.executors for run in runs)
    if needed > nodes:
        raise UserError(
            f"Cluster {cluster_id} of this sweep runs with {nodes} core node(s); "
            f"{needed} are needed. Wait for its end, or end it with `terminate`."
        )


def _start(aws: Aws, sweep: Sweep, missing: Sequence[Run]) -> str:
    with translated("starting the cluster"):
        reply = aws.emr.run_job_flow(**run_job_flow_request(sweep, missing))
    cluster_id = reply["JobFlowId"]
    print(
        f"{sweep.name}: {len(missing)} run(s) on {cluster_id}. Ctrl-C asks whether to "
        "end it.",
        file=sys.stderr,
    )
    return cluster_id


def _wants_to_end(name: str) -> bool:
    """Ask once; no answer, a second Ctrl-C and no terminal all mean yes."""
    try:
        answer = input(f"\nEnd the cluster of {name} now? [Y/n] ")
    except (EOFError, KeyboardInterrupt, OSError):
        return True
    keep = answer.strip().lower() in ("n", "no")
    if keep:
        print(
            f"{name} goes on and its cluster ends after the last step; the same "
            "command takes up the sweep.",
            file=sys.stderr,
        )
    return not keep


def report(results: Path, prices: PriceTable) -> None:
    """Write the report beside the records and say where."""
    from xray.report.page.build import (
        write_report,  # Matplotlib, which few commands use
    )

    print(*write_report([results], results / "report", prices).paths, sep="\n")


def status(aws: Aws) -> str:
    """Running clusters with the state of every step, as text."""
    lines = []
    for cluster in find_clusters(aws):
        lines.append(
            f"{cluster['Id']} {cluster['Name']} {cluster['Status']['State'].lower()}"
        )
        lines += [
            f"  {step['Name']:20} {step['Status']['State'].lower()}"
            for step in list_steps(aws, cluster["Id"])
        ]
    return "\n".join(lines) or f"No cluster of a sweep runs in {aws.region}."


def logs(aws: Aws, run: str | None) -> str:
    """The last lines of a run's standard error, on the newest cluster that had it.

    Raises:
        UserError: no such run, or EMR has not brought the log yet.
    """
    cluster, step = _newest_step(aws, run)
    log_uri = describe(aws, cluster["Id"])["LogUri"]
    lines = log_tail(aws, log_uri, cluster["Id"], step["Id"])
    if not lines:
        raise UserError(
            f"No log of {step['Name']} on {cluster['Id']} yet; EMR brings it every "
            "five minutes and when the cluster ends."
        )
    return "\n".join([f"{step['Name']} on {cluster['Id']}:", *lines])


def _newest_step(aws: Aws, run: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    with translated("listing clusters"):
        pages = aws.emr.get_paginator("list_clusters").paginate()
        clusters = [cluster for page in pages for cluster in page["Clusters"]]
    for cluster in clusters:
        if not SWEEP_NAME.fullmatch(cluster["Name"]):
            continue
        steps = [
            step
            for step in list_steps(aws, cluster["Id"])
            if run in (None, step["Name"]) and step["Status"]["State"] != "PENDING"
        ]
        if steps:
            return cluster, steps[-1]
    raise UserError(f"No step {run or ''} that has started in {aws.region}.")


def fetch(aws: Aws, settings: ClusterSettings, sweep: str, results: Path) -> int:
    """Bring every record of a sweep into `results`; how many it has.

    Raises:
        UserError: there is none.
    """
    check_bucket(aws, settings)
    found = fetch_records(aws, settings.uri("sweeps", sweep, "runs", ""), results)
    if not found:
        raise UserError(f"No record of {sweep!r} under {settings.s3_prefix}.")
    return sum(map(len, found.values()))


def terminate_all(aws: Aws, sweep: str | None) -> int:
    """End the running clusters of one sweep, or of all; how many.

    Raises:
        UserError: AWS refuses or does not answer.
    """
    clusters = find_clusters(aws, sweep)
    for cluster in clusters:
        terminate(aws, cluster["Id"])
    return len(clusters)
