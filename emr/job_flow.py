"""The requests to EMR, as plain dictionaries; nothing here talks to AWS."""

from collections.abc import Sequence
from typing import Any

from emr.plan import Run, Sweep
from emr.settings import ClusterSettings
from emr.spark import CODE, PYTHON, submit_command

BOOTSTRAP = "bootstrap.sh"
SWEEP_TAG = "xray-sweep"
# Lets AWS' own managed policy for EMR act on what carries it.
MANAGED_TAG = "for-use-with-amazon-emr-managed-policies"


def run_job_flow_request(sweep: Sweep, runs: Sequence[Run]) -> dict[str, Any]:
    """Arguments of run_job_flow: a cluster that runs `runs` and ends.

    It ends by itself after the last step, and after idle minutes besides, so nothing
    keeps running if this program cannot end it.
    """
    settings = sweep.settings
    return {
        "Name": sweep.name,
        "ReleaseLabel": settings.release,
        "LogUri": settings.uri("logs", ""),
        "Applications": [{"Name": "Spark"}],
        "Instances": _instances(settings, max(run.executors for run in runs)),
        "BootstrapActions": [_bootstrap(sweep)],
        "Steps": steps(sweep, runs),
        "StepConcurrencyLevel": 1,
        "Configurations": _configurations(settings),
        "JobFlowRole": settings.job_flow_role,
        "ServiceRole": settings.service_role,
        "AutoTerminationPolicy": {"IdleTimeout": settings.idle_minutes * 60},
        "EbsRootVolumeSize": settings.root_volume_gib,
        "VisibleToAllUsers": True,
        "Tags": [
            {"Key": SWEEP_TAG, "Value": sweep.name},
            {"Key": MANAGED_TAG, "Value": "true"},
        ],
    }


def add_steps_request(
    sweep: Sweep, runs: Sequence[Run], cluster_id: str
) -> dict[str, Any]:
    """Arguments of add_job_flow_steps for a cluster of this sweep that still runs."""
    return {"JobFlowId": cluster_id, "Steps": steps(sweep, runs)}


def steps(sweep: Sweep, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One step a run; after one that fails the others go on.

    What would fail in all of them is looked for before; fewer executors may do where
    more of them did not.
    """
    return [
        {
            "Name": run.name,
            "ActionOnFailure": "CONTINUE",
            "HadoopJarStep": {
                "Jar": "command-runner.jar",
                "Args": step_arguments(sweep, run),
            },
        }
        for run in runs
    ]


def step_arguments(sweep: Sweep, run: Run) -> list[str]:
    """The command of one step; it names places and settings, never a key."""
    return [
        *step_command(sweep, run.name),
        *submit_command(sweep.settings, run.executors),
    ]


def step_command(sweep: Sweep, name: str, *options: str) -> list[str]:
    """emr.step on a node, up to the command it runs."""
    commit = sweep.git.get("commit") or ""
    return [
        *("env", f"PYTHONPATH={CODE}", PYTHON, "-m", "emr.step"),
        *("--run", name, "--sweep", sweep.uri()),
        *(("--commit", commit) if commit else ()),
        *(("--dirty",) if sweep.git.get("dirty") else ()),
        *options,
        "--",
    ]


def artifact_uri(sweep: Sweep, name: str) -> str:
    """The address of an archive or script that sweeps share."""
    return sweep.settings.uri("artifacts", name)


def _instances(settings: ClusterSettings, core_nodes: int) -> dict[str, Any]:
    instances: dict[str, Any] = {
        "InstanceGroups": [
            {
                "Name": "primary",
                "InstanceRole": "MASTER",
                "Market": "ON_DEMAND",
                "InstanceType": settings.primary.instance_type,
                "InstanceCount": 1,
            },
            {
                "Name": "core",
                "InstanceRole": "CORE",
                "Market": settings.market,
                "InstanceType": settings.core.instance_type,
                "InstanceCount": core_nodes,
            },
        ],
        "KeepJobFlowAliveWhenNoSteps": False,
        "TerminationProtected": False,
    }
    if settings.subnet:
        instances["Ec2SubnetId"] = settings.subnet
    return instances


def _bootstrap(sweep: Sweep) -> dict[str, Any]:
    archives = [artifact_uri(sweep, name) for name in (sweep.environment, sweep.code)]
    return {
        "Name": "Python environment and code",
        "ScriptBootstrapAction": {
            "Path": sweep.uri(BOOTSTRAP),
            "Args": archives,
        },
    }


def _configurations(settings: ClusterSettings) -> list[dict[str, Any]]:
    """YARN's memory a node as the executors were sized for, not by EMR's table."""
    memory = str(settings.yarn_mib)
    return [
        {
            "Classification": "yarn-site",
            "Properties": {
                "yarn.nodemanager.resource.memory-mb": memory,
                "yarn.scheduler.maximum-allocation-mb": memory,
            },
        },
        {
            "Classification": "spark",
            "Properties": {"maximizeResourceAllocation": "false"},
        },
    ]
