"""Spark settings for training on EMR, and the spark-submit command of one run."""

from emr.settings import ClusterSettings
from xray.config.runners import ELEPHAS

NODE_FOLDER = "/opt/xray"
"""Where bootstrap.sh unpacks Python and our code on every node."""
ENVIRONMENT = f"{NODE_FOLDER}/environment"
CODE = f"{NODE_FOLDER}/code"
PYTHON = f"{ENVIRONMENT}/bin/python"


def spark_settings(settings: ClusterSettings, executors: int) -> dict[str, str]:
    """Settings of a run with `executors` equal executors, one a core node.

    EMR turns on dynamic allocation and executors of different sizes: both would make
    the number of executors a wish and a scaling study meaningless. Speculative and
    repeated tasks would hide a failure in the timing. One executor fills one node, so
    YARN cannot put two on the same.

    Sources: EMR Best Practices Guide (Spark), EMR Release Guide (emr-spark-configure).
    """
    return {
        "spark.dynamicAllocation.enabled": "false",
        # Serves dynamic allocation only, and would refuse an authenticated executor.
        "spark.shuffle.service.enabled": "false",
        "spark.yarn.heterogeneousExecutors.enabled": "false",
        "spark.speculation": "false",
        "spark.task.maxFailures": "1",
        "spark.yarn.maxAppAttempts": "1",
        "spark.executor.instances": str(executors),
        "spark.executor.cores": str(settings.executor_cores),
        "spark.task.cpus": str(settings.threads_per_worker),
        "spark.executor.memory": f"{settings.spark.executor_heap_mib}m",
        "spark.executor.memoryOverhead": f"{settings.executor_overhead_mib}m",
        "spark.driver.memory": f"{settings.spark.driver_memory_mib}m",
        "spark.pyspark.python": PYTHON,
        "spark.pyspark.driver.python": PYTHON,
        # YARN makes the secret of each application; nobody else may join it.
        "spark.authenticate": "true",
        **settings.spark.conf,
    }


def submit_command(settings: ClusterSettings, executors: int) -> list[str]:
    """spark-submit and its arguments, up to the runner's own.

    The driver runs on the primary node (client mode), so N core nodes are N executors
    and the driver's output is the step's.
    """
    pairs = spark_settings(settings, executors).items()
    conf = [part for name, value in pairs for part in ("--conf", f"{name}={value}")]
    return [
        *("spark-submit", "--master", "yarn", "--deploy-mode", "client"),
        *conf,
        f"{CODE}/experiments/{ELEPHAS.script}",
        *("--set", f"runner.workers={executors * settings.workers_per_executor}"),
        *("--set", f"runner.threads_per_worker={settings.threads_per_worker}"),
    ]
