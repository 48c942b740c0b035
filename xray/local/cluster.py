"""A real Spark standalone cluster on loopback, from pyspark's own jars.

Master and workers are processes of their own, as on a cluster of machines, so that
spark-submit and everything behind it can be tried on one.
"""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from xray.common.class_archive import archive_options
from xray.common.java import find_java_home
from xray.local.daemons import free_port, start_daemon, wait_for

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
    port = free_port()
    address = f"spark://127.0.0.1:{port}"
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory("-spark")))
        log = folder / "master.log"
        master = _start(
            stack,
            log,
            f"{CLASSES}.master.Master --host 127.0.0.1 --port {port} --webui-port 0",
        )
        wait_for(log, "Starting Spark master at", "Spark", [master])
        started = [
            _start(
                stack,
                folder / f"worker-{number}.log",
                f"{CLASSES}.worker.Worker --host 127.0.0.1 --webui-port 0 "
                f"--cores {cores} --memory {memory} --work-dir {folder} {address}",
            )
            for number in range(workers)
        ]
        wait_for(log, "Registering worker", "Spark", started)
        yield address


def _start(
    stack: contextlib.ExitStack, log: Path, command: str
) -> tuple[subprocess.Popen, Path]:
    import pyspark

    spark_class = Path(pyspark.__file__).parent / "bin" / "spark-class"
    environment = {**os.environ, "JAVA_HOME": find_java_home()}
    environment.setdefault("SPARK_DAEMON_JAVA_OPTS", " ".join(archive_options()))
    command = [str(spark_class), *command.split()]
    return start_daemon(stack, log, command, environment), log
