"""The end of a program that spark-submit started."""

import contextlib
import os
import sys


def end_java() -> None:
    """Have the Java of spark-submit end after a success, where it ran the tasks itself.

    It waits for this program, and then for its own threads. With a local master one of
    them, Spark's timer of barriers, never ends: no daemon in Spark 3.5
    (BarrierTaskContext.scala). After a failure it ends anyway, and on a cluster, where
    YARN would take such an end for a failure, there is no such thread.
    """
    pyspark = sys.modules.get("pyspark")
    gateway = pyspark and pyspark.SparkContext._gateway
    if gateway is None or "PYSPARK_GATEWAY_PORT" not in os.environ:
        return
    system = gateway.jvm.java.lang.System
    if not (system.getProperty("spark.master") or "").startswith("local"):
        return
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(Exception):  # there is no answer
        system.exit(0)
