"""A real Spark standalone cluster on loopback, from pyspark's own jars.

Master and workers are processes of their own, as on a cluster of machines, so that
spark-submit and everything behind it can be tried on one.
"""

import contextlib
import os
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
        _start(
            stack,
            folder / "master.log",
            f"{CLASSES}.master.Master --host 127.0.0.1 --port {port} --webui-port 0",
        )
        wait_for(folder / "master.log", r"Starting Spark master at", 1, "Spark")
        for number in range(workers):
            _start(
                stack,
                folder / f"worker-{number}.log",
                f"{CLASSES}.worker.Worker --host 127.0.0.1 --webui-port 0 "
                f"--cores {cores} --memory {memory} --work-dir {folder} {address}",
            )
        wait_for(folder / "master.log", r"Registering worker", workers, "Spark")
        yield address


def _start(stack: contextlib.ExitStack, log: Path, command: str) -> None:
    import pyspark

    spark_class = Path(pyspark.__file__).parent / "bin" / "spark-class"
    environment = {**os.environ, "JAVA_HOME": find_java_home()}
    environment.setdefault("SPARK_DAEMON_JAVA_OPTS", " ".join(archive_options()))
    start_daemon(stack, log, [str(spark_class), *command.split()], environment)
