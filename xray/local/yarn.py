"""A real YARN on this machine: Hadoop's own ResourceManager and NodeManagers.

As on EMR, with its line of Hadoop: containers are processes of their own, and one that
uses more memory than it asked for is killed.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.sax.saxutils import escape

from xray.common.errors import UserError
from xray.common.java import find_java_home
from xray.local.daemons import free_port, start_daemon, wait_for

HOST = "127.0.0.1"
SERVER = "org.apache.hadoop.yarn.server"
DISTRIBUTION = "hadoop-yarn-server-resourcemanager-*.jar"
# m5.xlarge on EMR: 4 vCPU, of 16 GiB 12288 MB for YARN.
CORES, MEMORY_MB = 4, 12288
EXCLUDED = "excluded"  # the addresses of nodes that are to go, each on a line
HEAP = "-Xmx256m"  # of each daemon
LOG4J = """\
log4j.rootLogger=INFO, console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d %p %c{1}: %m%n
"""


@contextlib.contextmanager
def start_yarn(
    distribution: Path, nodes: int, cores: int = CORES, memory_mb: int = MEMORY_MB
) -> Iterator[dict[str, str]]:
    """A ResourceManager and `nodes` NodeManagers on loopback.

    Yields the variables by which `spark-submit --master yarn` finds them.

    Args:
        distribution: folder that holds Hadoop's jars, however deep.
        nodes: how many.
        cores: virtual cores of each node.
        memory_mb: of each node.

    Raises:
        UserError: no Hadoop there, no Java, or a process ends or stays silent.
    """
    _check(distribution)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory("-yarn")))
        _write_settings(folder, cores, memory_mb)
        found = {
            "JAVA_HOME": find_java_home(),
            "HADOOP_CONF_DIR": str(folder),
            "SPARK_CONF_DIR": str(folder),
            "SPARK_LOCAL_IP": HOST,
        }
        java = _java(found["JAVA_HOME"], folder, distribution)
        environment = {**os.environ, **found}
        log = folder / "resourcemanager.log"
        manager = f"{SERVER}.resourcemanager.ResourceManager"
        process = start_daemon(stack, log, [*java, manager], environment)
        wait_for(log, "Transitioned to active state", "YARN", [(process, log)])
        started = []
        for number in range(nodes):
            node = folder / f"node-{number}"
            manager = f"{SERVER}.nodemanager.NodeManager"
            # Loopback has many addresses: one each, by which YARN tells them apart.
            own = [f"-Dnode.folder={node}", f"-Dnode.host=127.0.0.{number + 2}"]
            command = [*java, *own, manager]
            own_log = node.with_suffix(".log")
            process = start_daemon(stack, own_log, command, environment)
            started.append((process, own_log))
        wait_for(log, "NodeManager from node .* registered", "YARN", started)
        yield found


def _check(distribution: Path) -> None:
    """Refuse a folder that holds no YARN.

    Raises:
        UserError: there is no ResourceManager's jar in it.
    """
    if not any(distribution.rglob(DISTRIBUTION)):
        raise UserError(
            f"{distribution} holds no {DISTRIBUTION}. Fetch Hadoop's jars: mvn -f "
            "tests/yarn/pom.xml dependency:copy-dependencies -DincludeScope=runtime "
            f"-DoutputDirectory={distribution}"
        )


def _java(home: str, folder: Path, distribution: Path) -> list[str]:
    """How a daemon is started, but for its class."""
    folders = {jar.parent for jar in distribution.rglob("*.jar")}
    paths = [str(folder), *(f"{path}/*" for path in sorted(folders))]
    # Hadoop 3.4 reaches into Java's own classes.
    opened = "--add-opens=java.base/java.lang=ALL-UNNAMED"
    java = str(Path(home, "bin", "java"))
    return [java, opened, HEAP, "-cp", os.pathsep.join(paths)]


def _write_settings(folder: Path, cores: int, memory_mb: int) -> None:
    """Write what Hadoop and Spark read into `folder`.

    Memory alone decides what fits, as by default on EMR.
    """
    scheduler = "yarn.scheduler.capacity"
    files = {
        "core-site.xml": {
            "fs.defaultFS": "file:///",
            "hadoop.tmp.dir": f"{folder}/tmp",
        },
        "yarn-site.xml": _yarn_site(folder, cores, memory_mb),
        "capacity-scheduler.xml": {
            f"{scheduler}.root.queues": "default",
            f"{scheduler}.root.default.capacity": "100",
            f"{scheduler}.maximum-am-resource-percent": "1.0",
        },
    }
    (folder / EXCLUDED).touch()
    for name, settings in files.items():
        (folder / name).write_text(_xml(settings))
    (folder / "log4j.properties").write_text(LOG4J)
    defaults = _spark_defaults(folder).items()
    text = "".join(f"{name} {value}\n" for name, value in defaults)
    (folder / "spark-defaults.conf").write_text(text)


def _yarn_site(folder: Path, cores: int, memory_mb: int) -> dict[str, str]:
    manager, node = "yarn.resourcemanager", "yarn.nodemanager"
    ports = ("address", "scheduler.address", "resource-tracker.address")
    more = ("admin.address", "webapp.address")
    return {
        **{f"{manager}.{p}": f"{HOST}:{free_port()}" for p in ports + more},
        "yarn.scheduler.maximum-allocation-mb": str(memory_mb),
        "yarn.scheduler.minimum-allocation-mb": "32",
        "yarn.scheduler.maximum-allocation-vcores": str(cores),
        f"{manager}.nodes.exclude-path": f"{folder}/{EXCLUDED}",
        f"{node}.hostname": "${node.host}",
        f"{node}.address": "${node.host}:0",
        f"{node}.localizer.address": "${node.host}:0",
        f"{node}.webapp.address": "${node.host}:0",
        f"{node}.local-dirs": "${node.folder}/local",
        f"{node}.log-dirs": "${node.folder}/logs",
        f"{node}.env-whitelist": "JAVA_HOME,HADOOP_CONF_DIR,PATH,SPARK_LOCAL_IP",
        f"{node}.resource.cpu-vcores": str(cores),
        f"{node}.resource.memory-mb": str(memory_mb),
        f"{node}.pmem-check-enabled": "true",
        # Else it is left to control groups, which are not set up here.
        f"{node}.resource.memory.enforced": "false",
        f"{node}.vmem-check-enabled": "false",  # as EMR
        # A nearly full disk of this machine is no broken node.
        f"{node}.disk-health-checker.max-disk-utilization-per-disk-percentage": "100",
    }


def _spark_defaults(folder: Path) -> dict[str, str]:
    import pyspark

    return {
        "spark.yarn.jars": f"local:{Path(pyspark.__file__).parent}/jars/*",
        "spark.yarn.stagingDir": str(folder / "staging"),
    }


def _xml(settings: Mapping[str, str]) -> str:
    lines = [
        f"<property><name>{name}</name><value>{escape(value)}</value></property>"
        for name, value in settings.items()
    ]
    return "\n".join(["<configuration>", *lines, "</configuration>", ""])
