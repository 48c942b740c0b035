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
STATES = "COMPLETED|FAILED|CANCELLED|TIMEOUT"
ENDED = re.compile(rf"JobState=({STATES})\b.*ExitCode=(\d+):", re.S)
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


class Job:
    """A job that has been submitted, whose words are kept.

    Args:
        environment: of `slurm`.
        options: of sbatch, the script and its own.
    """

    def __init__(self, environment: dict[str, str], *options: object) -> None:
        self._environment = environment
        self.output = Path(environment["SLURM_CONF"]).with_name("output.txt")
        submit = ("sbatch", "--parsable", f"--output={self.output}")
        self._number = self._ask(*submit, *map(str, options)).strip()

    def cancel(self) -> None:
        """Have Slurm end it."""
        self._ask("scancel", self._number)

    def end(self) -> tuple[str, int]:
        """Slurm's name for how it ended, once it has, and its exit code."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not (found := ENDED.search(shown := self._show())):
            assert time.monotonic() < deadline, shown
            time.sleep(0.5)
        return found[1], int(found[2])

    def _show(self) -> str:
        return self._ask("scontrol", "show", "job", self._number)

    def _ask(self, *command: str) -> str:
        return subprocess.check_output(command, env=self._environment, text=True)
