"""What Spark and its Python workers are told: slots, memory, threads and Java."""

import os
import re
import shlex
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from xray.common.class_archive import archive_options
from xray.common.errors import UserError
from xray.config.run import RunnerConfig

if TYPE_CHECKING:
    from pyspark import SparkConf

MASTER_WAIT_SECONDS = 3
# The quick compiler alone: three seconds sooner with two executors on two cores. No
# choice of a garbage collector here, which two settings could make twice.
LIGHT_JVM = "-XX:TieredStopAtLevel=1"
LOG4J = Path(__file__).with_name("log4j2.properties")


def training_conf(
    runner: RunnerConfig, threads: int, light_jvm: bool = False
) -> "SparkConf":
    """Settings for training, over those of spark-submit where there are some.

    Args:
        runner: the settings of the user.
        threads: cores of a task.
        light_jvm: Java only starts Python workers and computes nothing.
    """
    from pyspark import SparkConf

    conf = SparkConf()
    conf.setAppName(f"xray-{runner.mode}")
    if runner.master:
        conf.setMaster(runner.master)
    cores = len(os.sched_getaffinity(0))
    local_slots = (runner.workers or max(1, cores // threads)) * threads
    conf.setIfMissing("spark.master", f"local[{local_slots}]")
    if conf.get("spark.master").startswith("local"):
        # Nothing outside this machine has business with its ports.
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        # The executors live in the driver's process, and Spark's 1g does not hold what
        # two stock workers send of ResNet50.
        conf.setIfMissing("spark.driver.memory", runner.executor_memory)
    conf.setIfMissing("spark.executor.memory", runner.executor_memory)
    conf.setIfMissing("spark.ui.showConsoleProgress", "false")
    conf.set("spark.task.cpus", str(threads))
    # A fixed set of equal executors: otherwise the worker count is only a wish, and
    # Elephas trains in waves when there are fewer slots than partitions.
    conf.set("spark.dynamicAllocation.enabled", "false")
    conf.set("spark.yarn.heterogeneousExecutors.enabled", "false")
    conf.set("spark.speculation", "false")
    conf.setIfMissing("spark.scheduler.minRegisteredResourcesRatio", "1.0")
    if "spark.network.timeout" not in runner.spark_conf | dict(conf.getAll()):
        # A silent machine is replaced after a minute, not after two or three: nothing
        # else keeps Java busy there. Its heart beats every ten seconds.
        conf.setIfMissing("spark.storage.blockManagerHeartbeatTimeoutMs", "60s")
        conf.setIfMissing("spark.network.timeoutInterval", "10s")
    # Resident training is one stage, which a lost worker starts anew. Spark ends the
    # job after four times; the weight server counts those that were in vain.
    conf.setIfMissing("spark.stage.maxConsecutiveAttempts", "1000")
    # Too few slots for that stage are looked for every 15 s, else for ten minutes.
    checks = max(1, round(runner.wait_for_workers / 15))
    name = "spark.scheduler.barrier.maxConcurrentTasksCheck.maxFailures"
    conf.setIfMissing(name, str(checks))
    if runner.min_workers is not None:
        # An executor that is told to go says so, and stays until its tasks have ended.
        conf.setIfMissing("spark.decommission.enabled", "true")
        # YARN tells of it only where no shuffle service waits for files we never make.
        conf.set("spark.shuffle.service.enabled", "false")
    if runner.mode != "synchronous":
        # A second attempt would apply the first one's updates again.
        conf.set("spark.task.maxFailures", "1")
    resident = runner.mode == "synchronous" and runner.engine == "resident"
    for name, value in thread_environment(threads, resident).items():
        conf.setExecutorEnv(name, value)
    for name, value in runner.spark_conf.items():
        conf.set(name, value)
    _set_java_options(conf, light_jvm)
    return conf


def _set_java_options(conf: "SparkConf", light_jvm: bool) -> None:
    """Options of our own where the user has none."""
    options = [LIGHT_JVM] if light_jvm else []
    if _on_this_machine(conf.get("spark.master")):
        options += archive_options()
    quiet = f"-Dlog4j2.configurationFile={shlex.quote(str(LOG4J))}"
    sides = {"driver": [*options, quiet], "executor": options}
    if conf.get("spark.master").startswith("local"):
        # A result that it has no memory for Spark would await for ever.
        sides["driver"] += ["-XX:+ExitOnOutOfMemoryError"]
    for side, chosen in sides.items():
        if chosen:
            conf.setIfMissing(f"spark.{side}.extraJavaOptions", " ".join(chosen))


def _on_this_machine(master: str) -> bool:
    """Whether executors are surely started here, with this machine's files."""
    return bool(re.match(r"local\b|spark://(127\.|localhost:)", master))


def thread_environment(threads: int, resident: bool) -> dict[str, str]:
    """Limits that TensorFlow and BLAS read when they start on an executor."""
    return {
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "TF_NUM_INTRAOP_THREADS": str(threads),
        # Elephas fits on arrays, whose tf.data autotuner sleeps up to ten seconds at
        # the end of an epoch and with one thread keeps training waiting for it.
        # Resident workers feed without it, and a second thread costs them 6%.
        "TF_NUM_INTEROP_THREADS": "1" if resident else "2",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def check_master(master: str) -> None:
    """Fail at once where Spark would try for a minute.

    Raises:
        UserError: the address is malformed, or no standalone master answers there.
    """
    if re.fullmatch(r"local(\[[\d*,\s]+\])?|local-cluster\[.*\]|yarn|k8s://.*", master):
        return
    hosts = re.fullmatch(r"spark://([^,/]+:\d+)(,[^,/]+:\d+)*", master)
    if not hosts:
        raise UserError(
            "runner.master must be local[N], local-cluster[N,cores,MiB], "
            f"spark://host:port, yarn or k8s://url. Got {master!r}."
        )
    host, _, port = hosts.group(1).rpartition(":")
    try:
        socket.create_connection((host, int(port)), MASTER_WAIT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"Spark master {master} does not answer ({error}). Start it, or check "
            "runner.master or --master."
        ) from None
