"""A Spark context for training: settings, Java and our code on the executors."""

import os
import signal
import socket
import sys
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xray
from xray.common.background import in_background
from xray.common.errors import UserError
from xray.common.java import find_java_home
from xray.common.processes import interrupts_held_back
from xray.config.run import RunnerConfig
from xray.spark.executors import (
    any_leaving,
    drop_executors,
    last_failure,
    why_ended,
)
from xray.spark.memory import fit_containers
from xray.spark.settings import check_master, thread_environment, training_conf
from xray.spark.slots import (
    cancel_jobs,
    executors_awaited,
    slots,
    wait_for_slots,
)

if TYPE_CHECKING:
    from pyspark import SparkContext

STOP_SECONDS = 30
CODE_ARCHIVE = "xray.zip"
STARTED_HERE = "_started_by_xray"
"""Attribute of a context that was not there before, until a cluster has it."""


@dataclass(frozen=True)
class Cluster:
    """A running Spark context and what it offers.

    Attributes:
        context: the SparkContext.
        workers: tasks that train at once; every one has a slot.
        threads_per_worker: cores of each.
        wait_seconds: for executors, when there are too few.
        min_workers: that go on without the others; None: all are needed.
        parent: process that started this program.
        ours: whether the context was started here, and so is stopped here.
    """

    context: "SparkContext"
    workers: int
    threads_per_worker: int
    wait_seconds: float = RunnerConfig().wait_for_workers
    min_workers: int | None = None
    parent: int = field(default_factory=os.getppid)
    ours: bool = True

    def stop(self) -> None:
        """End the Spark application, also after Ctrl-C in the middle of a job.

        One that was there before, of a notebook for instance, stays.

        From a thread of its own: this one's connection to Java may hold half a reply.
        """
        if self.ours:
            wait([in_background(self.context.stop)], STOP_SECONDS)

    def check_alive(self) -> None:
        """Say so when the cluster, or this program's own Java, has ended under it.

        Raises:
            UserError: it has.
        """
        if under_spark_submit() and os.getppid() != self.parent:
            raise UserError("spark-submit has ended: it was cancelled, or killed.")
        process = getattr(self.context._gateway, "proc", None)
        code = process and process.poll()
        if code is not None:
            raise UserError(
                f"Spark's Java process ended unasked (code {code}), as it does without "
                "enough memory. Raise runner.executor_memory with a local master, else "
                "spark.driver.memory in runner.spark_conf, and go on with --resume."
            )
        told = why_ended(self.context)
        if told is not None:
            raise UserError(
                f"{self.context.master} has ended the application "
                f"{self.context.applicationId}: {told or 'it was killed, or failed'}. "
                "Look at the executors' logs, and go on: a run with --resume, all else "
                "with the same command."
            )

    def slots(self) -> int:
        """Tasks that could run at once by now."""
        return slots(self.context)

    def team(self) -> int:
        """How many workers are to train by now: all, or as many as there is room for.

        Raises:
            UserError: they are fewer than `min_workers`, and stay so.
        """
        if self.min_workers is None:
            return self.workers
        free = wait_for_slots(self.context, self.min_workers, self.wait_seconds)
        return min(self.workers, free)

    def room(self) -> int:
        """For how many workers there is, where their number may change, or else 0."""
        return 0 if self.min_workers is None else min(self.workers, self.slots())

    def leaving(self) -> bool:
        """Whether an executor at work is told to go; see `executors.any_leaving`."""
        return any_leaving(self.context)

    def drop_executors(self, address: str) -> None:
        """Give up the executors of a silent host; see `executors.drop_executors`."""
        drop_executors(self.context, address)

    def cancel_jobs(self) -> None:
        """Fail the jobs under way; see `slots.cancel_jobs`."""
        cancel_jobs(self.context)

    @contextmanager
    def executors_awaited(self) -> Iterator[None]:
        """Ends the block's jobs when no executor comes any more.

        Raises:
            UserError: none comes, or the cluster or Java has ended; see `check_alive`.
        """
        try:
            with executors_awaited(self.context, self.wait_seconds):
                yield
        except UserError:
            raise
        except Exception:
            self.check_alive()  # the cause of whatever else is raised
            raise

    def last_failure(self) -> str | None:
        """Why Spark last had to start a stage again; see `executors.last_failure`."""
        return last_failure(self.context)

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


def start_cluster(
    runner: RunnerConfig, light_jvm: bool = False, worker_mib: int = 0
) -> Cluster:
    """A Spark context whose slots suffice for the workers asked for.

    One that runs in this process already is taken, as it is.

    Args:
        runner: the settings.
        light_jvm: Java only starts Python workers and computes nothing.
        worker_mib: what a worker takes outside the Java heap.

    Raises:
        UserError: no Java, a master that does not answer, or too few slots.
    """
    return await_workers(start_context(runner, light_jvm, worker_mib), runner)


def start_context(
    runner: RunnerConfig, light_jvm: bool = False, worker_mib: int = 0
) -> "SparkContext":
    """A Spark context whose executors are on their way; for `await_workers`.

    One that runs in this process already is taken, as it is.

    Args:
        runner: the settings.
        light_jvm: Java only starts Python workers and computes nothing.
        worker_mib: what a worker takes outside the Java heap.

    Raises:
        UserError: no Java, a master that does not answer, or one that gives no such
            executor; or the context that runs does not suit.
    """
    from pyspark import SparkContext

    if running := SparkContext._active_spark_context:
        _check_running(running, runner)
        return running
    if under_spark_submit():
        # Only now does SparkConf know what spark-submit was told.
        SparkContext._ensure_initialized()
    else:
        os.environ["JAVA_HOME"] = find_java_home()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    threads = runner.threads_per_worker or 1
    conf = training_conf(runner, threads, light_jvm)
    check_master(conf.get("spark.master"))
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        with interrupts_held_back():
            # Java that is left alone before it has told its port stays for good.
            SparkContext._ensure_initialized(conf=conf)
        if not conf.get("spark.log.level"):
            _quiet(SparkContext._jvm)
        if conf.get("spark.master") == "yarn":
            fit_containers(conf, SparkContext._jvm, worker_mib)
        context = SparkContext(conf=conf)
    except UserError:
        raise
    except Exception as error:  # py4j wraps whatever the JVM threw
        lines = str(error).strip().splitlines()
        reason = [line for line in lines if not line.startswith("\tat ")][-1][:200]
        raise UserError(
            f"Spark cannot start on {conf.get('spark.master')}: {reason}."
        ) from error
    if threading.current_thread() is threading.main_thread():
        # PySpark's own handler talks to Java in the middle of a call to Java.
        signal.signal(signal.SIGINT, interrupt)
    _expect_java_to_end(context)
    setattr(context, STARTED_HERE, True)
    return context


def _check_running(context: "SparkContext", runner: RunnerConfig) -> None:
    """Refuse a context of a notebook or a platform that cannot do what is asked for."""
    if runner.master and runner.master != context.master:
        raise UserError(
            f"Spark runs in this process already, on {context.master}. Got "
            f"runner.master={runner.master}. Set it to null, or stop that session."
        )
    failures = context.getConf().get("spark.task.maxFailures", "4")
    again = failures != "1" and not context.master.startswith("local")
    if runner.mode != "synchronous" and again:
        raise UserError(
            f"runner.mode={runner.mode} needs a Spark session with "
            f"spark.task.maxFailures=1, or updates count twice. Got {failures} in the "
            "one that runs."
        )


def _quiet(jvm: Any) -> None:
    """Have Java write nothing more: a failure reaches the user as one line of ours."""
    log4j = jvm.org.apache.logging.log4j
    log4j.core.config.Configurator.setRootLevel(log4j.Level.OFF)


def _expect_java_to_end(context: "SparkContext") -> None:
    """Have no traceback told of the connection that brings accumulators, when it ends.

    It does with Java, which `Cluster.check_java` tells in words.
    """
    server = context._accumulatorServer
    tell = server.handle_error

    def handle_error(*connection: Any) -> None:
        if not isinstance(sys.exception(), EOFError | OSError):
            tell(*connection)

    server.handle_error = handle_error


def await_workers(context: "SparkContext", runner: RunnerConfig) -> Cluster:
    """The cluster of `start_context`, as `join_cluster`; the context ends in vain.

    Raises:
        UserError: there are too few slots.
    """
    try:
        return join_cluster(context, runner)
    except BaseException:
        if hasattr(context, STARTED_HERE):
            context.stop()
        raise


def join_cluster(context: "SparkContext", runner: RunnerConfig) -> Cluster:
    """The workers that a running Spark context offers, ready to train.

    Raises:
        UserError: there are too few slots.
    """
    equip_workers(context)
    wait_seconds = runner.wait_for_workers
    least = runner.min_workers
    free = wait_for_slots(context, runner.workers, wait_seconds, least)
    workers = runner.workers or free
    ours = vars(context).pop(STARTED_HERE, False)  # whoever comes next found it here
    threads = _task_threads(context)
    return Cluster(context, workers, threads, wait_seconds, least, ours=ours)


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


def _ship_code(context: "SparkContext") -> None:
    """Give every executor the driver's own copy of this package."""
    package = Path(xray.__file__).resolve().parent
    # Executors that come late still fetch it. Java deletes this folder when it ends,
    # which it does however this program ends.
    archive = Path(context._temp_dir) / CODE_ARCHIVE
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(package.rglob("*.py")):
            file.write(path, path.relative_to(package.parent))
    context.addPyFile(str(archive))
