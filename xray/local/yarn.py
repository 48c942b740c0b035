"""A real YARN on this machine: Hadoop's own ResourceManager and NodeManagers.

As on EMR, with its line of Hadoop: containers are processes of their own, and one that
uses more memory than it asked for is killed.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from xray.common.errors import UserError
from xray.common.java import find_java_home
from xray.local.daemons import free_port, start_daemon, wait_for

SERVER = "org.apache.hadoop.yarn.server"
DISTRIBUTION = "hadoop-yarn-server-resourcemanager-*.jar"
# m5.xlarge on EMR: 4 vCPU, of 16 GiB 12288 MB for YARN.
CORES, MEMORY_MB = 4, 12288
HEAP = "-Xmx256m"  # of each daemon
LOG4J = """\
log4j.rootLogger=INFO, console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d %p %c{1}: %m%n
"""


@dataclass(frozen=True)
class Yarn:
    """What the daemons are started with.

    Attributes:
        distribution: folder that holds Hadoop's jars, however deep.
        folder: of settings, logs and what containers write.
        address: of the ResourceManager.
        cores: virtual cores of each node.
        memory_mb: of each node.
    """

    distribution: Path
    folder: Path
    address: str = "127.0.0.1"
    cores: int = CORES
    memory_mb: int = MEMORY_MB

    def resource_manager(self) -> list[str]:
        """Its command."""
        return self._java(f"{SERVER}.resourcemanager.ResourceManager", HEAP)

    def node_manager(self, name: str, address: str = "127.0.0.1") -> list[str]:
        """The command of a node at `address`, which writes below a folder `name`."""
        place = [f"-Dnode.address={address}", f"-Dnode.folder={self.folder / name}"]
        return self._java(f"{SERVER}.nodemanager.NodeManager", HEAP, *place)

    def _java(self, name: str, *options: str) -> list[str]:
        folders = {jar.parent for jar in self.distribution.rglob("*.jar")}
        paths = [str(self.folder), *(f"{path}/*" for path in sorted(folders))]
        java = str(Path(find_java_home(), "bin", "java"))
        # Hadoop 3.4 reaches into Java's own classes.
        opened = "--add-opens=java.base/java.lang=ALL-UNNAMED"
        return [java, opened, *options, "-cp", os.pathsep.join(paths), name]

    def environment(self) -> dict[str, str]:
        """For daemons, and for programs that use them."""
        return {
            "JAVA_HOME": find_java_home(),
            "HADOOP_CONF_DIR": str(self.folder),
            "SPARK_CONF_DIR": str(self.folder),
            "SPARK_LOCAL_IP": self.address,
        }

    def write_settings(self) -> None:
        """Write what Hadoop and Spark read into `folder`.

        Memory alone decides what fits, as by default on EMR.
        """
        scheduler = "yarn.scheduler.capacity"
        files = {
            "core-site.xml": {
                "fs.defaultFS": "file:///",
                "hadoop.tmp.dir": f"{self.folder}/tmp",
            },
            "yarn-site.xml": self._yarn_site(),
            "capacity-scheduler.xml": {
                f"{scheduler}.root.queues": "default",
                f"{scheduler}.root.default.capacity": "100",
                f"{scheduler}.maximum-am-resource-percent": "1.0",
            },
        }
        for name, settings in files.items():
            (self.folder / name).write_text(_xml(settings))
        (self.folder / "log4j.properties").write_text(LOG4J)
        defaults = self._spark_defaults().items()
        text = "".join(f"{name} {value}\n" for name, value in defaults)
        (self.folder / "spark-defaults.conf").write_text(text)

    def _yarn_site(self) -> dict[str, str]:
        manager, node = "yarn.resourcemanager", "yarn.nodemanager"
        ports = ("address", "scheduler.address", "resource-tracker.address")
        more = ("admin.address", "webapp.address")
        return {
            **{f"{manager}.{p}": f"{self.address}:{free_port()}" for p in ports + more},
            "yarn.scheduler.maximum-allocation-mb": str(self.memory_mb),
            "yarn.scheduler.minimum-allocation-mb": "32",
            "yarn.scheduler.maximum-allocation-vcores": str(self.cores),
            f"{node}.hostname": "${node.address}",
            f"{node}.address": "${node.address}:0",
            f"{node}.localizer.address": "${node.address}:0",
            f"{node}.webapp.address": "${node.address}:0",
            f"{node}.local-dirs": "${node.folder}/local",
            f"{node}.log-dirs": "${node.folder}/logs",
            f"{node}.env-whitelist": "JAVA_HOME,HADOOP_CONF_DIR,PATH,SPARK_LOCAL_IP",
            f"{node}.resource.cpu-vcores": str(self.cores),
            f"{node}.resource.memory-mb": str(self.memory_mb),
            f"{node}.pmem-check-enabled": "true",
            # Else it is left to control groups, which are not set up here.
            f"{node}.resource.memory.enforced": "false",
            f"{node}.vmem-check-enabled": "false",  # as EMR
            # A nearly full disk of this machine is no broken node.
            f"{node}.disk-health-checker.max-disk-utilization-per-disk-percentage": (
                "100"
            ),
        }

    def _spark_defaults(self) -> dict[str, str]:
        import pyspark

        return {
            "spark.yarn.jars": f"local:{Path(pyspark.__file__).parent}/jars/*",
            "spark.yarn.stagingDir": str(self.folder / "staging"),
            "spark.yarn.appMasterEnv.PYSPARK_PYTHON": sys.executable,
        }


def _xml(settings: Mapping[str, str]) -> str:
    lines = [
        f"<property><name>{name}</name><value>{escape(value)}</value></property>"
        for name, value in settings.items()
    ]
    return "\n".join(["<configuration>", *lines, "</configuration>", ""])


@contextlib.contextmanager
def start_yarn(
    distribution: Path, nodes: int, cores: int = CORES, memory_mb: int = MEMORY_MB
) -> Iterator[Yarn]:
    """A ResourceManager and `nodes` NodeManagers on loopback.

    Args:
        distribution: folder that holds Hadoop's jars, however deep.
        nodes: how many.
        cores: virtual cores of each node.
        memory_mb: of each node.

    Raises:
        UserError: no Hadoop there, no Java, or a process ends or stays silent.
    """
    check_distribution(distribution)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory("-yarn")))
        yarn = Yarn(distribution, folder, cores=cores, memory_mb=memory_mb)
        yarn.write_settings()
        environment = {**os.environ, **yarn.environment()}
        log = folder / "resourcemanager.log"
        start_daemon(stack, log, yarn.resource_manager(), environment)
        wait_for(log, "Transitioned to active state", 1, "YARN")
        for number in range(nodes):
            command = yarn.node_manager(f"node-{number}")
            start_daemon(stack, folder / f"node-{number}.log", command, environment)
        wait_for(log, "NodeManager from node .* registered", nodes, "YARN")
        yield yarn


def check_distribution(distribution: Path) -> None:
    """Refuse a folder that holds no YARN.

    Raises:
        UserError: there is no ResourceManager's jar in it.
    """
    if not any(distribution.rglob(DISTRIBUTION)):
        raise UserError(
            f"{distribution} holds no {DISTRIBUTION}. Unpack a Hadoop release "
            "(https://hadoop.apache.org/releases.html) and name its folder."
        )
