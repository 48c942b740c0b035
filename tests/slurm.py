"""A real Slurm on this machine: its controller, one node, and MUNGE, which vouches."""

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import require
from xray.local.daemons import free_port, start_daemon, wait_for

SETTINGS = """\
ClusterName=test
SlurmctldHost=localhost
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MpiDefault=none
NodeName=localhost CPUs=2 RealMemory=12000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE
"""
ENDED = re.compile(r"JobState=(?:COMPLETED|FAILED|TIMEOUT)\b.*ExitCode=(\d+):", re.S)
WAIT_SECONDS = 200
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which sbatch finds a cluster of one node with two cores."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing or os.geteuid():
        require("slurm", f"needs root and {', '.join(missing or PROGRAMS)}")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    ports = {"controller_port": free_port(), "node_port": free_port()}
    settings = folder / "slurm.conf"
    settings.write_text(SETTINGS.format(folder=folder, **ports))
    environment = os.environ | {"SLURM_CONF": str(settings)}
    munge = [f"--{name}={folder}/munge.{name}" for name in ("socket", "seed-file")]
    munge += [f"--{name}={folder}/munge-{name}" for name in ("pid-file", "log-file")]
    munge = ["munged", "--foreground", "--force", f"--key-file={key}", *munge]
    with contextlib.ExitStack() as stack:

        def start(word: str, *command: str) -> None:
            log = folder / f"{command[0]}.log"
            process = start_daemon(stack, log, command, environment)
            if word:
                wait_for(log, word, "Slurm", [(process, log)])

        start("", *munge)
        start("Running as primary controller", "slurmctld", "-D", "-v")
        start("slurmd started", "slurmd", "-D", "-v", "-N", "localhost")
        yield environment


def submit(environment: dict[str, str], *job: object) -> tuple[int, str]:
    """The exit code of a job, once it has ended, and what it printed."""

    def ask(*command: str) -> str:
        return subprocess.check_output(command, env=environment, text=True)

    output = Path(environment["SLURM_CONF"]).with_name("output.txt")
    number = ask("sbatch", "--parsable", f"--output={output}", *map(str, job)).strip()
    deadline = time.monotonic() + WAIT_SECONDS
    while not (ended := ENDED.search(shown := ask("scontrol", "show", "job", number))):
        assert time.monotonic() < deadline, shown
        time.sleep(0.5)
    return int(ended[1]), output.read_text()
