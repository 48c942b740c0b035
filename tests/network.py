"""Spark on hosts of their own: network namespaces of this machine."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyspark

from tests.conftest import require
from xray.common.errors import UserError
from xray.common.java import find_java_home
from xray.common.processes import die_with_parent, stop
from xray.local.daemons import wait_for
from xray.local.network import Network, network

DEPLOY = "org.apache.spark.deploy"


@contextlib.contextmanager
def hosts(count: int) -> Iterator[Network]:
    """So many hosts; skips the test, or fails it, where there can be none."""
    with contextlib.ExitStack() as stack:
        try:
            net = stack.enter_context(network(count))
        except UserError as error:
            require("hosts", str(error))
        yield net


@contextlib.contextmanager
def spark_on(net: Network, folder: Path) -> Iterator[str]:
    """The address of a standalone master here, with a one-core worker on each host."""
    spark_class = str(Path(pyspark.__file__).parent / "bin" / "spark-class")
    environment = os.environ | {
        "JAVA_HOME": find_java_home(),
        "PYSPARK_PYTHON": sys.executable,
    }
    log = folder / "master.log"
    port = 7077
    master = subprocess.Popen(
        [spark_class, f"{DEPLOY}.master.Master", "--host", net.address]
        + ["--port", str(port), "--webui-port", "0"],
        env=environment | {"SPARK_LOCAL_IP": net.address},
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
        preexec_fn=die_with_parent,
    )
    try:
        wait_for(log, "Starting Spark master at", "Spark", [(master, log)])
        address = f"spark://{net.address}:{port}"
        started = []
        for host in net.hosts:
            own_log = folder / f"{host.name}.log"
            worker = host.start(
                [spark_class, f"{DEPLOY}.worker.Worker", "--host", host.address]
                + ["--webui-port", "0", "--cores", "1", "--memory", "1g"]
                + ["--work-dir", str(folder / host.name), address],
                env=environment | {"SPARK_LOCAL_IP": host.address},
                stdout=own_log.open("wb"),
                stderr=subprocess.STDOUT,
            )
            started.append((worker, own_log))
        wait_for(log, "Registering worker", "Spark", started)
        yield address
    finally:
        stop(master)
