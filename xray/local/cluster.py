"""A real Spark standalone cluster on loopback, from pyspark's own jars.

Master and workers are processes of their own, as on a cluster of machines, so that
spark-submit and everything behind it can be tried on one.
"""

import contextlib
import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from xray.common.class_archive import archive_options
from xray.common.errors import UserError
from xray.common.java import find_java_home
from xray.common.processes import die_with_parent, stop

START_SECONDS = 60
CLASSES = "org.apache.spark.deploy"


@contextlib.contextmanager
def start_workers(workers: int, cores: int = 1, memory: str = "3g") -> Iterator[str]:
    """The address spark://host:port of a master with `workers` workers.

    Args:
        workers: processes that each run executors.
        cores: of each worker.
        memory: Java heap that each worker may give to executors.

    Raises:
        UserError: no Java, or a process ends or stays silent.
    """
    port = _free_port()
    address = f"spark://127.0.0.1:{port}"
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory("-spark")))
        _start(
            stack,
            folder / "master.log",
            f"{CLASSES}.master.Master --host 127.0.0.1 --port {port} --webui-port 0",
        )
        _wait_for(folder / "master.log", r"Starting Spark master at", 1)
        for number in range(workers):
            _start(
                stack,
                folder / f"worker-{number}.log",
                f"{CLASSES}.worker.Worker --host 127.0.0.1 --webui-port 0 "
                f"--cores {cores} --memory {memory} --work-dir {folder} {address}",
            )
        _wait_for(folder / "master.log", r"Registering worker", workers)
        yield address


def _start(stack: contextlib.ExitStack, log: Path, command: str) -> None:
    import pyspark

    spark_class = Path(pyspark.__file__).parent / "bin" / "spark-class"
    environment = {**os.environ, "JAVA_HOME": find_java_home()}
    environment.setdefault("SPARK_DAEMON_JAVA_OPTS", " ".join(archive_options()))
    with log.open("wb") as file:
        process = subprocess.Popen(
            [str(spark_class), *command.split()],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    stack.callback(stop, process)


def _wait_for(log: Path, pattern: str, times: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while len(re.findall(pattern, log.read_text(errors="replace"))) < times:
        if time.monotonic() > deadline:
            lines = log.read_text(errors="replace").strip().splitlines() or [
                "no output"
            ]
            raise UserError(
                f"The local Spark cluster did not start in {START_SECONDS} s: "
                f"{lines[-1]}"
            )
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
