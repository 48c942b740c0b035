"""The sequential and GPU baselines on single EC2 instances: a script and a command.

No second launcher: an instance that runs a script at its start and then ends itself
needs nobody to follow it, and its record lands beside the sweep's.
"""

import shlex

from emr.job_flow import BOOTSTRAP, artifact_uri, step_command
from emr.plan import Sweep
from emr.spark import CODE, PYTHON
from xray.config.runners import GPU, SEQUENTIAL, Runner

IMAGE = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
GPU_IMAGE = (
    "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-amazon-linux-2023"
    "/latest/ami-id"
)
"""SSM parameters that name the newest image: plain, and with NVIDIA's driver."""
HOURS = 24
"""An instance that hangs is ended after so long."""

USER_DATA = """#!/usr/bin/env bash
# {what}: runs once, uploads its record, and ends the instance, whatever happens.
set -uo pipefail
trap 'shutdown -h now' EXIT
shutdown -h +{minutes}
aws s3 cp --only-show-errors {bootstrap} /tmp/bootstrap.sh
bash /tmp/bootstrap.sh {environment} {code} || exit 1
{prepare}{step}
"""
# The environment holds tensorflow-cpu; the same version with CUDA takes its place.
PREPARE_GPU = """dnf install --assumeyes --quiet python3.11-pip
rm -rf /opt/xray/environment/lib/python3.11/site-packages/tensorflow*
python3.11 -m pip --python {python} install --quiet 'tensorflow[and-cuda]==2.19.1'
"""


def user_data(sweep: Sweep, runner: Runner) -> str:
    """The script of the instance that runs a runner without a cluster."""
    step = [
        *step_command(sweep, f"{runner.name}-r1"),
        *(PYTHON, f"{CODE}/experiments/{runner.script}"),
    ]
    return USER_DATA.format(
        what=f"The {runner.name} baseline of {sweep.name}",
        minutes=HOURS * 60,
        bootstrap=shlex.quote(sweep.uri(BOOTSTRAP)),
        environment=shlex.quote(artifact_uri(sweep, sweep.environment)),
        code=shlex.quote(artifact_uri(sweep, sweep.code)),
        prepare=PREPARE_GPU.format(python=PYTHON) if runner.has_gpu else "",
        step=shlex.join(step),
    )


def run_instances(sweep: Sweep, runner: Runner, instance_type: str) -> str:
    """The AWS command that starts the instance; it ends itself by shutting down."""
    settings = sweep.settings
    image = GPU_IMAGE if runner.has_gpu else IMAGE
    gib = 100 if runner.has_gpu else settings.root_volume_gib
    options = [
        ("region", settings.region),
        ("image-id", f"resolve:ssm:{image}"),
        ("instance-type", instance_type),
        ("iam-instance-profile", f"Name={settings.job_flow_role}"),
        ("instance-initiated-shutdown-behavior", "terminate"),
        (
            "block-device-mappings",
            f"DeviceName=/dev/xvda,Ebs={{VolumeSize={gib}}}",
        ),
        ("tag-specifications", _tags(sweep, runner)),
        *([("subnet-id", settings.subnet)] if settings.subnet else []),
    ]
    lines = [f"  --{name} {shlex.quote(value)}" for name, value in options]
    script = f"--user-data \"$(cat <<'END'\n{user_data(sweep, runner)}END\n)\""
    return " \\\n".join(["aws ec2 run-instances --count 1", *lines, f"  {script}"])


def _tags(sweep: Sweep, runner: Runner) -> str:
    return (
        "ResourceType=instance,"
        f"Tags=[{{Key=Name,Value={sweep.name}-{runner.name}}},"
        f"{{Key=xray-sweep,Value={sweep.name}}}]"
    )


def instructions(sweep: Sweep, instance_type: str, gpu_instance_type: str) -> str:
    """What to type for both baselines, as a shell script with comments."""
    fetch = (
        f"python -m emr.launch fetch {sweep.name} "
        f"--cluster-set s3_prefix={shlex.quote(sweep.settings.s3_prefix)}"
    )
    return "\n".join(
        [
            f"# The baselines of {sweep.name} on single instances, for the bucket's",
            "# archives: run the sweep of this configuration first. Each instance runs",
            "# once, puts its record beside the sweep's and ends itself.",
            "",
            "# One CPU thread:",
            run_instances(sweep, SEQUENTIAL, instance_type),
            "",
            "# One GPU:",
            run_instances(sweep, GPU, gpu_instance_type),
            "",
            "# When they have ended:",
            fetch,
        ]
    )
