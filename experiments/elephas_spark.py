"""Train with Elephas on Spark: local[N], a standalone cluster, or YARN.

Run it with python, or with spark-submit and any of its options:

    spark-submit --num-executors 2 --executor-cores 4 --driver-memory 5G \
        experiments/elephas_spark.py --config my.yaml
"""

import sys
from typing import TYPE_CHECKING

from xray.cli import main
from xray.cluster import Cluster, import_on_workers, start_cluster
from xray.config import RunConfig
from xray.credentials import S3Access, load_access
from xray.dataset import find_dataset
from xray.journal import Journal
from xray.model import build_model, weights_digest
from xray.record import RunRecord
from xray.resident_run import train_resident
from xray.shards import check_shards
from xray.stock_run import train_stock
from xray.storage import Storage
from xray.train import check_batch_size

if TYPE_CHECKING:
    import keras


def run(config: RunConfig, journal: Journal | None = None) -> RunRecord:
    """The record of training with Elephas on the Spark cluster of the configuration.

    Raises:
        UserError: the data, the settings or the cluster cannot be used.
    """
    journal = journal or Journal("elephas", config)
    journal.mode, journal.frequency = config.runner.mode, config.runner.frequency
    journal.engine = config.runner.engine if journal.mode == "synchronous" else "stock"
    journal.workers = config.runner.workers
    with journal.timer.phase("load"):  # all that can be checked before a cluster
        access = load_access(config.data)
        storage = Storage(access, config.data.read_threads)
        journal.dataset = find_dataset(config.data, storage)
        _check_shards(journal, journal.workers or 1)
        journal.check_resume(loaded=False)
    with journal.timer.phase("warmup"):
        model = build_model(config, storage)
        journal.initial_weights = weights_digest(model.get_weights())
    with journal.timer.phase("startup"):
        cluster = start_cluster(config.runner)
    try:
        return _train(journal, cluster, model, access)
    finally:
        cluster.stop()


def _train(
    journal: Journal, cluster: Cluster, model: "keras.Model", access: S3Access
) -> RunRecord:
    journal.workers = cluster.workers
    journal.threads_per_worker = cluster.threads_per_worker
    journal.machine["spark_master"] = cluster.context.master
    _check_shards(journal, cluster.workers)
    resident = journal.engine == "resident"
    with journal.timer.phase("warmup"):
        # Resident workers import TensorFlow themselves, while they read their images.
        journal.machine["nodes"] = import_on_workers(cluster, tensorflow=not resident)
    train = train_resident if resident else train_stock
    train(journal, cluster, model, access)
    return journal.record()


def _check_shards(journal: Journal, workers: int) -> None:
    """Resident workers train any shard; stock ones need more than a batch."""
    images = len(journal.dataset.train)
    check_batch_size(journal.config, images)
    stock = journal.engine == "stock"
    check_shards(images, workers, journal.config.training.batch_size if stock else 0)


if __name__ == "__main__":
    sys.exit(main("elephas", run, __doc__))
