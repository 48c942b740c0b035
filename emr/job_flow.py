"""The requests to EMR, as plain dictionaries; nothing here talks to AWS."""

from collections.abc import Sequence
from typing import Any

from emr.plan import Run, Sweep
from emr.settings import (
    MANAGED_TAG,
    NODES_TAG,
    SPOT,
    SWEEP_TAG,
    ClusterSettings,
)
from emr.spark import CODE, PYTHON, submit_command

BOOTSTRAP = "bootstrap.sh"


def run_job_flow_request(sweep: Sweep, runs: Sequence[Run]) -> dict[str, Any]:
    """Arguments of run_job_flow: a cluster that runs `runs` and ends.

    It ends by itself after the last step, and after idle minutes besides, so nothing
    keeps running if this program cannot end it.
    """
    settings = sweep.settings
    core_nodes = max(run.executors for run in runs)
    secured = {"SecurityConfiguration": settings.security_configuration}
    return {
        "Name": sweep.name,
        "ReleaseLabel": settings.release,
        "LogUri": settings.uri("logs", ""),
        "Applications": [{"Name": "Spark"}],
        "Instances": _instances(settings, core_nodes),
        "BootstrapActions": [_bootstrap(sweep)],
        "Steps": steps(sweep, runs),
        "StepConcurrencyLevel": 1,
        "Configurations": _configurations(settings),
        "JobFlowRole": settings.job_flow_role,
        "ServiceRole": settings.service_role,
        "AutoTerminationPolicy": {"IdleTimeout": settings.idle_minutes * 60},
        "EbsRootVolumeSize": settings.root_volume_gib,
        "VisibleToAllUsers": True,
        "Tags": _tags(sweep, core_nodes),
        **(secured if settings.security_configuration else {}),
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


def _tags(sweep: Sweep, core_nodes: int) -> list[dict[str, str]]:
    tags = {
        **sweep.settings.tags,
        SWEEP_TAG: sweep.name,
        NODES_TAG: str(core_nodes),
        MANAGED_TAG: "true",
    }
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _instances(settings: ClusterSettings, core_nodes: int) -> dict[str, Any]:
    spot = settings.market == SPOT
    instances: dict[str, Any] = {
        "KeepJobFlowAliveWhenNoSteps": False,
        "TerminationProtected": False,
        **(_fleets(settings, core_nodes) if spot else _groups(settings, core_nodes)),
    }
    if settings.ec2_key_name:
        instances["Ec2KeyName"] = settings.ec2_key_name
    if settings.subnet and spot:
        instances["Ec2SubnetIds"] = [settings.subnet]
    elif settings.subnet:
        instances["Ec2SubnetId"] = settings.subnet
    return instances


def _groups(settings: ClusterSettings, core_nodes: int) -> dict[str, Any]:
    return {
        "InstanceGroups": [
            {
                "Name": name,
                "InstanceRole": role,
                "Market": "ON_DEMAND",
                "InstanceType": node.instance_type,
                "InstanceCount": count,
            }
            for name, role, node, count in (
                ("primary", "MASTER", settings.primary, 1),
                ("core", "CORE", settings.core, core_nodes),
            )
        ]
    }


def _fleets(settings: ClusterSettings, core_nodes: int) -> dict[str, Any]:
    """Fleets, since a group of spot nodes would wait for them without end."""
    wait = {
        "TimeoutDurationMinutes": settings.spot_minutes,
        "TimeoutAction": "SWITCH_TO_ON_DEMAND",
        "AllocationStrategy": "capacity-optimized",
    }
    return {
        "InstanceFleets": [
            {
                "Name": "primary",
                "InstanceFleetType": "MASTER",
                "TargetOnDemandCapacity": 1,
                "InstanceTypeConfigs": [
                    {"InstanceType": settings.primary.instance_type}
                ],
            },
            {
                "Name": "core",
                "InstanceFleetType": "CORE",
                "TargetSpotCapacity": core_nodes,
                # One type: executors are cut for it, and a slower one holds up all.
                "InstanceTypeConfigs": [{"InstanceType": settings.core.instance_type}],
                "LaunchSpecifications": {"SpotSpecification": wait},
            },
        ]
    }


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
