"""A Spark context for training: settings, Java and our code on the executors."""

import os
import re
import signal
import socket
import sys
import threading
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xray.config import RunnerConfig
from xray.errors import UserError
from xray.java import find_java_home

if TYPE_CHECKING:
    from pyspark import SparkConf, SparkContext

# How long executors may take to come; YARN may have to start machines first.
EXECUTOR_WAIT_SECONDS = float(os.environ.get("XRAY_EXECUTOR_WAIT_SECONDS", "180"))
SETTLED_SECONDS = 4  # no further executor has come for so long
MASTER_WAIT_SECONDS = 3
STOP_SECONDS = 30
CODE_ARCHIVE = "xray.zip"
# The quick compiler alone: three seconds sooner with two executors on two cores. No
# choice of a garbage collector here, which two settings could make twice.
LIGHT_JVM = "-XX:TieredStopAtLevel=1"


@dataclass(frozen=True)
class Cluster:
    """A running Spark context and what it offers.

    Attributes:
        context: the SparkContext.
        workers: tasks that train at once; every one has a slot.
        threads_per_worker: cores of each.
    """

    context: "SparkContext"
    workers: int
    threads_per_worker: int

    def stop(self) -> None:
        """End the Spark application, also after Ctrl-C in the middle of a job.

        From a thread of its own: this one's connection to Java may hold half a reply.
        """
        thread = threading.Thread(target=self.context.stop, daemon=True)
        thread.start()
        thread.join(STOP_SECONDS)

    def last_failure(self) -> str | None:
        """Why Spark last had to start a stage again, in one line; None: it had not."""
        scala, gateway = self.context._jsc.sc(), self.context._gateway
        failed = gateway.jvm.java.util.ArrayList()
        failed.add(gateway.jvm.org.apache.spark.status.api.v1.StageStatus.FAILED)
        none, empty = gateway.new_array(gateway.jvm.double, 0), failed.subList(0, 0)
        stages = scala.statusStore().stageList(failed, False, False, none, empty)
        if not stages.size():
            return None
        reason = stages.apply(0).failureReason()  # the newest comes first
        return " ".join(reason.get().split())[:300] if reason.isDefined() else None

    def driver_address(self) -> str:
        """This machine's address as the executors reach it: only there do we listen.

        Raises:
            UserError: the driver's name has no address.
        """
        if self.context.master.startswith("local["):
            return "127.0.0.1"
        host = self.context.getConf().get("spark.driver.host")
        try:
            return socket.gethostbyname(host)
        except OSError as error:
            raise UserError(
                f"The driver's name {host!r} has no address ({error}). Set "
                "spark.driver.host to an address the executors can reach."
            ) from None


def start_cluster(runner: RunnerConfig, light_jvm: bool = False) -> Cluster:
    """A Spark context whose slots suffice for the workers asked for.

    Args:
        runner: the settings.
        light_jvm: Java only starts Python workers and computes nothing.

    Raises:
        UserError: no Java, a master that does not answer, or too few slots.
    """
    from pyspark import SparkContext

    if runner.master:
        check_master(runner.master)
    if under_spark_submit():
        # Only now does SparkConf know what spark-submit was told.
        SparkContext._ensure_initialized()
    else:
        os.environ["JAVA_HOME"] = find_java_home()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    threads = runner.threads_per_worker or 1
    conf = _training_conf(runner, threads, light_jvm)
    check_master(conf.get("spark.master"))
    try:
        context = SparkContext(conf=conf)
    except Exception as error:  # py4j wraps whatever the JVM threw
        reason = str(error).strip().splitlines()[-1][:200]
        raise UserError(
            f"Spark cannot start on {conf.get('spark.master')}: {reason}."
        ) from error
    if threading.current_thread() is threading.main_thread():
        # PySpark's own handler talks to Java in the middle of a call to Java.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    context.setLogLevel("OFF")  # a failure reaches the user as one line of ours
    try:
        return join_cluster(context, runner)
    except BaseException:
        context.stop()
        raise


def join_cluster(context: "SparkContext", runner: RunnerConfig) -> Cluster:
    """The workers that a running Spark context offers, ready to train.

    Raises:
        UserError: there are too few slots.
    """
    equip_workers(context)
    slots = _wait_for_slots(context, runner.workers)
    return Cluster(context, runner.workers or slots, _task_threads(context))


def equip_workers(context: "SparkContext") -> None:
    """Give the executors our code and each Python worker its share of threads.

    For Python workers of jobs that are submitted from now on; a second call, or one
    after `start_cluster`, changes nothing.
    """
    environment = thread_environment(_task_threads(context), resident=True)
    for name, value in environment.items():
        context.environment.setdefault(name, value)
    if CODE_ARCHIVE not in context._python_includes:
        _ship_code(context)


def _task_threads(context: "SparkContext") -> int:
    return int(context.getConf().get("spark.task.cpus", "1"))


def under_spark_submit() -> bool:
    """Whether spark-submit started this program and chose the cluster."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def _training_conf(
    runner: RunnerConfig, threads: int, light_jvm: bool = False
) -> "SparkConf":
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
    sides = {"driver": options, "executor": options}
    if conf.get("spark.master").startswith("local"):
        # A result that it has no memory for Spark would await for ever.
        sides["driver"] = [*options, "-XX:+ExitOnOutOfMemoryError"]
    for side, chosen in sides.items():
        if chosen:
            conf.setIfMissing(f"spark.{side}.extraJavaOptions", " ".join(chosen))


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


def _ship_code(context: "SparkContext") -> None:
    """Give every executor the driver's own copy of this package."""
    package = Path(__file__).resolve().parent
    # Executors that come late still fetch it. Java deletes this folder when it ends,
    # which it does however this program ends.
    archive = Path(context._temp_dir) / CODE_ARCHIVE
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(package.glob("*.py")):
            file.write(path, f"{package.name}/{path.name}")
    context.addPyFile(str(archive))


def _wait_for_slots(context: "SparkContext", workers: int | None) -> int:
    """Tasks that can run at once, when enough executors have come.

    Without `workers`, as many as the settings promise, or as many as there are once
    no more have come for a while.
    """
    wanted = workers or _promised_slots(context)
    started = changed = time.monotonic()
    slots = _slots(context)
    while _may_grow(context) and slots < (wanted or sys.maxsize):
        time.sleep(0.2)
        now, before, slots = time.monotonic(), slots, _slots(context)
        changed = now if slots != before else changed
        settled = slots and not wanted and now - changed > SETTLED_SECONDS
        if settled or now - started > EXECUTOR_WAIT_SECONDS:
            break
    if slots < (wanted or 1):
        raise UserError(
            f"{wanted or 1} worker(s) of {context.getConf().get('spark.task.cpus')} "
            f"core(s) need as many free slots; {context.master} offers {slots}. "
            "Lower runner.workers or add executors."
        )
    return slots


def _slots(context: "SparkContext") -> int:
    scala = context._jsc.sc()
    profile = scala.resourceProfileManager().defaultResourceProfile()
    return scala.maxNumConcurrentTasks(profile)


def _may_grow(context: "SparkContext") -> bool:
    return not re.match(r"local(\[|$)", context.master)


def _promised_slots(context: "SparkContext") -> int | None:
    conf = context.getConf()
    instances = conf.get("spark.executor.instances")
    cores = conf.get("spark.executor.cores", "1")
    if not instances:
        return None
    return int(instances) * (int(cores) // int(conf.get("spark.task.cpus", "1")))
