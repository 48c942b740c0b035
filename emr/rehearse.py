"""A sweep's own steps, run on YARN on this machine before AWS is paid for a node.

The code is that of the nodes' archive, and the command lines are those of the cluster's
steps. Python is this machine's, which bootstrap.sh would unpack on a node, and so are
the cores: the records are for seeing that it works.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from emr.checks import check_placeholder
from emr.job_flow import step_arguments
from emr.packaging import build_code
from emr.plan import Run, Sweep
from emr.spark import CODE, ENVIRONMENT, NODE_FOLDER
from emr.step import RECORD_SECONDS
from xray.common.errors import UserError
from xray.common.processes import die_with_parent, scripts_first, stop
from xray.local.yarn import start_yarn
from xray.records.predictions import SUFFIX
from xray.storage.credentials import S3Access
from xray.storage.place import Place

PREFIX = "rehearsal"
"""Below `s3_prefix`, so that no sweep takes a rehearsal's records for its own."""
END_SECONDS = RECORD_SECONDS + 10
"""For a step that is told to end."""


def apart(sweep: Sweep) -> Sweep:
    """The sweep, which has its place on S3 apart from that of the real one."""
    place = {"s3_prefix": sweep.settings.uri(PREFIX, "")}
    settings = sweep.settings.model_copy(update=place)
    return replace(sweep, settings=settings)


def rehearse(sweep: Sweep, hadoop: Path, access: S3Access, results: Path) -> None:
    """Run every step of the sweep, one after the other, and fetch the records.

    After one that fails the others go on, as on EMR.

    Args:
        sweep: as it would run on EMR.
        hadoop: folder that holds Hadoop's jars.
        access: to S3, for this program and the steps.
        results: folder for the records.

    Raises:
        UserError: S3 refuses, YARN does not start, or steps have failed.
    """
    check_placeholder(sweep.settings)
    sweep = apart(sweep)
    Place(sweep.uri(), access).write("config.yaml", sweep.config_yaml().encode())
    settings, failed = sweep.settings, []
    node = sweep.core_nodes, settings.core.vcpus, settings.yarn_mib
    with (
        tempfile.TemporaryDirectory("-rehearsal") as folder,
        start_yarn(hadoop, *node) as found,
    ):
        _lay_out(Path(folder))
        environment = {**os.environ, **found, **scripts_first(), **_keys(access)}
        for run in sweep.runs:
            print(f"{run.name} begins", file=sys.stderr, flush=True)
            code = _run(sweep, run, folder, environment)
            print(f"{run.name}: exit code {code}", file=sys.stderr, flush=True)
            failed += [run.name] if code else []
            _fetch(Place(sweep.uri("runs", run.name), access), results)
    if failed:
        raise UserError(
            f"{', '.join(failed)} failed: see above, and the records in {results}."
        )


def _lay_out(folder: Path) -> None:
    """What bootstrap.sh unpacks on a node, but for Python, which is this one's."""
    (folder / Path(ENVIRONMENT).name).symlink_to(sys.prefix)
    with tarfile.open(build_code(folder)) as archive:
        archive.extractall(folder / Path(CODE).name, filter="data")


def _keys(access: S3Access) -> dict[str, str]:
    """The variables by which a step's boto3 finds S3 as this program does."""
    found = {
        "AWS_ACCESS_KEY_ID": access.access_key_id,
        "AWS_SECRET_ACCESS_KEY": access.secret_access_key,
        "AWS_SESSION_TOKEN": access.session_token,
        "AWS_DEFAULT_REGION": access.region,
        "AWS_ENDPOINT_URL_S3": access.endpoint_url,
    }
    return {name: value for name, value in found.items() if value}


def _run(sweep: Sweep, run: Run, folder: str, environment: Mapping[str, str]) -> int:
    """The exit code of a step; one that is broken off has time for its record."""
    arguments = step_arguments(sweep, run)
    process = subprocess.Popen(
        [argument.replace(NODE_FOLDER, folder) for argument in arguments],
        env=environment,
        start_new_session=True,  # Ctrl-C is for this program, which then tells the step
        preexec_fn=die_with_parent,
    )
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            stop(process, END_SECONDS)


def _fetch(run: Place, results: Path) -> None:
    """Bring the records of a run, and what lies beside them, into `results`."""
    here = Place(str(results))
    for name in run.names():
        if name.endswith((".json", SUFFIX)):
            here.write(name, run.read(name))
