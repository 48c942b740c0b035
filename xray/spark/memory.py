"""What a worker takes outside the Java heap, and what YARN is asked for because of it.

YARN kills an executor that uses more than it asked for, and Spark asks for a tenth of
the heap beside it. TensorFlow takes more than that, and lives there.
"""

import logging
from typing import TYPE_CHECKING, NamedTuple

from xray.common.errors import UserError
from xray.config.run import RunConfig
from xray.model.predict import SCORE_BATCH

if TYPE_CHECKING:
    from py4j.java_gateway import JVMView
    from pyspark import SparkConf

logger = logging.getLogger(__name__)

RESERVE = 1.25
"""Of a run's peak over another's with the same settings; seen: 1.09."""
STOCK_OVER_RESIDENT = 2.3
"""Peaks of workers of results/nih-sample: 3,138 over 1,381 MiB."""
OVERHEAD = "spark.executor.memoryOverhead"
MOST_CORES = "yarn.scheduler.maximum-allocation-vcores"


class Footprint(NamedTuple):
    """Peak memory of a process that has a network; see results/bench/*_memory.json.

    Attributes:
        fixed_mib: Python, TensorFlow, weights, and in training gradients and optimizer.
        mib_per_megapixel: of a batch: images times height times width.
    """

    fixed_mib: int
    mib_per_megapixel: int


TRAINING = {
    "Tiny": Footprint(812, 65),
    "MobileNet": Footprint(955, 1310),
    "DenseNet121": Footprint(1575, 3115),
    "ResNet50": Footprint(1740, 2020),
    "EfficientNetB0": Footprint(1108, 2740),
    "VGG16": Footprint(1250, 2130),
}
SCORING = {
    "Tiny": Footprint(806, 33),
    "MobileNet": Footprint(1161, 180),
    "DenseNet121": Footprint(1553, 213),
    "ResNet50": Footprint(2888, 277),
    "EfficientNetB0": Footprint(1203, 315),
    "VGG16": Footprint(2273, 507),
}
STAGING_MIB = {"parquet": 300, "tfrecord": 843}
"""Peak of stage.py, which holds a shard; TFRecords are written by TensorFlow."""


def _footprint(networks: dict[str, Footprint], backbone: str) -> Footprint:
    """A network that was not measured counts as the largest of those."""
    largest = Footprint(*map(max, zip(*networks.values(), strict=True)))
    return networks.get(backbone, largest)


def training_mib(config: RunConfig, images: int | None = None) -> int:
    """MiB that a worker takes outside the Java heap, with its share of the images.

    Args:
        config: of the run.
        images: all that there are, of which a worker has some; None: not known yet.
    """
    pixels, runner = config.data.image_size**2, config.runner
    network = _footprint(TRAINING, config.model.backbone)
    batch = config.training.batch_size * pixels / 1e6
    peak = network.fixed_mib + batch * network.mib_per_megapixel
    if runner.engine == "stock" or runner.mode != "synchronous":
        peak *= STOCK_OVER_RESIDENT
    shard = config.data.memory_mib
    if images is not None:
        shard = min(shard, images * pixels / 2**20)
    return round(RESERVE * peak + shard)


def scoring_mib(backbone: str, image_size: int) -> int:
    """MiB that a worker of predict.py takes outside the Java heap.

    Args:
        backbone: of the model.
        image_size: height and width of its input.
    """
    network = _footprint(SCORING, backbone)
    batch = SCORE_BATCH * image_size**2 / 1e6
    return round(RESERVE * (network.fixed_mib + batch * network.mib_per_megapixel))


def staging_mib(form: str) -> int:
    """MiB that a worker of stage.py takes outside the Java heap, by shard format."""
    return round(RESERVE * STAGING_MIB[form])


def fit_containers(conf: "SparkConf", jvm: "JVMView", worker_mib: int) -> None:
    """Ask YARN for as much memory as the workers of an executor take.

    What suffices is left as it is, and so is the user's own, with a warning.

    Args:
        conf: of a context that is not started yet.
        jvm: its Java, which reads Spark's sizes and YARN's settings.
        worker_mib: of each worker.

    Raises:
        UserError: YARN gives no container so many cores.
    """
    limits = jvm.org.apache.hadoop.yarn.conf.YarnConfiguration()
    largest = limits.getInt("yarn.scheduler.maximum-allocation-mb", 8192)
    cores = int(conf.get("spark.executor.cores", "1"))
    _check_cores(cores, limits.getInt(MOST_CORES, 4))
    heap, given = _memory(conf, jvm)
    needed = cores // int(conf.get("spark.task.cpus", "1")) * worker_mib
    if given < needed and not conf.contains(OVERHEAD):
        given = max(given, min(needed, largest - heap))
        conf.set(OVERHEAD, f"{given}m")
    if given < needed:
        logger.warning(
            "The workers of an executor may take %d MiB outside its Java heap, and "
            "have %d (%s). YARN kills an executor that takes more. Its heap has %d "
            "MiB, a container %d at most: raise it as far as that, or lower "
            "--executor-memory or --executor-cores.",
            *(needed, given, OVERHEAD, heap, largest),
        )


def _check_cores(cores: int, most: int) -> None:
    if cores > most:
        raise UserError(
            f"YARN gives a container {most} core(s) at most ({MOST_CORES}). Got "
            f"executors of {cores}: lower --executor-cores (spark.executor.cores)."
        )


def _memory(conf: "SparkConf", jvm: "JVMView") -> tuple[int, int]:
    """MiB of an executor's heap, and what Spark 3.5 asks for outside it."""
    mib = jvm.org.apache.spark.network.util.JavaUtils.byteStringAsMb
    heap = mib(conf.get("spark.executor.memory", "1g"))
    share = max(384, int(float(conf.get(f"{OVERHEAD}Factor", "0.1")) * heap))
    overhead = conf.get(OVERHEAD)
    python = mib(conf.get("spark.executor.pyspark.memory", "0"))
    return heap, (mib(overhead) if overhead else share) + python
